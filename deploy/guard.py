"""What the guard lets the robot hear: the rules, without processes or clocks. `deploy/guard_process.py` runs them at 500 Hz.

    waiting    damping, until the runtime posts its first command, which must hold the robot about where it is: no jump begins a run
    following  the newest posted command, clamped to the robot's bounds, as long as the next one keeps coming in time
    damping    latched: until a person resets, whatever is posted

A post is a sequence number, a deadline by which the next post must have been made, and a command. A missed deadline, a sequence that
goes back, a command that is not finite or of the wrong shape, gains beyond the robot's own, a state that is no longer fresh: each ends in
damping.
"""

from __future__ import annotations

import enum
import math
import secrets
from dataclasses import dataclass

import numpy as np

from deploy.interface import Clock, MotorCommand, RobotInterface, RobotState, damping_command
from robots import Robot
from robots.actuator import clip_target_to_effort

LATE = 0.015  # s that a post may come later than a period after the one before
LEASE = 0.06  # s from a post to its deadline at least, where the runtime has no real-time priority and may be held up
MAX_LEASE = 0.2  # s; nobody may ask to be trusted for longer
MAX_STATE_AGE = 0.013  # s without a new sample of a stream at 500 Hz, or without a write that succeeds
STALE_TURNS = 2  # at which that must be so: one that comes late itself finds a sample that its listener has not taken yet
FIRST_TORQUE = 0.25  # of the effort limit that the spring of the first command may ask for
BEYOND = 0.2  # rad outside of its joint's limits that an encoder may read, and be believed
FASTEST = 2.0  # multiple of a joint's speed limit that may be measured, and be believed
REST_JOINT_VEL = 0.5  # rad/s that counts as at rest
REST_SECONDS = 0.5  # of rest, without a break, before the last word
MAX_ENDING = 5.0  # s of damping after which the last word is spoken anyway


class Phase(enum.StrEnum):
    WAITING = "waiting"
    FOLLOWING = "following"
    DAMPING = "damping"


class GuardError(RuntimeError):
    """The guard no longer lets the runtime drive the robot."""


class GuardTripped(GuardError):
    """The guard damps the robot, until a person resets it."""


class GuardDead(GuardError):
    """The guard is gone, or no longer turns: nothing that is posted reaches the robot."""


@dataclass(frozen=True)
class Post:
    """What the runtime hands over at each of its steps. Times are on the guard's clock, s."""

    sequence: int  # grows with every post
    time: float  # when it was made
    deadline: float  # by when the next one must have been made
    command: MotorCommand


class Guard:
    """Decides, each cycle, what ``robot`` hears."""

    def __init__(self, robot: Robot, damping_kd: float) -> None:
        self.phase, self.reason = Phase.WAITING, ""
        self.token = 0  # what a person must give to reset; another one each time that the guard trips, 0 where there is no way back
        self._robot, self._damping_kd = robot, damping_kd
        self._low, self._high = robot.joint_pos_limit.T
        self._max_kd = np.maximum(robot.kd, damping_kd)
        self._sequence, self._deadline, self._command = -1, math.inf, self.damping()
        self._state: RobotState | None = None  # the newest one that can be used
        self._state_time = self._write_time = -math.inf
        self._stale_turns = STALE_TURNS
        self._rest_since = math.inf
        self._reset_time = -math.inf
        self._ending_since = math.inf

    def step(self, now: float, state: RobotState | None, post: Post | None) -> MotorCommand:
        """What the robot is to hear now, by the newest ``state`` that could be read and the newest ``post``."""
        self._observe(now, state)
        new = None if post is None or post.sequence == self._sequence or post.time <= self._reset_time else post
        if self.phase is not Phase.DAMPING:
            if objection := self._objection(now, new):
                self.trip(objection)
            elif new:
                self.phase, self._deadline, self._command = Phase.FOLLOWING, new.deadline, new.command
        if new:
            self._sequence = max(self._sequence, new.sequence)
        if self.phase is Phase.FOLLOWING and self._state is not None:
            return self._clamped(self._command, self._state)
        return self.damping()

    def damping(self) -> MotorCommand:
        """The last word, and the only one but for a command in time."""
        return damping_command(self._robot.num_joints, self._damping_kd)

    def trip(self, reason: str) -> None:
        """Damp from now on."""
        if self.phase is not Phase.DAMPING:
            self.phase, self.reason, self.token = Phase.DAMPING, reason, secrets.randbelow(900_000) + 100_000

    def reset(self, now: float, token: int) -> bool:
        """A person, who has read this trip's ``token``, lets the runtime post again. A command of before the reset is not followed."""
        granted = self.phase is Phase.DAMPING and token == self.token and self._ending_since == math.inf
        if granted:
            self.phase, self._deadline, self._reset_time = Phase.WAITING, math.inf, now
        return granted

    def end(self, now: float, reason: str) -> None:
        """Damp until :meth:`ended`; there is no way back."""
        self.trip(reason)
        self.token, self._ending_since = 0, min(self._ending_since, now)

    def ended(self, now: float) -> bool:
        """Whether the joints have come to rest under damping that was heard, or will not within the time for it."""
        resting = now - max(self._rest_since, self._ending_since) >= REST_SECONDS
        return resting or now - self._ending_since >= MAX_ENDING

    def written(self, now: float, error: str | None) -> None:
        """The command of this cycle reached the wire, or did not for the reason ``error``."""
        if error is None:
            self._write_time = now
            return
        self._rest_since = math.inf
        if self.phase is Phase.FOLLOWING and now - self._write_time > MAX_STATE_AGE:
            self.trip(f"no command reached the wire for {1e3 * (now - self._write_time):.0f} ms: {error}")

    def _observe(self, now: float, state: RobotState | None) -> None:
        if state is not None and usable(state, self._robot) and (self._state is None or state.tick > self._state.tick):
            self._state, self._state_time = state, now
        self._stale_turns = self._stale_turns + 1 if now - self._state_time > MAX_STATE_AGE else 0
        state = self._state
        if state is None or self._stale or np.abs(state.joint_vel).max() >= REST_JOINT_VEL:
            self._rest_since = math.inf
        else:
            self._rest_since = min(self._rest_since, now)

    @property
    def _stale(self) -> bool:
        return self._state is None or self._stale_turns >= STALE_TURNS

    def _objection(self, now: float, new: Post | None) -> str | None:
        """Why the robot must be damped, if it must."""
        heard = now if new is None else new.time  # a post in time counts even where this process is late to see it
        if heard > self._deadline:
            return f"deadline missed by {1e3 * (heard - self._deadline):.1f} ms"
        if self._stale and (new or self.phase is Phase.FOLLOWING):
            return "no fresh state of the robot"
        if new is None:
            return None
        if new.sequence < self._sequence:
            return f"sequence went back from {self._sequence} to {new.sequence}"
        if not (new.time <= now <= new.deadline <= new.time + MAX_LEASE):  # a number that is none fails too
            return f"posted at {new.time:.4f} s with deadline {new.deadline:.4f} s, seen at {now:.4f} s; a lease is at most {MAX_LEASE} s"
        if flaw := self._flaw(new.command):
            return flaw
        return self._jump(new.command) if self.phase is Phase.WAITING else None

    def _flaw(self, command: MotorCommand) -> str | None:
        for name, value in vars(command).items():
            if not isinstance(value, np.ndarray) or value.shape != (self._robot.num_joints,) or not np.isfinite(value).all():
                return f"{name} is not {self._robot.num_joints} finite numbers"
        for name, value, most in (("kp", command.kp, self._robot.kp), ("kd", command.kd, self._max_kd)):
            if (value < 0).any() or (value > most).any():
                return f"{name} is not between 0 and {most.tolist()}"
        return None

    def _jump(self, command: MotorCommand) -> str | None:
        """Of the first command: a runtime that goes on where it was, after a reset, meets a robot that lies on the ground."""
        assert self._state is not None  # it is fresh
        share = np.abs(command.kp * (command.joint_pos_target - self._state.joint_pos)) / self._robot.effort_limit
        return f"the first command asks for {100 * share.max():.0f} % of the torque at once" if share.max() > FIRST_TORQUE else None

    def _clamped(self, command: MotorCommand, state: RobotState) -> MotorCommand:
        """Within the motors' torque at this cycle's state and then, which has the last say, within the joints' limits.

        Where the two exclude each other the torque asked for points away from the stop, and the motor gives all it has.
        """
        robot, held = self._robot, command.kp > 0
        feed_forward = command.feed_forward.clip(-robot.effort_limit, robot.effort_limit)
        kp = np.where(held, command.kp, 1.0)
        lead = feed_forward / kp
        target = clip_target_to_effort(
            command.joint_pos_target + lead, state.joint_pos, state.joint_vel, kp, command.kd, robot.effort_limit
        )
        target = (target - lead).clip(self._low, self._high)
        return MotorCommand(np.where(held, target, command.joint_pos_target), command.kp, command.kd, feed_forward)


class LockstepGuard:
    """The same rules inside the runtime's process, at each of its writes: for simulated time, the same to the last bit each run."""

    def __init__(self, interface: RobotInterface, guard: Guard, clock: Clock, lease: float = LEASE) -> None:
        self.interface, self.guard, self._clock, self._lease = interface, guard, clock, lease
        self._state: RobotState | None = None
        self._sequence = 0

    def read(self) -> RobotState:
        self._state = self.interface.read()
        return self._state

    def write(self, command: MotorCommand) -> None:
        now = self._clock.now()
        self._sequence += 1
        self._turn(Post(self._sequence, now, now + self._lease, command))
        refuse(command, self.guard.phase, self.guard.reason, self.guard.token)

    def cycle(self) -> None:
        """A turn between the runtime's writes, for a simulated time that is to pass as in two processes: every 2 ms."""
        self.read()
        self._turn(None)

    def _turn(self, post: Post | None) -> None:
        now = self._clock.now()
        command, failure = self.guard.step(now, self._state, post), None
        try:
            self.interface.write(command)
        except Exception as error:  # as in the guard's process: what counts is for how long
            failure = f"{type(error).__name__}: {error}"
        self.guard.written(now, failure)

    def close(self) -> None:
        self.interface.write(self.guard.damping())
        self.interface.close()


def lease(control_dt: float) -> float:
    """How long a runtime of that period (s) is trusted after each of its posts, s. LEASE at least, where it has no real-time priority."""
    return control_dt + LATE


def refuse(command: MotorCommand, phase: Phase, reason: str, token: int) -> None:
    """Raise GuardTripped where the guard damps in place of ``command``; a command that holds nothing loses nothing."""
    if phase is Phase.DAMPING and command.kp.any():
        raise GuardTripped(f"the guard damps: {reason}.{way_back(token)}")


def way_back(token: int) -> str:
    """For the person who reads it."""
    return f" Token to reset it: {token}." if token else ""


def usable(state: RobotState, robot: Robot) -> bool:
    """Whether targets may be clamped by it: numbers, of a place and speed that the joints can have."""
    joints = (robot.num_joints,)
    if state.joint_pos.shape != joints or state.joint_vel.shape != joints:
        return False
    low, high = robot.joint_pos_limit.T
    placed = (state.joint_pos >= low - BEYOND) & (state.joint_pos <= high + BEYOND)
    return bool((placed & (np.abs(state.joint_vel) <= FASTEST * robot.joint_vel_limit)).all())  # a number that is none is neither
