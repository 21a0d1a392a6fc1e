"""Thresholds of the safety layer: each with what it means and the range that an override must keep to."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from robots import InputError
from robots.actuator import POSITION_MARGIN, SLEW


def limit(default: float, low: float, high: float, unit: str, text: str) -> Any:
    """A field of :class:`Limits`."""
    return field(default=default, metadata={"low": low, "high": high, "unit": unit, "text": text})


PAIRS = (  # the milder one first
    ("operator_silence", "operator_loss"), ("warm_torque", "hot_torque"), ("level_tilt", "standing_tilt"), ("warm_winding", "hot_winding"),
    ("low_voltage", "empty_voltage"), ("estop_silence", "estop_loss"),
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Raises InputError for a number outside its range. Figures were measured on a Go2 that walks, clean, pushed, loaded and on ice."""

    max_tilt: float = limit(0.8, 0.2, 1.2, "rad", "from upright, while walking")
    standing_tilt: float = limit(0.35, 0.1, 0.8, "rad", "from upright, while standing up or standing")
    level_tilt: float = limit(0.1, 0.02, 0.35, "rad", "from upright, of the robot that is to be checked")
    max_state_age: float = limit(0.06, 0.01, 0.2, "s", "of the newest good sample")
    max_silence: float = limit(0.06, 0.01, 0.2, "s", "since the motors last heard a command")
    max_lateness: float = limit(0.5, 0.1, 1.0, "control periods", "that steps start late, mean of 1 s")
    max_bad_samples: float = limit(1.0, 0.0, 5.0, "samples", "less a quarter of the good ones since, that are bridged by the last good one")
    frozen_samples: float = limit(4, 2, 50, "samples", "in a row that may repeat a signal bit for bit")
    gravity_drift: float = limit(0.06, 0.02, 0.5, "1", "gravity's change less what the gyroscope says, over 0.2 s")
    stuck_target: float = limit(0.1, 0.02, 0.5, "rad", "that a joint's target moves in 0.2 s while its position repeats bit for bit")
    blocked_target: float = limit(0.35, 0.1, 1.0, "rad", "that a joint's target swings in 1 s, less eight times what the joint does")
    position_drift: float = limit(0.15, 0.02, 0.5, "rad", "a joint's change less its mean velocity times time, over 0.2 s")
    torque_error: float = limit(0.4, 0.1, 1.0, "of the limit", "measured less expected torque, mean of 0.2 s")
    joint_vel: float = limit(2.0, 1.0, 4.0, "of the limit", "a joint's velocity in one sample")
    base_ang_vel: float = limit(12.0, 4.0, 30.0, "rad/s", "of the base")
    filtered_share: float = limit(0.5, 0.1, 1.0, "of the steps of 1 s", "that the slew or torque filter changed")
    warm_torque: float = limit(0.5, 0.1, 0.8, "of the limit", "root mean square torque of 5 s that derates")
    warm_winding: float = limit(80.0, 40.0, 120.0, "degrees C", "of a motor, measured or reckoned, mean of 0.2 s, that derates")
    hot_winding: float = limit(
        90.0, 50.0, 130.0, "degrees C", "of a motor, measured or reckoned, mean of 0.2 s, at which the robot lies down"
    )
    low_voltage: float = limit(0.9, 0.3, 1.5, "of full to empty", "that the battery's voltage has come, mean of 1 s, and derates")
    empty_voltage: float = limit(1.0, 0.5, 1.5, "of full to empty", "that the battery's voltage has come, mean of 1 s: the robot lies down")
    odd_readings: float = limit(
        0.5, 0.1, 1.0, "of the samples of 0.2 s", "with a temperature or a voltage that no motor and no battery has"
    )
    power: float = limit(0.8, 0.1, 1.0, "of the battery's power", "that all motors together may be predicted to take")
    mean_power: float = limit(0.5, 0.1, 1.0, "of the battery's power", "that all motors together take, mean of 0.2 s, and derates")
    foreign_commands: float = limit(1, 1, 100, "commands", "of another program to the same motors since the run began")
    stuck_policy: float = limit(10, 3, 100, "steps", "in a row that a policy may say the same, bit for bit, while the robot moves")
    hot_torque: float = limit(0.65, 0.1, 0.9, "of the limit", "root mean square torque of 5 s that ends the run")
    operator_silence: float = limit(0.5, 0.1, 5.0, "s", "without a word of the operator, after which the robot is to rest")
    estop_silence: float = limit(0.5, 0.1, 5.0, "s", "without a sign of life of the e-stop, after which the robot lies down")
    estop_loss: float = limit(2.0, 0.2, 30.0, "s", "without a sign of life of the e-stop, after which it is damped")
    operator_loss: float = limit(3.0, 0.2, 30.0, "s", "without a word of the operator, after which the robot lies down")
    position_margin: float = limit(POSITION_MARGIN, 0.0, 0.1, "rad", "kept from the joints' mechanical stops")
    slew: float = limit(SLEW, 0.05, SLEW, "of joint_vel_limit", "that a target may move at")
    action_box: float = limit(10.0, 0.05, 10.0, "rad", "around the default pose for a policy's targets at first; 10 is none")
    box_growth: float = limit(0.01, 0.0, 1.0, "rad/s", "of clean walking that the box widens by")
    command_seconds: float = limit(1.0, 0.02, 5.0, "s", "that a walk's command takes at least from one end of its range to the other")
    takeover_jump: float = limit(0.8, 0.1, 2.0, "rad", "from the present target to a policy's first")
    gain_seconds: float = limit(0.5, 0.1, 5.0, "s", "until a robot that was limp is held with its whole kp")
    stand_up_seconds: float = limit(2.0, 1.0, 10.0, "s", "from lying to standing")
    stand_up_torque: float = limit(0.6, 0.2, 1.0, "of the limit", "that standing up may take")
    tracking_error: float = limit(0.5, 0.1, 1.0, "rad", "of a joint from its target while standing up, mean of 0.2 s")
    pose_tolerance: float = limit(0.25, 0.05, 0.5, "rad", "from the default pose that counts as standing")
    asymmetry: float = limit(0.1, 0.02, 0.5, "rad", "of a joint of the standing robot from its mirror image")
    dwell_seconds: float = limit(0.5, 0.2, 5.0, "s", "level before a check, still before motors go limp, standing before a walk")
    wiggle: float = limit(0.05, 0.02, 0.1, "rad", "that each joint is moved by in a check")
    wiggle_share: float = limit(0.08, 0.05, 0.8, "of wiggle", "that the joint must move at least")
    wiggle_answer: float = limit(0.5, 0.2, 0.9, "of wiggle", "that the joint's motion and its spring's torque must come to")
    stop_seconds: float = limit(3.0, 0.0, 10.0, "s", "that a walk may take to come to rest, before the default pose")
    hold_seconds: float = limit(20.0, 0.0, 600.0, "s", "that a robot on two feet stands at an orderly end, for a person to hold it")
    lie_down_seconds: float = limit(2.0, 0.5, 10.0, "s", "from standing to lying")
    ramp_seconds: float = limit(1.0, 0.5, 5.0, "s", "from a walk to the default pose")
    damping_kd: float = limit(3.0, 0.5, 6.0, "N m s/rad", "of damping")
    rest_joint_vel: float = limit(0.5, 0.05, 1.0, "rad/s", "that counts as at rest")

    def __post_init__(self) -> None:
        for item in fields(self):
            value, low, high = getattr(self, item.name), item.metadata["low"], item.metadata["high"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                allowed = f"a number in [{low:g}, {high:g}], {item.metadata['unit']}"
                raise InputError(f"deploy.limits.{item.name}", value, allowed, f"Remove the override to get {item.default:g}.")
        for name, other in PAIRS:
            if getattr(self, name) > getattr(self, other):
                raise InputError(f"deploy.limits.{name}", getattr(self, name), f"at most {other}, {getattr(self, other):g}", "Lower it.")

    def overrides(self) -> dict[str, tuple[float, float]]:
        """What is not as it comes: name to default and given value."""
        default = vars(Limits())
        return {name: (default[name], value) for name, value in vars(self).items() if value != default[name]}
