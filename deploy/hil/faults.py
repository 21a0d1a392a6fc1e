"""Faults by name: each a function of a bench and its settings that says what it breaks, and where.

A setting's type is its annotation; signals are those of a RobotState, joints are numbers in the robot's canonical order.
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from deploy.hil.simulated_robot import NOISE
from deploy.interface import MotorCommand, RobotState
from deploy.monitors import SHAPES
from deploy.operator import Intent, Stop
from deploy.states import State
from robots import InputError
from robots.errors import nearest
from sim.mujoco_model import GROUND

if TYPE_CHECKING:
    from deploy.hil.bench import Bench

IMU = ("base_ang_vel", "projected_gravity")
ENCODERS = ("joint_pos", "joint_vel", "joint_torque")


@dataclass(frozen=True)
class Hooks:
    """What a fault breaks while it lasts."""

    begin: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None
    sample: Callable[[RobotState], Any] = lambda sample: sample  # on the wire from the robot
    command: Callable[[MotorCommand], Iterable[MotorCommand]] = lambda command: (command,)  # on the wire to the motors
    runtime: Callable[[], None] = lambda: None  # as it begins a step
    target: Callable[[np.ndarray], np.ndarray] = lambda target: target  # [J] rad, of the policy
    intent: Callable[[Intent], Intent] = lambda intent: intent  # of the operator


NOTHING = Hooks()
FAULTS: dict[str, Callable[..., Hooks]] = {}


def fault(function: Callable[..., Hooks]) -> Callable[..., Hooks]:
    """Known by its name."""
    FAULTS[function.__name__] = function
    return function


def check(name: Any, settings: Any, field: str) -> None:
    """Raises InputError where there is no such fault, or it has no such settings."""
    if name not in FAULTS:
        raise InputError(f"{field}.fault", name, f"one of {', '.join(FAULTS)}", nearest(str(name), FAULTS))
    known = {key: p for key, p in inspect.signature(FAULTS[name]).parameters.items() if key != "bench"}
    for key, value in settings.items():
        if key not in known:
            raise InputError(f"{field}.settings.{key}", value, f"a setting of {name}: {', '.join(known) or 'it has none'}", "Remove it.")
        if problem := _unfit(str(known[key].annotation), value):
            raise InputError(f"{field}.settings.{key}", value, problem, f"As in {key}: {known[key].default!r}.")


def _unfit(kind: str, value: Any) -> str:
    """What the value should have been, or nothing."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "float":
        return "" if whole or (isinstance(value, float) and math.isfinite(value)) else "a number"
    if kind == "int":
        return "" if whole and value >= 0 else "a whole number"
    if kind == "str":
        return "" if value in SHAPES else f"a signal: {', '.join(SHAPES)}"
    if not isinstance(value, list | tuple) or not value:
        return "a list"
    if kind == "Signals":
        return "" if all(item in SHAPES for item in value) else f"signals: {', '.join(SHAPES)}"
    return next((problem for item in value if (problem := _unfit("int" if kind == "Joints" else "float", item))), "")


Signals = tuple[str, ...]
Joints = tuple[int, ...]
Numbers = tuple[float, ...]


def _changed(sample: RobotState, names: Iterable[str], change: Callable[[np.ndarray], np.ndarray]) -> RobotState:
    return replace(sample, **{name: change(getattr(sample, name)) for name in names})


@fault
def nothing(bench: Bench) -> Hooks:
    """Nothing fails."""
    return NOTHING


# packets of the state --------------------------------------------------------------------------------------------------


@fault
def stale(bench: Bench) -> Hooks:
    """No more packets arrive: the newest one again and again."""
    kept: list[RobotState] = []

    def sample(now: RobotState) -> RobotState:
        kept.append(now) if not kept else None
        return kept[0]

    return Hooks(sample=sample)


@fault
def lost(bench: Bench, share: float = 0.5) -> Hooks:
    """So many of the packets get lost."""
    last: list[RobotState] = []

    def sample(now: RobotState) -> RobotState:
        if not last or bench.random.random() >= share:
            last[:] = [now]
        return last[0]

    return Hooks(sample=sample)


@fault
def delayed(bench: Bench, seconds: float = 0.04, stamped: int = 1) -> Hooks:
    """Packets arrive so late; with stamped 0, they say that they are new."""
    way: deque[RobotState] = deque()

    def sample(now: RobotState) -> RobotState:
        way.append(now)
        while len(way) > 1 and way[1].time <= now.time - seconds + 1e-9:
            way.popleft()
        return way[0] if stamped else replace(way[0], time=now.time, tick=now.tick)

    return Hooks(sample=sample)


@fault
def reordered(bench: Bench, share: float = 0.3, seconds: float = 0.02) -> Hooks:
    """So many of the packets come after newer ones."""
    past: deque[RobotState] = deque(maxlen=64)

    def sample(now: RobotState) -> RobotState:
        past.append(now)
        old = [s for s in past if s.time <= now.time - seconds]
        return old[-1] if old and bench.random.random() < share else now

    return Hooks(sample=sample)


@fault
def replayed(bench: Bench, seconds: float = 0.5) -> Hooks:
    """The robot's last so many seconds come again and again, under new ticks and times."""
    record: list[RobotState] = []
    turns = iter(range(10**9))

    def sample(now: RobotState) -> RobotState:
        if not record or now.time - record[0].time < seconds:
            record.append(now)
            return now
        return replace(record[next(turns) % len(record)], time=now.time, tick=now.tick)

    return Hooks(sample=sample)


@fault
def bit_flips(bench: Bench, share: float = 1.0, signals: Signals = tuple(SHAPES)) -> Hooks:
    """One random bit in one number of so many of the packets is wrong, with no checksum to tell."""

    def sample(now: RobotState) -> RobotState:
        if bench.random.random() >= share:
            return now
        name = str(bench.random.choice(np.array(signals)))
        value = getattr(now, name).copy()
        value.view(np.uint64)[bench.random.integers(len(value))] ^= np.uint64(1) << np.uint64(bench.random.integers(64))
        return replace(now, **{name: value})

    return Hooks(sample=sample)


@fault
def not_a_number(bench: Bench, signal: str = "joint_pos", element: int = 3) -> Hooks:
    """One number of a signal is NaN."""
    return Hooks(sample=lambda now: _changed(now, (signal,), lambda value: np.where(np.arange(len(value)) == element, np.nan, value)))


@fault
def misshapen(bench: Bench, signal: str = "joint_pos") -> Hooks:
    """A signal comes as a column."""
    return Hooks(sample=lambda now: _changed(now, (signal,), lambda value: value[:, None]))


@fault
def no_sample(bench: Bench) -> Hooks:
    """The driver returns nothing."""
    return Hooks(sample=lambda now: None)


@fault
def robot_clock(bench: Bench, seconds: float = 1.0) -> Hooks:
    """The robot's clock jumps."""
    return Hooks(sample=lambda now: replace(now, time=now.time + seconds))


# sensors ---------------------------------------------------------------------------------------------------------------


@fault
def frozen(bench: Bench, signals: Signals = IMU) -> Hooks:
    """Signals stay as they are, under new ticks."""
    kept: dict[str, np.ndarray] = {}

    def sample(now: RobotState) -> RobotState:
        kept.update({name: getattr(now, name) for name in signals if name not in kept})
        return replace(now, **kept)

    return Hooks(sample=sample)


@fault
def scaled(bench: Bench, signal: str = "joint_pos", factor: float = 57.29578) -> Hooks:
    """A signal in the wrong unit; -1 is the wrong sign."""
    return Hooks(sample=lambda now: _changed(now, (signal,), lambda value: factor * value))


@fault
def biased(bench: Bench, signal: str = "base_ang_vel", offset: Numbers = (0.0, 1.0, 0.0)) -> Hooks:
    """A signal is off by a constant."""
    return Hooks(sample=lambda now: _changed(now, (signal,), lambda value: value + np.resize(offset, len(value))))


@fault
def noisy(bench: Bench, signals: Signals = IMU, factor: float = 10.0) -> Hooks:
    """So many times the noise of a good sensor."""

    def sample(now: RobotState) -> RobotState:
        noise = {name: factor * NOISE[name] * bench.random.standard_normal(SHAPES[name] or bench.robot.num_joints) for name in signals}
        return replace(now, **{name: getattr(now, name) + value for name, value in noise.items()})

    return Hooks(sample=sample)


@fault
def turned(bench: Bench, degrees: float = 15.0, axis: Numbers = (0.0, 1.0, 0.0)) -> Hooks:
    """The IMU is mounted, or has slipped, by so much about an axis of the base."""
    rotation = np.zeros(9)
    quat = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quat, np.array(axis, dtype=float) / np.linalg.norm(axis), math.radians(degrees))
    mujoco.mju_quat2Mat(rotation, quat)
    return Hooks(sample=lambda now: _changed(now, IMU, lambda value: rotation.reshape(3, 3).T @ value))


@fault
def encoder_stuck(bench: Bench, joint: int = 4) -> Hooks:
    """One joint's position stays as it is, and its speed is 0."""
    kept: list[float] = []

    def sample(now: RobotState) -> RobotState:
        kept.append(float(now.joint_pos[joint])) if not kept else None
        here = np.arange(len(now.joint_pos)) == joint
        return replace(now, joint_pos=np.where(here, kept[0], now.joint_pos), joint_vel=np.where(here, 0.0, now.joint_vel))

    return Hooks(sample=sample)


@fault
def encoder_step(bench: Bench, joint: int = 4, offset: float = 0.3) -> Hooks:
    """One joint's position is off by so many rad: a slipped magnet, a wrong zero."""
    return Hooks(sample=lambda now: _changed(now, ("joint_pos",), lambda q: q + offset * (np.arange(len(q)) == joint)))


@fault
def encoder_drift(bench: Bench, joint: int = 4, rate: float = 0.5) -> Hooks:
    """One joint's position runs away at so many rad/s, which its speed does not say."""
    return Hooks(
        sample=lambda now: _changed(
            now, ("joint_pos",), lambda q: q + rate * (bench.world.now() - bench.start) * (np.arange(len(q)) == joint)
        )
    )


@fault
def encoder_noisy(bench: Bench, joint: int = 4, deviation: float = 0.1) -> Hooks:
    """One joint's position has so many rad of noise."""
    return Hooks(
        sample=lambda now: _changed(
            now, ("joint_pos",), lambda q: q + deviation * bench.random.standard_normal() * (np.arange(len(q)) == joint)
        )
    )


@fault
def joints_swapped(bench: Bench, joints: Joints = (1, 2)) -> Hooks:
    """Two joints' encoders are taken for each other."""
    order = np.arange(bench.robot.num_joints)
    order[list(joints)] = joints[::-1]
    return Hooks(sample=lambda now: _changed(now, ENCODERS, lambda value: value[order]))


@fault
def joint_reversed(bench: Bench, joint: int = 1) -> Hooks:
    """One joint's encoder has the wrong sign."""
    sign = 1.0 - 2.0 * (np.arange(bench.robot.num_joints) == joint)
    return Hooks(sample=lambda now: _changed(now, ENCODERS, lambda value: sign * value))


# motors and battery ----------------------------------------------------------------------------------------------------


@fault
def motors_weak(bench: Bench, strength: float = 0.0, joints: Joints = (), seconds: float = 0.0) -> Hooks:
    """Motors (none named: all) have that share of their torque: dead at 0, and after so many seconds where they get there by heat."""
    chosen = list(joints) or list(range(bench.robot.num_joints))

    def physics() -> None:
        gone = 1.0 if seconds == 0.0 else min(1.0, (bench.plant.time - bench.start) / seconds)
        bench.plant.strength[chosen] = 1.0 - (1.0 - strength) * gone

    return _physics(bench, physics)


@fault
def battery_sags(bench: Bench, voltage: float = 28.5, rate: float = 0.0) -> Hooks:
    """The battery says so many V, and so many less each second; the motors do not feel it yet."""
    return Hooks(sample=lambda now: replace(now, voltage=voltage - rate * (bench.world.now() - bench.start)))


@fault
def motors_warm(bench: Bench, degrees: float = 85.0, joint: int = 4) -> Hooks:
    """One motor's sensor says so many degrees C, the others 40."""
    return Hooks(sample=lambda now: replace(now, motor_temperature=np.where(np.arange(bench.robot.num_joints) == joint, degrees, 40.0)))


@fault
def operator_stops(bench: Bench, cut: int = 0) -> Hooks:
    """The operator asks the robot to lie down and stop, or, with cut 1, to stop at once."""
    return Hooks(intent=lambda intent: intent._replace(stop=Stop.CUT if cut else Stop.SETTLE))


@fault
def motors_swapped(bench: Bench, joints: Joints = (1, 2)) -> Hooks:
    """Two motors hear each other's commands."""
    order = np.arange(bench.robot.num_joints)
    order[list(joints)] = joints[::-1]
    return Hooks(command=lambda told: (MotorCommand(*(value[order] for value in vars(told).values())),))


@fault
def motor_reversed(bench: Bench, joint: int = 1) -> Hooks:
    """One motor takes the target for its negative."""
    sign = 1.0 - 2.0 * (np.arange(bench.robot.num_joints) == joint)
    return Hooks(command=lambda told: (replace(told, joint_pos_target=sign * told.joint_pos_target),))


@fault
def motor_torque_noisy(bench: Bench, share: float = 0.5) -> Hooks:
    """What the motors say of their torque has noise of that share of the limit."""
    limit = bench.robot.effort_limit
    return Hooks(
        sample=lambda now: _changed(now, ("joint_torque",), lambda value: value + share * limit * bench.random.standard_normal(len(value)))
    )


# the way to the motors -------------------------------------------------------------------------------------------------


@fault
def commands_lost(bench: Bench, share: float = 0.3) -> Hooks:
    """So many of the commands get lost; the motors keep the last one."""
    return Hooks(command=lambda told: () if bench.random.random() < share else (told,))


@fault
def commands_delayed(bench: Bench, seconds: float = 0.02) -> Hooks:
    """Commands arrive so late."""
    way: deque[tuple[float, MotorCommand]] = deque()

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        now = bench.world.now()
        way.append((now + seconds, told))
        while way and way[0][0] <= now + 1e-9:
            yield way.popleft()[1]

    return Hooks(command=command)


@fault
def commands_reordered(bench: Bench, share: float = 0.3, turns: int = 10) -> Hooks:
    """So many of the commands are followed by one of up to so many turns (2 ms) before."""
    past: deque[MotorCommand] = deque(maxlen=turns)

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        past.append(told)
        return (told, past[int(bench.random.integers(len(past)))]) if bench.random.random() < share else (told,)

    return Hooks(command=command)


@fault
def commands_doubled(bench: Bench) -> Hooks:
    """Each command arrives twice."""
    return Hooks(command=lambda told: (told, told))


@fault
def wire_fails(bench: Bench) -> Hooks:
    """Each write raises, and nothing reaches the motors."""

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        raise OSError("no such device")

    return Hooks(command=command)


@fault
def second_commander(bench: Bench, share: float = 0.5, heard: int = 1) -> Hooks:
    """Another program holds the pose that the robot had; whose command a motor hears is chance. With heard 0 the wire does not tell."""
    pose: list[np.ndarray] = []
    robot, theirs_heard = bench.robot, iter(range(10**9))

    def command(told: MotorCommand) -> Iterable[MotorCommand]:
        if not pose:
            pose.append(bench.plant.data.qpos[[bench.plant.index(i)[0] for i in range(robot.num_joints)]].copy())
        theirs = MotorCommand(pose[0], robot.kp, robot.kd, np.zeros(robot.num_joints))
        return (theirs,) if bench.random.random() < share else (told,)

    return Hooks(command=command, sample=lambda now: replace(now, foreign_commands=next(theirs_heard) if heard else 0))


# the world -------------------------------------------------------------------------------------------------------------


def _physics(bench: Bench, act: Callable[[], None]) -> Hooks:
    """``act`` before each step of the physics."""

    def end() -> None:
        bench.plant.physics = lambda: None
        bench.plant.data.xfrc_applied[:] = bench.plant.data.qfrc_applied[:] = 0.0

    return Hooks(begin=lambda: setattr(bench.plant, "physics", act), end=end)


@fault
def push(bench: Bench, velocity: Numbers = (0.0, 1.0, 0.0)) -> Hooks:
    """The base gets so many m/s at once, in the world's frame."""

    def begin() -> None:
        bench.plant.data.qvel[:3] += velocity

    return Hooks(begin=begin)


@fault
def turn_over(bench: Bench, rate: Numbers = (8.0, 0.0, 0.0)) -> Hooks:
    """The base gets so many rad/s at once, in its own frame: somebody rolls it over."""

    def begin() -> None:
        bench.plant.data.qvel[3:6] += rate

    return Hooks(begin=begin)


@fault
def slip(bench: Bench, friction: float = 0.1) -> Hooks:
    """The ground turns to ice."""

    def begin() -> None:
        bench.plant.model.geom(GROUND).friction[0] = friction

    return Hooks(begin=begin)


@fault
def load(bench: Bench, mass: float = 10.0) -> Hooks:
    """So many kg lie on the base at once."""

    def physics() -> None:
        bench.plant.data.xfrc_applied[bench.plant.base, 2] = -9.81 * mass

    return _physics(bench, physics)


@fault
def blocked(bench: Bench, joints: Joints = (5,), stiffness: float = 400.0) -> Hooks:
    """Joints are held where they are: a stone in the linkage (N m/rad)."""
    held: dict[int, float] = {}
    data, where = bench.plant.data, [bench.plant.index(joint) for joint in joints]

    def physics() -> None:
        for position, velocity in where:
            data.qfrc_applied[velocity] = stiffness * (held.setdefault(position, float(data.qpos[position])) - data.qpos[position])
            data.qfrc_applied[velocity] -= 0.01 * stiffness * data.qvel[velocity]

    return _physics(bench, physics)


@fault
def held_in_the_air(bench: Bench, height: float = 0.3) -> Hooks:
    """Somebody lifts the robot by its base, m in a second, and holds it there."""
    data, weight = bench.plant.data, 9.81 * float(bench.plant.model.body_subtreemass[bench.plant.base])
    floor: list[float] = []

    def physics() -> None:
        floor.append(float(data.qpos[2])) if not floor else None
        wanted = floor[0] + height * min(1.0, bench.plant.time - bench.start)
        rotation = data.xmat[bench.plant.base].reshape(3, 3)
        force = data.xfrc_applied[bench.plant.base]
        force[:3] = -5.0 * weight * data.qvel[:3]
        force[2] += weight * (1.0 + 50.0 * (wanted - data.qpos[2]))
        force[3:] = weight * (np.cross(rotation[:, 2], [0.0, 0.0, 1.0]) - 0.1 * rotation @ data.qvel[3:6])

    return _physics(bench, physics)


# the runtime, its policy and its clock ---------------------------------------------------------------------------------


@fault
def hung(bench: Bench, seconds: float = 1000.0) -> Hooks:
    """The runtime does nothing, once, for so long: a swap to disk, SIGSTOP; or for ever."""
    done: list[bool] = []

    def runtime() -> None:
        if not done:
            done.append(True)
            bench.hang(seconds)

    return Hooks(runtime=runtime)


@fault
def killed(bench: Bench) -> Hooks:
    """The runtime is gone, without a word."""

    def runtime() -> None:
        if bench.guard:
            bench.guard.end(bench.clock.now(), "the runtime is gone")
        bench.hang(math.inf)

    return Hooks(runtime=runtime)


@fault
def slow(bench: Bench, seconds: float = 0.03) -> Hooks:
    """Each step of the runtime takes so much longer."""
    return Hooks(runtime=lambda: bench.hang(seconds))


@fault
def clock_jump(bench: Bench, seconds: float = 1.0) -> Hooks:
    """The computer's clock jumps ahead."""

    def begin() -> None:
        bench.clock.ahead += seconds

    return Hooks(begin=begin)


@fault
def policy_not_a_number(bench: Bench, joint: int = 3) -> Hooks:
    """The policy's target for one joint is NaN."""
    return Hooks(target=lambda target: np.where(np.arange(len(target)) == joint, np.nan, target))


@fault
def policy_wild(bench: Bench, amplitude: float = 1.0) -> Hooks:
    """The policy's targets jump up and down by so many rad, each step."""
    signs = iter([1.0, -1.0] * 10_000)
    pose = bench.robot.default_joint_pos
    return Hooks(target=lambda target: (pose + next(signs) * amplitude * np.resize([1.0, -1.0, 1.0], len(pose))).astype(target.dtype))


@fault
def policy_far(bench: Bench, target: float = 100.0) -> Hooks:
    """The policy asks for the same absurd target for every joint, rad."""
    return Hooks(target=lambda asked: np.full_like(asked, target))


@fault
def policy_stuck(bench: Bench) -> Hooks:
    """The policy says the same again and again."""
    kept: list[np.ndarray] = []

    def target(asked: np.ndarray) -> np.ndarray:
        kept.append(asked) if not kept else None
        return kept[0]

    return Hooks(target=target)


@fault
def policy_misshapen(bench: Bench) -> Hooks:
    """The policy's targets lack a joint."""
    return Hooks(target=lambda asked: asked[:-1])


@fault
def policy_raises(bench: Bench) -> Hooks:
    """The policy raises."""

    def target(asked: np.ndarray) -> np.ndarray:
        raise RuntimeError("of the policy")

    return Hooks(target=target)


# the operator ----------------------------------------------------------------------------------------------------------


@fault
def operator_gone(bench: Bench) -> Hooks:
    """The operator's device has gone silent, its last word in force."""
    return Hooks(intent=lambda intent: intent._replace(age=bench.world.now() - bench.start))


@fault
def operator_command(bench: Bench, value: float = math.nan) -> Hooks:
    """Each channel of the operator's command is this number."""
    return Hooks(intent=lambda intent: intent._replace(command=np.full_like(intent.command, value)))


@fault
def operator_insists(bench: Bench) -> Hooks:
    """The operator asks to walk at every step."""
    return Hooks(intent=lambda intent: intent._replace(state=State.WALK))
