"""The safety supervisor: a state machine, monitors and filters between any policy and any robot.

``states.TABLE`` says what leads to what and which monitors guard which state, ``monitors.MONITORS`` what they measure,
``filters.FILTERS`` what every target passes, ``limits.Limits`` all thresholds; ``docs/safety.md`` is generated from them.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.linalg import norm

from deploy.gate import Gate
from deploy.interface import Floats, MotorCommand, RobotState, damping_command
from deploy.limits import Limits
from deploy.monitors import BY_NAME, LARGEST, SAMPLE_CHECKS, SHAPES, SHARES, Response, exceeds, tilt
from deploy.operator import Stop
from deploy.states import ACTIVE, TABLE, State, granted
from deploy.targets import STRAINS, Targets
from deploy.window import Window
from robots import Robot

AT_COMMAND = ("stale_state", "stall")  # what may become true between a sample and its command
FORGIVEN = 0.25  # of a bad sample, by each good one
OVER = 0.9  # share of the threshold below which a mild finding is over


class Reply(enum.StrEnum):
    """What came of a request."""

    ENTERED = "entered"  # a transition took place
    ALREADY = "already"  # it is in that state, and nothing happened
    COMING = "coming"  # a walk comes to rest first
    REFUSED = "refused"


@dataclass(frozen=True)
class Event:
    """Something that the supervisor did or found."""

    time: float  # s on the runtime's clock
    state: State
    kind: str  # "transition", "refused", "override", or the name of a check or monitor
    detail: str


class Supervisor:
    """Decides what the robot hears. No policy output reaches the robot but through :meth:`command`."""

    def __init__(self, robot: Robot, control_dt: float, limits: Limits) -> None:
        self.robot, self.control_dt, self.limits = robot, control_dt, limits
        self.state = State.IDLE
        self.events: list[Event] = []
        self.interventions: Counter[str] = Counter()  # control steps of the policy that each filter changed
        self.sample = _unknown(robot)  # the last good one
        self.window = Window(robot, control_dt)
        self._targets = Targets(robot, control_dt, limits)
        self._sent = damping_command(robot.num_joints, kd=0.0)
        self._sent_time = self._heard_time = self._rest_since = math.nan
        self._wrong = ""  # with the newest sample
        self._findings: dict[str, Response] = {}  # the mild ones that last
        self._estop_time = math.nan  # when the e-stop was last heard, if there is one
        self.stopped = Stop.NONE  # what an operator or an e-stop has asked for since a person last reset
        self._lies = len(robot.feet) > 2  # at an orderly end; on two feet it stands until somebody holds it
        self._leads_to: State | None = None  # where a walk that comes to rest does, to ready or to its end
        self._ends_by = math.inf  # when that walk, or on two feet the standing, is over at the latest
        self._lying = False  # or on the way to it
        self._asked_before: Floats | None = None  # [J] rad, of the policy
        self._takes_over = False  # the policy's next target is its first
        self._gate = Gate(robot, control_dt, limits)

    # what is heard ---------------------------------------------------------------------------------------------------

    def observe(self, sample: RobotState, now: float, lateness: float = 0.0) -> RobotState:
        """Look at the newest sample, once a control step that began ``lateness`` s late; returns the newest good one."""
        if math.isnan(self._sent_time):
            self._sent_time = self._heard_time = now
            for name, (default, value) in self.limits.overrides().items():
                self._note(now, "override", f"{name} is {value:g}, not {default:g}")
        self._take(sample, now)
        self.window.histories["lateness"].push(min(lateness, 2.0 * self.control_dt))  # one stall does not make a slow loop
        self._watch(now, TABLE[self.state].monitors)
        self._wind_down(now)
        if self.state is State.STAND_UP and self._targets.way >= 1.0:
            worst = np.abs(self.sample.joint_pos - self.robot.default_joint_pos).max()
            if worst <= self.limits.pose_tolerance:
                self._enter(State.CHECK, now, "standing")
            elif self._targets.way >= 2.0:
                self.fault(now, "stand_up", f"{worst:.2f} rad from the default pose after twice the time")
        elif self.state is State.CHECK:
            if wrong := self._gate.look(self.sample):
                self.fault(now, "check", wrong)
            elif self._gate.passed:
                self._enter(State.READY, now, "checked")
        return self.sample

    def heard(self, now: float) -> None:
        """The operator gave a sign of life, and a command that makes sense."""
        self._heard_time = now

    def kept_alive(self, time: float) -> None:
        """There is an e-stop, and ``time`` (s) is when it was last heard, minus infinity where it never was."""
        self._estop_time = time

    def stop(self, level: Stop, now: float) -> None:
        """An operator or an e-stop ends the run; what has been asked for holds until a person resets."""
        if level <= self.stopped:
            return
        self.stopped = level
        if self.state in ACTIVE:
            if level is Stop.CUT:
                self.fault(now, "stop", "cut")
            else:
                self._settle(now, "stop", "settle")

    def request(self, wanted: State, now: float) -> Reply:
        """The operator asks for a state. A refusal is an event. To ask for damping resets what was stopped."""
        if wanted is State.DAMPING:
            self.stopped = Stop.NONE
        if wanted is self.state:
            return Reply.ALREADY
        if reason := self._refusal(wanted, now):
            if not self.events or self.events[-1].detail != f"{wanted}: {reason}":  # asked again and again
                self._note(now, "refused", f"{wanted}: {reason}")
            return Reply.REFUSED
        if wanted is State.READY and not self.rested(now):
            if self._leads_to is None:
                self._come_to_rest(wanted, "ready", Response.HOLD, now + self.limits.stop_seconds)
            return Reply.COMING
        self._enter(wanted, now, "requested")
        return Reply.ENTERED

    @property
    def ends(self) -> bool:
        """Whether it is on an orderly way to its end."""
        return State.SETTLE in (self.state, self._leads_to)

    @property
    def command_share(self) -> float:
        """How much of the operator's command, less the one to rest, the robot may be given."""
        return min((SHARES[response] for response in self._findings.values()), default=1.0)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """What narrows the targets now, for the log: share of kp, the action box (rad), least share of a motor's torque, stop's level."""
        return self._targets.gain, self._targets.box, float(np.min(self._targets.share)), float(self.stopped)

    @property
    def resting(self) -> bool:
        """Whether the newest sample is good and shows the joints at rest."""
        return not math.isnan(self._rest_since)

    def rested(self, now: float) -> bool:
        """Whether the joints have been seen at rest for long enough, without a break."""
        return now - self._rest_since >= self.limits.dwell_seconds

    # what is said ----------------------------------------------------------------------------------------------------

    def command(self, now: float, policy_target: Floats | None = None) -> MotorCommand:
        """What the robot is to hear now. ``policy_target`` [J] (rad) counts only while walking, and must come then."""
        self._watch(now, [name for name in AT_COMMAND if name in TABLE[self.state].monitors])
        if self.state in ACTIVE:
            asked = self._asked(policy_target)
            self._count_repeats(asked)
            if asked is not None and self._takes_over and (jump := self._jump(asked)):
                self._note(now, "refused", f"walk: {jump}")
                self._enter(State.SETTLE if self.ends else State.READY, now, "refused")
                asked = self._asked(None)
            self._takes_over = False
            command = None if asked is None else self._filtered(asked)
            if asked is None:
                self.fault(now, "finite", "the policy gave no finite target")
            elif command is None:
                self.fault(now, "torque", "no target is within both position and torque limits")
            else:
                return self._say(command, now)
        if self.state is State.IDLE:
            return self._say(damping_command(self.robot.num_joints, kd=0.0), now)
        return self._say(self.damping(), now)

    def damping(self) -> MotorCommand:
        """The last word on any way out."""
        return damping_command(self.robot.num_joints, self.limits.damping_kd)

    def fault(self, now: float, kind: str, detail: str) -> None:
        """Damping until a person resets it; also for what failed elsewhere, such as an interface that raised."""
        self._note(now, kind, detail)
        if self.state is not State.FAULT:
            self._enter(State.FAULT, now, kind)

    # inside ----------------------------------------------------------------------------------------------------------

    def _take(self, sample: RobotState, now: float) -> None:
        """Keep a sample that is new and can be believed."""
        tick, last, active = getattr(sample, "tick", None), self.sample, self.state in ACTIVE
        if tick == last.tick and active:
            return
        self._wrong = next((wrong for check in SAMPLE_CHECKS if (wrong := check.finds(sample, self.robot, self.limits, now))), "")
        if not self._wrong and active and (sample.tick < last.tick or sample.time <= last.time):
            self._wrong = f"tick {sample.tick} at {sample.time:.3f} s came after {last.tick} at {last.time:.3f} s"
        new = not self._wrong and tick != last.tick
        if self._wrong:
            self.window.bad_samples += 1
        if new:
            self.window.bad_samples = max(0.0, self.window.bad_samples - FORGIVEN)
            if not sample.time - last.time <= self.limits.max_silence:
                self.window.clear()  # what happened meanwhile was not seen
            warm = None if sample.motor_temperature is None else sample.motor_temperature.copy()
            self.sample = replace(sample, motor_temperature=warm, **{name: getattr(sample, name).copy() for name in SHAPES})
            self.window.push(self.sample, self._sent)
        resting = new and np.abs(self.sample.joint_vel).max() < self.limits.rest_joint_vel
        if not resting:
            self._rest_since = math.nan
        elif math.isnan(self._rest_since):
            self._rest_since = now

    def _watch(self, now: float, names: tuple[str, ...] | list[str]) -> None:
        """Let these monitors look, and do what follows."""
        window = self.window
        window.age, window.silence, window.operator_silence = now - self.sample.time, now - self._sent_time, now - self._heard_time
        window.estop_silence = self._estop_silence(now)
        for name in names:
            monitor, threshold = BY_NAME[name], getattr(self.limits, BY_NAME[name].limit)
            value = monitor.value(window)
            lasting = name in self._findings
            if exceeds(value, threshold * OVER if lasting else threshold):
                detail = f"{value:.3g} is above {monitor.limit} {threshold:g}"
                if monitor.response is Response.DAMPING:
                    return self.fault(now, name, f"{detail}: {self._wrong}" if name == "bad_sample" else detail)
                if monitor.response is Response.SETTLE:
                    if not lasting:
                        self._settle(now, name, detail)
                    if self.state is not State.WALK:
                        return None
                elif not lasting:
                    self._findings[name] = monitor.response
                    self._note(now, name, f"{monitor.response}: {detail}")
            elif lasting and monitor.response is not Response.SETTLE:
                del self._findings[name]
                self._note(now, name, "over")
        return None

    def _estop_silence(self, now: float) -> float:
        return 0.0 if math.isnan(self._estop_time) else now - self._estop_time

    def _refusal(self, wanted: State, now: float) -> str:
        """Why not, or nothing."""
        limits, age = self.limits, now - self.sample.time
        if wanted not in granted(self.state):
            return f"not from {self.state}"
        if self.stopped and wanted is not State.DAMPING:
            return f"stopped: {self.stopped.name.lower()}"
        if self.ends and wanted is not State.DAMPING:
            return "it is to lie down" if self._lies else "it stands until it is damped"
        if wanted in (State.STAND_UP, State.WALK):
            if self._estop_silence(now) > limits.estop_silence:
                return "the e-stop is silent"
            if self._wrong or not age <= limits.max_state_age:
                return self._wrong or "no fresh state of the robot"
            angle = tilt(self.sample.projected_gravity)
            if angle > limits.standing_tilt:
                return f"{math.degrees(angle):.0f} degrees from upright"
        if wanted is State.WALK and (
            self._targets.way < 1.0 or np.abs(self.sample.joint_pos - self.robot.default_joint_pos).max() > limits.pose_tolerance
        ):
            return "not yet in the default pose"
        if wanted is State.IDLE and not self.rested(now):
            return "the joints have not rested long enough"
        return ""

    def _enter(self, state: State, now: float, why: str) -> None:
        self._note(now, "transition", f"{self.state} -> {state} ({why})")
        before, self.state = self.state, state
        self._findings.clear()
        self._leads_to, self._ends_by, self._lying = None, math.inf, False
        if state is State.STAND_UP:
            self.window.bad_samples = 0.0
            self._targets.take_hold(self.sample.joint_pos)
            self._targets.set_out(self.limits.stand_up_seconds)
            self.window.clear()
            self.window.push(self.sample, self._sent)
        elif state is State.CHECK:
            self._gate = Gate(self.robot, self.control_dt, self.limits)
        elif state is State.READY and before is State.WALK:
            self._targets.set_out(self.limits.ramp_seconds)
        elif state is State.SETTLE:
            down = self._folded(now) if before is State.WALK else before is State.STAND_UP or self._targets.way >= 1.0
            if self._lies and down:
                self._lie_down()
            else:
                self._targets.set_out(self.limits.ramp_seconds if before is State.WALK else self.limits.lie_down_seconds)
            self._ends_by = math.inf if self._lies else now + self.limits.hold_seconds
        elif state is State.WALK:
            self._heard_time, self._takes_over, self.window.same_targets = now, True, 0
            self.window.clear("filtered", "asked", "swung")

    def _settle(self, now: float, name: str, detail: str) -> None:
        """A walk comes to rest first; else the way to lying begins at once."""
        if self._lies:
            words, wait = "", self.limits.stop_seconds
        else:
            wait = self.limits.hold_seconds
            words = f". It stands for {wait:g} s and is damped then, and falls: hold it, or hang it up, and damp it"
        self._note(now, name, f"{Response.SETTLE}: {detail}{words}")
        if self.state is State.WALK:
            self._come_to_rest(State.SETTLE, name, Response.SETTLE, min(now + wait, self._ends_by if self.ends else math.inf))
        elif self.state is not State.SETTLE:
            self._enter(State.SETTLE, now, name)

    def _come_to_rest(self, then: State, name: str, response: Response, by: float) -> None:
        """The walk is told to rest, and leads on to ``then``, no later than ``by`` s."""
        self._findings[name], self._leads_to, self._ends_by = response, then, by

    def _wind_down(self, now: float) -> None:
        """A walk comes to rest, and the feet come down in the default pose; at an orderly end, at rest again, it lies down from there."""
        over, way = now >= self._ends_by, self._targets.way
        if self.ends and not self._lies:
            if over:
                self.fault(now, "settled", "stood, and is damped")
        elif self._leads_to:
            if over or self.rested(now):
                self._enter(self._leads_to, now, "stands still" if self.rested(now) else "still moves")
        elif not self.ends:
            return
        elif self._lying and way >= 1.0:
            self.fault(now, "settled", "lies, and is damped")
        elif way >= 2.0 or (way >= 1.0 and self.rested(now)):
            self._lie_down()

    def _folded(self, now: float) -> bool:
        """Whether the joints rest nearer to lying than to the default pose: what lies already does not stand up to lie down."""
        joints, robot = self.sample.joint_pos, self.robot
        return self.rested(now) and bool(norm(joints - robot.lie_joint_pos) < norm(joints - robot.default_joint_pos))

    def _lie_down(self) -> None:
        self._lying = True
        self._targets.set_out(self.limits.lie_down_seconds, self.robot.lie_joint_pos)

    def _jump(self, asked: Floats) -> str:
        """Why the policy's first target is no way to take over, or nothing."""
        jump = np.abs(asked - self._targets.last)
        i = int(jump.argmax())
        far = jump[i] > self.limits.takeover_jump
        return f"the policy's first target for {self.robot.joint_names[i]} is {jump[i]:.2f} rad away" if far else ""

    def _asked(self, policy_target: Floats | None) -> Floats | None:
        """The target [J] before the filters; None where a policy that walks gave none."""
        if self.state is State.WALK:
            return _finite_target(policy_target, self.robot.num_joints)
        if self.state is State.CHECK:
            return self.robot.default_joint_pos + self._gate.offset
        return self._targets.on_the_way()

    def _count_repeats(self, asked: Floats | None) -> None:
        """A policy that sees the robot move says something else each step."""
        moves = np.abs(self.sample.joint_vel).max() > self.limits.rest_joint_vel
        before = self._asked_before
        same = asked is not None and before is not None and np.array_equal(asked, before)
        self.window.same_targets = self.window.same_targets + 1 if same and moves and self.state is State.WALK else 0
        self._asked_before = asked

    def _filtered(self, asked: Floats) -> MotorCommand | None:
        """None where no target is safe."""
        walks, effort = self.state is State.WALK, self.limits.stand_up_torque if self.state is State.STAND_UP else 1.0
        found = self._targets.filtered(asked, self.sample, self.window.temperature, effort, boxed=walks)
        if found.conflict.any():
            return None
        if walks:
            self.interventions.update(found.changed)
            strained = not STRAINS.isdisjoint(found.changed)
            self.window.histories["filtered"].push(float(strained))
            if not strained and not self._findings:
                self._targets.widen()
        return self._targets.command()

    def _say(self, command: MotorCommand, now: float) -> MotorCommand:
        self._sent, self._sent_time = command, now
        return MotorCommand(*(value.copy() for value in vars(command).values()))  # the caller may do with it what it likes

    def _note(self, now: float, kind: str, detail: str) -> None:
        self.events.append(Event(now, self.state, kind, detail))


def _finite_target(target: object, j: int) -> Floats | None:
    """``target`` as float64 [j], if it is that many finite floats."""
    if not isinstance(target, np.ndarray) or target.dtype.kind != "f" or target.shape != (j,) or not (np.abs(target) <= LARGEST).all():
        return None
    return target.astype(np.float64)


def _unknown(robot: Robot) -> RobotState:
    """Before the first sample."""
    three, j = np.full(3, math.nan), np.full(robot.num_joints, math.nan)
    return RobotState(-math.inf, -1, base_ang_vel=three, projected_gravity=three, joint_pos=j, joint_vel=j, joint_torque=j)
