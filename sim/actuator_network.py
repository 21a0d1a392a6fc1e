"""An actuator network: how a robot's motors differ from the law they are said to follow, learned from its logs.

With e = target - joint_pos and v = joint_vel of H moments (rad, rad/s), x = [e, v] and z = x / scale, a motor is asked for

    torque = kp e - kd v + trust(z) unit clip(linear z + layers(z), -bound, bound),    trust(z) = clip(2 - |metric z| / reach, 0, 1)

in N m, e and v of the newest moment. The input is that of Hwangbo et al. 2019 (Science Robotics 4(26)), as are the layers (softsign between
them); what they learn here is the rest that the law leaves. ``metric`` whitens the inputs of the fit, whose length ``reach`` bounds:
outside of what the log showed the rest fades, at twice its reach the law alone is left, and nowhere is the rest more than ``unit bound``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softsign

from robots import InputError, Robot

FORMAT, VERSION = "actuator_network", 1
GAINS = ("kp", "kd")


class Rest(nn.Module):
    """What the law leaves, of P kinds of joints with H moments, I = 2 H inputs; all tensors have P in front."""

    scale: Tensor
    metric: Tensor
    reach: Tensor
    unit: Tensor
    bound: Tensor

    def __init__(self, inputs: int, hidden: Sequence[int], parts: int = 1) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        constants = {"scale": (inputs,), "metric": (inputs, inputs), "reach": (), "unit": (), "bound": ()}
        for name, shape in constants.items():
            self.register_buffer(name, torch.ones(parts, *shape))
        self.linear = nn.Parameter(torch.zeros(parts, inputs))
        sizes = (inputs, *hidden, 1)
        self.weights = nn.ParameterList(torch.zeros(parts, b, a) for a, b in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(parts, b, 1) for b in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        """N m [P, M] of inputs [P, I, M]: the errors, then the velocities, the newest last."""
        return self.trusted(x)[0]

    def trusted(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and how far the log speaks for the inputs, 1 to 0 [P, M]."""
        inputs, width = x.shape[1], self.weights[0].shape[1]
        first = torch.cat([self.weights[0], self.metric, self.linear[:, None]], dim=1) / self.scale[:, None]
        h, white, linear = (first @ x).split([width, inputs, 1], dim=1)
        h = h + self.biases[0]
        for bias, weight in zip(self.biases[1:], self.weights[1:], strict=True):
            h = torch.baddbmm(bias, weight, softsign(h))
        rest = (h + linear)[:, 0]
        trust = (2.0 - white.square().sum(dim=1).sqrt() / self.reach[:, None]).clip(0.0, 1.0)
        return trust * self.unit[:, None] * torch.minimum(torch.maximum(rest, -self.bound[:, None]), self.bound[:, None]), trust


class ActuatorNetwork:
    """See :class:`sim.actuation.Network`. ``rest`` has a part for every joint of ``robot``, whose gains are the law's."""

    def __init__(self, robot: Robot, rest: Rest, history: int, spacing: float) -> None:
        self.history, self.spacing, self._rest = history, spacing, rest.requires_grad_(False)
        self._kp, self._kd = (torch.tensor(getattr(robot, name), dtype=torch.float32) for name in GAINS)

    def __call__(self, error: Tensor, joint_vel: Tensor) -> Tensor:
        x = torch.cat([error.permute(2, 1, 0), joint_vel.permute(2, 1, 0)], dim=1)  # [J, I, N]
        return self._kp * error[:, -1] - self._kd * joint_vel[:, -1] + self._rest(x).T


def document(robot: Robot, parts: dict[str, tuple[tuple[int, ...], Rest]], history: int, spacing: float, about: dict[str, Any]) -> dict:
    """The file's contents: of each part its joints and its network. ``about`` is for people."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "robot": robot.name,
        "gains": {name: dict(zip(robot.joint_names, getattr(robot, name).tolist(), strict=True)) for name in GAINS},
        "history": history,
        "spacing": spacing,
        "parts": {
            name: {
                "joints": [robot.joint_names[i] for i in joints],
                "hidden": list(rest.hidden),
                **{key: value[0].tolist() for key, value in rest.state_dict().items()},
            }
            for name, (joints, rest) in parts.items()
        },
        "about": about,
    }


def load(path: Path, robot: Robot) -> ActuatorNetwork:
    """The network of a file. Raises InputError where it is none, or not of ``robot`` with its gains."""
    field = "sim.actuator"
    try:
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict) or (data.get("format"), data.get("version")) != (FORMAT, VERSION):
            raise ValueError("it is another file, or of another version")
        history, spacing, gains, parts = int(data["history"]), float(data["spacing"]), data["gains"], data["parts"].values()
        mine = {joint: part for part in parts for joint in part["joints"]}
        if data["robot"] != robot.name or set(mine) != set(robot.joint_names):
            raise InputError(field, str(path), f"an actuator network of {robot.name} and its joints", f"This one is of {data['robot']}.")
        rest = _stacked([mine[joint] for joint in robot.joint_names], 2 * history)
        if not (1 <= history <= 100 and 0.0 < spacing < 1.0):
            raise ValueError("its history is out of all bounds")
    except InputError:
        raise
    except OSError as error:
        remedy = f"{error.strerror or error}: it is looked for from the folder that you are in."
        raise InputError(field, str(path), "a file of 'locomotion actuator fit'", remedy) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RuntimeError) as error:
        said = f"It has no {error}." if isinstance(error, KeyError) else f"{' '.join(str(error).split())[:200]}."
        raise InputError(field, str(path), "a file of 'locomotion actuator fit'", said) from error
    for name in GAINS:
        for joint, own in zip(robot.joint_names, getattr(robot, name), strict=True):
            if gains[name].get(joint) != own:
                allowed = f"one of motors with {name} {own:g} at {joint}; this one was fitted under {gains[name].get(joint)}"
                raise InputError(field, str(path), allowed, "Fit one to a log under these gains, or set them in robot.yaml.")
    return ActuatorNetwork(robot, rest, history, spacing)


def _stacked(parts: list[dict[str, Any]], inputs: int) -> Rest:
    """One network with a part for each of ``parts``, some of which may be the same. Raises ValueError where they are no networks."""
    rest = Rest(inputs, parts[0]["hidden"], len(parts))
    shapes = {name: value.shape for name, value in rest.state_dict().items()}
    state = {name: torch.tensor([part[name] for part in parts], dtype=torch.float32) for name in shapes}
    for name, value in state.items():
        if value.shape != shapes[name] or not value.isfinite().all():
            raise ValueError(f"its {name} are not {list(shapes[name][1:])} finite numbers")
    if not all((state[name] > 0.0).all() for name in ("scale", "reach", "unit", "bound")):
        raise ValueError("a scale, reach, unit or bound is not positive")
    rest.load_state_dict(state)
    return rest
