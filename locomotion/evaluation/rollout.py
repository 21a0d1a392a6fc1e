"""The one simulation loop of this room: a policy drives N robots under a condition. Scores, gait figures and videos use it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

import robots
import sim
from deploy.policy import RobotPolicy, load
from locomotion.task import events
from locomotion.task.link import Link
from locomotion.task.randomization import PhysicsSampler, RandomizationSettings
from locomotion.task.resets import standing
from locomotion.task.sensors import MEASURED, Sensors, sensor_sizes
from locomotion.task.terms import event
from robots import Robot
from robots.errors import InputError
from sim import InitialState, Signals, Simulator
from sim.parameters import check_supported, nominal_values
from sim.signals import initial_shapes, width

PHYSICS_DT = 0.002  # s, the longest physics step
DROP = 0.01  # m that the feet begin above the ground
CHANNELS = ("forward", "left", "yaw")  # m/s, m/s, rad/s: what the protocols ask for
FALLEN_TILT, FALLEN_HEIGHT = 1.05, 0.5  # rad; share of the standing height
KNOWN_TO_SIMULATION = ("base_lin_vel",)  # signals beyond what every robot measures
BUILT_IN = (events,)  # their terms are known once imported


def divide(control_dt: float) -> tuple[int, float]:
    """The fewest physics steps of at most :data:`PHYSICS_DT` that make up a control step exactly, and their length (s)."""
    substeps = max(1, math.ceil(control_dt / PHYSICS_DT - 1e-9))
    return substeps, control_dt / substeps


def make_simulator(
    robot: Robot,
    num_envs: int,
    control_dt: float,
    actuator: str | None,
    engine: str = "mujoco",
    threads: int = 0,
    firm: bool = False,
    self_collision: bool = False,
    device: str | None = None,
) -> Simulator:
    """Robots as this room tries them, on the ``actuator`` that a person asked for (see :mod:`sim.actuation`): there is no other way."""
    dt = divide(control_dt)[1]
    return sim.make(engine, robot, num_envs, dt, threads, firm=firm, actuator=actuator, self_collision=self_collision, device=device)


def channels(rows: Sequence[Sequence[float]], names: Sequence[str], rest: Sequence[float] | np.ndarray) -> Tensor:
    """Velocity commands ``rows`` [N, 3] as a policy with the command channels ``names`` and ``rest`` [C] takes them, [N, C].

    Channels that are no velocity stay at rest. Raises InputError where a policy cannot be told to walk.
    """
    missing = [name for name in CHANNELS if name not in names]
    if missing:
        raise InputError("command_names", list(names), f"the channels {', '.join(CHANNELS)}", f"This policy has no {missing[0]}.")
    command = torch.tensor(np.asarray(rest), dtype=torch.float32).repeat(len(rows), 1)
    command[:, [list(names).index(name) for name in CHANNELS]] = torch.tensor(rows, dtype=torch.float32)
    return command


def load_policy(path: Path) -> RobotPolicy:
    """The bundle at ``path`` bound to its robot, as deployment binds it. Raises InputError where it must not run."""
    loaded = load(path)
    return RobotPolicy(loaded, robots.load(loaded.contract.robot), measured=KNOWN_TO_SIMULATION)


class Actor(Protocol):
    """Raw signals in, joint targets out; memory is its own."""

    inputs: tuple[str, ...]

    def reset(self, batch: int) -> None: ...

    def act(self, signals: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """``joint_pos_target`` (rad) and the raw action, [N, J], of signals [N, ...]."""
        ...


class BundleActor:
    """A policy bundle bound to its robot, which clips commands as deployment does."""

    def __init__(self, policy: RobotPolicy) -> None:
        self._policy, self.inputs = policy, tuple(policy.inputs)

    def reset(self, batch: int) -> None:
        self._policy.reset(batch)

    def act(self, signals: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        target, action = self._policy.step({name: signals[name].numpy(force=True) for name in self.inputs})
        return torch.from_numpy(np.ascontiguousarray(target)), torch.from_numpy(np.ascontiguousarray(action))


class ModuleActor:
    """A :class:`locomotion.models.policy.Policy` as training holds it, on the device where it is."""

    def __init__(self, module: Any) -> None:
        self._module, self.inputs = module, module.inputs
        self._device = _device_of(module)
        self.reset(1)

    def reset(self, batch: int) -> None:
        self._memory = torch.zeros(batch, self._module.memory_size, device=self._device)

    @torch.inference_mode()
    def act(self, signals: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        given = [signals[name].to(self._device) for name in self.inputs]
        target, action, self._memory = self._module(*given, self._memory)
        return target, action


def _device_of(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in (*module.parameters(), *module.buffers())), torch.device("cpu"))


class World:
    """N robots at the start of an episode under ``condition``: physics and biases drawn once, noise every step, events now and then."""

    def __init__(self, simulator: Simulator, condition: RandomizationSettings, control_dt: float, seed: int, start: Any = None) -> None:
        n, j, device = simulator.num_envs, simulator.robot.num_joints, simulator.device
        check_supported(simulator.engine, simulator.supports, condition.needs)
        self.simulator, self.control_dt = simulator, control_dt
        self._generator = torch.Generator(device=device).manual_seed(seed)
        self._now, every = 0, torch.ones(n, dtype=torch.bool, device=device)
        sampler = PhysicsSampler(condition, j, device)
        drawn = sampler.named(sampler.sample(self._uniform(sampler.draws)))
        self.physics = nominal_values(n, j, device) | drawn  # by parameter, [N, ...]
        simulator.set_parameters(every, {name: value for name, value in self.physics.items() if name in simulator.supports})
        begin = start(simulator.robot, simulator) if start else standing(simulator.robot, simulator, drop=DROP)
        state = InitialState(torch.zeros(n, width(initial_shapes(j)), device=device), j)
        begin(self._uniform(begin.draws), state)
        simulator.reset(every, state)
        self._sensors, self._link = Sensors(condition, n, j, control_dt, device), Link(condition, simulator)
        self._errors = self._uniform(self._sensors.draws)
        self._hold()
        self._seen, self._sizes = torch.zeros(n, self._sensors.size, device=device), sensor_sizes(j)
        self._sensors.begin(every)
        self._link.begin(every, state.joint_pos)
        self._events = [event.bind("randomization.events", name, value)() for name, value in condition.events.items()]
        self._due = torch.stack([self._steps(one) for one in self._events]) if self._events else None

    def set_physics(self, values: Mapping[str, Tensor]) -> None:
        """Other physical parameters [N, ...] from now on, encoders included."""
        every = torch.ones(self.simulator.num_envs, dtype=torch.bool, device=self.simulator.device)
        self.physics |= values
        self.simulator.set_parameters(every, {name: value for name, value in values.items() if name in self.simulator.supports})
        self._hold()

    def _hold(self) -> None:
        offset = self.physics["joint_zero_offset"]
        self._held = self._sensors.hold(self._errors, joint_zero_offset=offset)
        self._perfect = self._sensors.perfect and not bool(offset.any())

    @property
    def mass(self) -> Tensor:
        """Of each robot, kg [N]."""
        return self.simulator.total_mass + self.physics["base_mass_offset"] + self.physics["payload_mass"]

    @property
    def effort_limit(self) -> Tensor:
        """Of each robot's motors, N m [N, J]."""
        nominal = torch.tensor(np.array(self.simulator.robot.effort_limit), dtype=torch.float32, device=self.simulator.device)
        return nominal * self.physics["motor_strength"] * self.physics["effort_limit_scale"]

    def measure(self, inputs: Sequence[str]) -> dict[str, Tensor]:
        """What the robot's sensors say, of ``inputs``."""
        signals = self.simulator.signals
        if self._perfect:
            return {name: getattr(signals, name) for name in inputs if name != "command"}
        clean = torch.cat([getattr(signals, name) for name in MEASURED], dim=-1)
        self._sensors.draw(self._generator)
        self._sensors.read(clean, self._held, 0, self._seen)
        measured = dict(zip(MEASURED, self._seen.clone().split(self._sizes, dim=-1), strict=True))
        return {name: measured[name] if name in measured else getattr(signals, name) for name in inputs if name != "command"}

    def send(self, target: Tensor) -> Tensor:
        """What the motors hear of ``target`` [N, J]."""
        self._link.draw(self._generator)
        return self._link.send(target, 0)

    def disturb(self) -> None:
        """Let the events happen whose time has come."""
        for i, one in enumerate(self._events):
            assert self._due is not None
            due = self._due[i] == self._now
            if bool(due.any()):
                one.apply(self.simulator, due, self._uniform(one.draws))
                self._due[i] = torch.where(due, self._now + self._steps(one), self._due[i])
        self._now += 1

    def _steps(self, one: Any) -> Tensor:
        """Control steps until each robot's next event, [N]."""
        low, high = one.interval
        return ((low + (high - low) * self._uniform(1)[:, 0]) / self.control_dt).round().to(torch.int64).clamp(min=1)

    def _uniform(self, columns: int) -> Tensor:
        return torch.rand(self.simulator.num_envs, columns, device=self.simulator.device, generator=self._generator)


def rollout(actor: Actor, world: World, command: Tensor, seconds: float, every: int | None = None) -> Iterator[Tensor]:
    """Go on for ``seconds`` under ``command`` [N, C], from wherever the robots are; the caller has reset the actor.

    Yields the raw action [N, J] in force after every ``every`` physics steps (None: once a control step), when
    ``world.simulator.signals`` are those of that moment. The caller may change ``command`` in place meanwhile.
    """
    simulator = world.simulator
    substeps = round(world.control_dt / simulator.physics_dt)
    if abs(substeps * simulator.physics_dt - world.control_dt) > 1e-9:
        raise InputError("physics_dt", simulator.physics_dt, f"a divisor of control_dt = {world.control_dt}", "Use divide().")
    every = every or substeps
    for _ in range(round(seconds / world.control_dt)):
        world.disturb()
        target, action = actor.act({**world.measure(actor.inputs), "command": command})
        target = world.send(target.to(simulator.device))
        for _ in range(substeps // every):
            simulator.step(target, every)
            yield action


def has_fallen(signals: Signals, robot: Robot) -> Tensor:
    """[N]: tilted beyond 60 degrees, or the base below half its standing height, or nowhere."""
    upright = signals.projected_gravity[..., 2] <= -math.cos(FALLEN_TILT)
    return ~(upright & (signals.base_pos[..., 2] >= FALLEN_HEIGHT * robot.standing_height))
