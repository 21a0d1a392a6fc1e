"""The safety supervisor: a state machine and a filter on every command, between any policy and any robot.

States and what moves between them (anything else is refused):

    idle      -> stand_up   on request, if the robot is upright and its state is fresh
    stand_up  -> ready      when the default pose is reached
    ready     -> walk       on request
    walk      -> ready      on request
    any       -> damping    on request, or at the end of a run
    any       -> fault      when a check fails; damping until the operator resets
    damping   -> idle       on request, when the joints have come to rest
    fault     -> damping    on request (reset)

Commands pass, in this order: finite, position, slew and torque-aware filters. Checks of the state: finite, fresh, tilt.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from deploy.interface import MotorCommand, RobotState, damping_command
from robots import InputError, Robot
from robots.actuator import POSITION_MARGIN, SLEW, clip_target_to_effort


class State(enum.StrEnum):
    IDLE = "idle"
    STAND_UP = "stand_up"
    READY = "ready"
    WALK = "walk"
    DAMPING = "damping"
    FAULT = "fault"


# Requests of the operator that each state grants; DAMPING is granted everywhere.
GRANTED: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.STAND_UP, State.DAMPING}),
    State.STAND_UP: frozenset({State.DAMPING}),
    State.READY: frozenset({State.WALK, State.DAMPING}),
    State.WALK: frozenset({State.READY, State.DAMPING}),
    State.DAMPING: frozenset({State.IDLE, State.DAMPING}),
    State.FAULT: frozenset({State.DAMPING}),
}
UNCHANGED = 1e-5  # rad: policies decode in single precision
ACTIVE = frozenset({State.STAND_UP, State.READY, State.WALK})  # the motors hold the robot up


@dataclass(frozen=True)
class Limits:
    """Thresholds of the checks and filters."""

    max_tilt: float = 0.8  # rad from upright
    max_state_age: float = 0.06  # s without a new sample of the state
    position_margin: float = POSITION_MARGIN  # rad kept from the joints' mechanical stops
    slew: float = SLEW  # multiple of joint_vel_limit that a target may move at
    stand_up_seconds: float = 2.0
    pose_tolerance: float = 0.25  # rad from the default pose that counts as standing
    damping_kd: float = 3.0  # N m s/rad
    rest_joint_vel: float = 0.5  # rad/s that counts as at rest

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
                raise InputError(f"deploy.limits.{name}", value, "a positive number", "Remove the override to get the default.")


@dataclass(frozen=True)
class Event:
    """Something that the supervisor did or found."""

    time: float  # s on the runtime's clock
    state: State
    kind: str  # "transition", "refused", or the name of a filter or check
    detail: str


class Supervisor:
    """Decides what the robot hears. No policy output reaches the robot but through :meth:`command`."""

    def __init__(self, robot: Robot, control_dt: float, limits: Limits) -> None:
        self.robot, self.control_dt, self.limits = robot, control_dt, limits
        self.state = State.IDLE
        self.events: list[Event] = []
        self.interventions: Counter[str] = Counter()  # control steps that each filter changed
        low, high = robot.joint_pos_limit.T
        self._low, self._high = low + limits.position_margin, high - limits.position_margin
        self._max_change = limits.slew * robot.joint_vel_limit * control_dt  # rad a control step
        self._target = robot.default_joint_pos.copy()  # the last one commanded
        self._tick, self._tick_time = -1, -math.inf
        self._entered = 0.0  # when the present state began
        self._start_pose = robot.default_joint_pos

    def request(self, wanted: State, state: RobotState, now: float) -> bool:
        """The operator asks for a state. Returns whether it was granted; a refusal is an event."""
        if wanted is self.state:
            return True
        reason = self._refusal(wanted, state, now)
        if reason:
            if not self.events or self.events[-1].detail != f"{wanted}: {reason}":  # asked again and again
                self._note(now, "refused", f"{wanted}: {reason}")
            return False
        if wanted is State.STAND_UP:
            self._start_pose = state.joint_pos.clip(self._low, self._high)  # folded legs rest on their stops
            self._target = state.joint_pos.copy()
        self._enter(wanted, now, "requested")
        return True

    def observe(self, state: RobotState, now: float) -> None:
        """Check a sample of the state; every control step, before :meth:`command`."""
        if state.tick != self._tick:
            self._tick, self._tick_time = state.tick, now
        if self.state not in ACTIVE:
            return
        fault = self._check(state, now)
        if fault:
            self._fault(now, *fault)
        elif self.state is State.STAND_UP and now - self._entered >= self.limits.stand_up_seconds:
            worst = np.abs(state.joint_pos - self.robot.default_joint_pos).max()
            if worst <= self.limits.pose_tolerance:
                self._enter(State.READY, now, "standing")
            elif now - self._entered >= 2.0 * self.limits.stand_up_seconds:
                self._fault(now, "stand_up", f"{worst:.2f} rad from the default pose after twice the time")

    def command(self, state: RobotState, now: float, policy_target: np.ndarray | None) -> MotorCommand:
        """What the robot is to hear now. ``policy_target`` [J] (rad) counts only while walking, and must come then."""
        j = self.robot.num_joints
        if self.state is State.WALK:
            if policy_target is None or policy_target.shape != (j,) or not np.isfinite(policy_target).all():
                self._fault(now, "finite", "the policy gave no finite target")
            else:
                return self._hold(state, policy_target)
        if self.state is State.STAND_UP:
            share = min((now - self._entered) / self.limits.stand_up_seconds, 1.0)
            smooth = share * share * (3.0 - 2.0 * share)
            return self._hold(state, self._start_pose + smooth * (self.robot.default_joint_pos - self._start_pose))
        if self.state is State.READY:
            return self._hold(state, self.robot.default_joint_pos)
        if self.state is State.IDLE:
            return damping_command(j, kd=0.0)
        return self.damping()

    def damping(self) -> MotorCommand:
        """The last word on any way out."""
        return damping_command(self.robot.num_joints, self.limits.damping_kd)

    def fault(self, now: float, kind: str, detail: str) -> None:
        """Report a failure found elsewhere, such as a policy or an interface that raised."""
        self._fault(now, kind, detail)

    def _hold(self, state: RobotState, asked: np.ndarray) -> MotorCommand:
        robot, target, changed = self.robot, asked, []
        for name, filtered in (
            ("position", lambda x: x.clip(self._low, self._high)),
            ("slew", lambda x: x.clip(self._target - self._max_change, self._target + self._max_change)),
            (
                "torque",
                lambda x: clip_target_to_effort(x, state.joint_pos, state.joint_vel, robot.kp, robot.kd, robot.effort_limit),
            ),
        ):
            before, target = target, filtered(target)
            if np.abs(target - before).max() > UNCHANGED:
                changed.append(name)
        # where two limits exclude each other the later one wins, and may undo what an earlier one did
        if np.abs(target - asked).max() > UNCHANGED:
            self.interventions.update(changed)
        self._target = target
        return MotorCommand(target, robot.kp, robot.kd, np.zeros(robot.num_joints))

    def _check(self, state: RobotState, now: float) -> tuple[str, str] | None:
        """The first check that fails: its name and what it found."""
        for name in ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel"):
            if not np.isfinite(getattr(state, name)).all():
                return "finite", f"{name} is not finite"
        age = now - self._tick_time
        if age > self.limits.max_state_age:
            return "stale_state", f"no new state for {1e3 * age:.0f} ms"
        tilt = math.acos(float(np.clip(-state.projected_gravity[2], -1.0, 1.0)))
        if tilt > self.limits.max_tilt:
            return "tilt", f"{math.degrees(tilt):.0f} degrees from upright"
        return None

    def _refusal(self, wanted: State, state: RobotState, now: float) -> str | None:
        if wanted not in GRANTED[self.state]:
            return f"not from {self.state}"
        if wanted is State.STAND_UP:
            fault = self._check(state, now)
            return fault[1] if fault else None
        if wanted is State.IDLE and np.abs(state.joint_vel).max() > self.limits.rest_joint_vel:
            return "the joints still move"
        return None

    def _fault(self, now: float, kind: str, detail: str) -> None:
        if self.state is not State.FAULT:
            self._note(now, kind, detail)
            self._enter(State.FAULT, now, kind)

    def _enter(self, state: State, now: float, why: str) -> None:
        self._note(now, "transition", f"{self.state} -> {state} ({why})")
        self.state, self._entered = state, now

    def _note(self, now: float, kind: str, detail: str) -> None:
        self.events.append(Event(now, self.state, kind, detail))
