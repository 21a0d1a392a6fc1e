"""Settings of somebody else's task, read and accounted for: isaacgymenvs' YAML, and legged_gym's classes, of which nothing is run."""

from __future__ import annotations

import ast
import contextlib
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robots import yaml_file
from robots.errors import InputError, nearest

OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
DEEPEST = 16  # modules that import from each other
REQUIRED = object()
LEARN, SCALES = "env.learn", "normalization.obs_scales"
LEFT = (  # why a setting has no counterpart, by the beginning of its name; the first that fits
    (("ppo.",), "of its learner: choose algorithm=ppo, or set algorithm.NAME"),
    (("env.numEnvs", "env.num_envs"), "set algorithm.num_envs"),
    (("env.envSpacing", "env.env_spacing"), "robots here do not share a world"),
    (("sim.", "physics_engine"), "of that engine; see configs/sim/mujoco.yaml"),
    (("env.viewer", "viewer.", "env.enableDebugVis", "env.enableCameraSensors"), "of its window; see 'locomotion play'"),
    (("env.urdfAsset",), "the robot's folder says it"),
    (("env.terrain", "terrain.", "env.plane"), "a task here is on a plane; see randomization.parameters.ground_slope"),
    (("env.numObservations", "env.numActions", "env.num_"), "follows from the terms here"),
    (("env.control.controlFrequencyInv",), "no effect there either: VecTask reads env.controlFrequencyInv"),
    (("control.use_actuator_network", "control.actuator_net_file"), "a learned motor: write it as an actuator of a plugin (sim.actuator)"),
    (("asset.",), "the robot's folder says it"),
    (("rewards.soft_", "rewards.base_height_target", "rewards.max_contact_force"), "of a reward that is off, or not there here"),
    (("commands.curriculum", "commands.max_curriculum"), "see task.curricula: grow_commands"),
    (("commands.num_commands",), "follows from the terms here"),
    (("env.send_timeouts",), "a time-out is always told apart here"),
    ((f"{LEARN}.height", f"{SCALES}.height", f"{LEARN}.linearVelocityNoise", "noise."), "no policy here sees that"),
    (("task.randomize",), "it is off"),
)


class Code(str):
    """An expression that is more than a number, a text or a list of such: it is not run."""


@dataclass
class Source:
    """The settings of one task by their dotted names; each is taken once, and what nobody took is said."""

    kind: str  # isaacgymenvs, legged_gym
    name: str
    values: dict[str, Any]
    taken: dict[str, str] = field(default_factory=dict)  # by name: what became of it

    def take(self, key: str, became: str, default: Any = REQUIRED) -> Any:
        """The value of ``key``. Raises InputError where it is missing and has no ``default``."""
        if key not in self.values:
            if default is REQUIRED:
                raise InputError(key, None, f"a setting of this {self.kind} task", nearest(key.rpartition(".")[2], self.values))
            return default
        self.taken[key] = became
        return self.values[key]

    def number(self, key: str, became: str, default: Any = REQUIRED) -> float:
        """A finite number. Raises InputError."""
        value = self.take(key, became, default)
        if self.kind == "isaacgymenvs" and isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = float(value)  # 1e-3 is a number to OmegaConf, which reads these files there, and a text to YAML 1.1
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(key, value, "a number", "Write the number that it stands for.")
        return float(value)

    def flag(self, key: str, became: str, default: bool) -> bool:
        value = self.take(key, became, default)
        if not isinstance(value, bool):
            raise InputError(key, value, "true or false", "Write one of them.")
        return value

    def numbers(self, key: str, became: str, count: int, default: Any = REQUIRED) -> list[float]:
        """A list of ``count`` finite numbers. Raises InputError."""
        value = self.take(key, became, default)
        good = isinstance(value, list | tuple) and len(value) == count
        if not good or any(isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x) for x in value):
            raise InputError(key, value, f"a list of {count} numbers", "Write the numbers.")
        return [float(x) for x in value]

    def range(self, key: str, became: str, default: Any = REQUIRED) -> list[float]:
        """[low, high]. Raises InputError."""
        low, high = self.numbers(key, became, 2, default)
        if low > high:
            raise InputError(key, [low, high], "[min, max] with min <= max", "Swap them.")
        return [low, high]

    def under(self, prefix: str) -> dict[str, Any]:
        """What stands below ``prefix``, by the rest of its name."""
        return {key.removeprefix(prefix + "."): value for key, value in self.values.items() if key.startswith(prefix + ".")}

    def left(self) -> dict[str, Any]:
        """What nobody took."""
        return {key: value for key, value in self.values.items() if key not in self.taken}


@dataclass
class Imported:
    """What a task became."""

    source: Source
    name: str
    physics_dt: float
    control_dt: float
    task: dict[str, Any] = field(default_factory=dict)  # a file of configs/task
    randomization: dict[str, Any] = field(default_factory=dict)  # of configs/randomization
    robot: dict[str, Any] = field(default_factory=dict)  # fields of robot.yaml
    policy: dict[str, Any] | None = None  # a description of a checkpoint trained on it; None: no bundle can be
    resembles: dict[str, str] = field(default_factory=dict)  # by setting: how it differs here
    notes: list[str] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)  # why a setting has no counterpart, beyond LEFT

    def left(self) -> dict[str, tuple[Any, str]]:
        """Settings without a counterpart: value and why."""
        found = {}
        for key, value in self.source.left().items():
            usual = next((text for starts, text in LEFT if key.startswith(starts)), "no counterpart")
            found[key] = (value, self.why.get(key, usual))
        return found

    def left_by_reason(self) -> dict[str, list[str]]:
        """The same for people: names by why, and ``a.b.*`` where all below ``a.b`` is left for one reason."""
        left = {key: why for key, (_, why) in self.left().items()}
        found: dict[str, dict[str, None]] = {}
        for key, why in left.items():
            parts = key.split(".")
            starts = [".".join(parts[:i]) + "." for i in range(1, len(parts))]
            alike = (start for start in starts if {left.get(k) for k in self.source.values if k.startswith(start)} == {why})
            start = next(alike, None)
            found.setdefault(why, {})[f"{start}*" if start else key] = None
        return {why: list(names) for why, names in found.items()}


def read(path: Path, task: str | None = None) -> Source:
    """The task in ``path``: an isaacgymenvs YAML, or a legged_gym Python file inside its checkout, of which ``task`` chooses a class.

    Raises:
        InputError: the file cannot be read, or holds no such task of a legged robot.
    """
    if path.suffix == ".py":
        return _read_classes(path, task)
    try:
        data = yaml_file.load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("task", str(path), "a YAML or Python file that can be read", f"{' '.join(str(error).split())}.") from error
    env = data.get("env") if isinstance(data, Mapping) else None
    if not isinstance(env, Mapping) or not isinstance(env.get("learn"), Mapping) or "defaultJointAngles" not in env:
        allowed = "a task of isaacgymenvs for a legged robot: env.learn, env.control, env.defaultJointAngles"
        raise InputError("task", str(path), allowed, "Anymal.yaml and AnymalTerrain.yaml are; of legged_gym give the .py file.")
    return Source("isaacgymenvs", str(data.get("name", path.stem)), dict(_leaves("", data)))


def _leaves(prefix: str, node: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    found = []
    for key, value in node.items():
        found += _leaves(f"{prefix}{key}.", value) if isinstance(value, Mapping) and value else [(f"{prefix}{key}", value)]
    return found


def _read_classes(path: Path, task: str | None) -> Source:
    module = _module(path)
    found = {name: _settings(path, cls, 0) for name, cls in module[0].items()}
    tasks = {name: value for name, value in found.items() if {"control", "rewards", "init_state"} <= set(value)}
    if task is not None and task not in tasks:
        raise InputError("class", task, f"a class of {path.name} with control, rewards and init_state", nearest(task, tasks))
    if task is None and len(tasks) != 1:
        remedy = "Choose one: class=NAME." if tasks else "It is found in legged_gym/envs/*/*_config.py."
        raise InputError("task", str(path), f"one class with control, rewards and init_state; it has {list(tasks) or 'none'}", remedy)
    name = task or next(iter(tasks))
    learner = {f"ppo.{key}": value for key, value in _leaves("", found.get(f"{name}PPO", {}))}
    return Source("legged_gym", name.removesuffix("Cfg"), dict(_leaves("", tasks[name])) | learner)


def _module(path: Path) -> tuple[dict[str, ast.ClassDef], dict[str, ast.ImportFrom]]:
    """Classes of a Python file, and from where its other names come."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError) as error:
        raise InputError("task", str(path), "a Python file that can be read", f"{error}.") from error
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return classes, {alias.asname or alias.name: node for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def _settings(path: Path, cls: ast.ClassDef, depth: int) -> dict[str, Any]:
    """Attributes of a class as Python would have them, inner classes as mappings."""
    result: dict[str, Any] = {}
    for base in reversed(cls.bases):
        result |= _base(path, ast.unparse(base), depth)
    for node in cls.body:
        if isinstance(node, ast.ClassDef):
            result[node.name] = _settings(path, node, depth)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                result[ast.unparse(target)] = _value(node.value)
    return result


def _base(path: Path, dotted: str, depth: int) -> dict[str, Any]:
    """The attributes of a base class ``dotted``, wherever in the checkout it is written."""
    first, *rest = dotted.split(".")
    if first in ("BaseConfig", "object"):  # legged_gym's root has methods only
        return {}
    found = _find(path, first, depth)
    for name in rest:
        found = found.get(name, {})
        if not isinstance(found, dict):
            raise InputError("task", str(path), f"a file that says what {dotted} is", "It is a base class.")
    return found


def _find(path: Path, name: str, depth: int) -> dict[str, Any]:
    classes, imports = _module(path)
    if name in classes and depth <= DEEPEST:
        return _settings(path, classes[name], depth + 1)
    if name not in imports or depth > DEEPEST:
        raise InputError("task", str(path), f"a file that says what {name} is", "It is a base class.")
    node = imports[name]
    parts = (node.module or "").split(".")
    above = list(path.absolute().parents)
    starts = above[node.level - 1 : node.level] if node.level else above
    for start in starts:
        target = start.joinpath(*parts)
        for file in (target.with_suffix(".py"), target / "__init__.py"):
            if file.is_file():
                return _find(file, next(alias.name for alias in node.names if name in (alias.asname, alias.name)), depth + 1)
    allowed = f"a file inside its checkout, where {node.module} with {name} is found"
    raise InputError("task", str(path), allowed, "Give it where it lies in legged_gym, or in a program made from that.")


def _value(node: ast.expr) -> Any:
    """Numbers, texts, lists and dicts of such, and arithmetic; anything else is :class:`Code`."""
    try:
        return _plain(node)
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        return Code(ast.unparse(node))


def _plain(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = _plain(node.left), _plain(node.right)
        if not all(isinstance(x, int | float) and abs(x) < 1e9 for x in (left, right)) or (isinstance(node.op, ast.Pow) and right > 64):
            raise ValueError("not a number")
        return OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.List | ast.Tuple):
        return [_plain(item) for item in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_plain(key): _plain(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None}
    return ast.literal_eval(node)
