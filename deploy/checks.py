"""The doctor's checks of any robot and its computer; those of the wire are in ``deploy.unitree.checks``."""

from __future__ import annotations

from typing import Any

import numpy as np

from deploy.doctor import LOOPBACK, Check, Computer, Facts, Samples
from deploy.monitors import UNIT, tilt
from robots.robot import GRAVITY

TESTED_DDS = ("11.0.1",)
LATE = 0.5  # of the period, that one step in a hundred may begin late
REST = 0.01  # standard deviation of gravity's unit vector that counts as at rest
GYROSCOPE = 0.05  # rad/s on average of a robot at rest
SHAKE = 0.15  # rad/s, root mean square, of a robot at rest
FRAME = 0.15  # rad between gravity by the accelerometer and by the quaternion
ACCELERATION = (8.8, 10.8)  # m/s^2 at rest
LEVEL = 0.5  # rad from upright: on the ground, standing or hanging
ZERO = 0.06  # rad beyond a joint's limit
UNEVEN = 0.3  # rad from its mirror image
DRIFT = 0.1  # rad between a joint's change and its velocity's integral
FROZEN = 0.5  # share of samples that repeat the one before
HOT = 70.0  # degrees C


def _no_network(facts: Facts, computer: Computer) -> str | None:
    return facts.network if facts.network is not None and facts.network not in computer.networks else None


def _down(facts: Facts, computer: Computer) -> str | None:
    network = computer.networks.get(facts.network or "")
    return f"{facts.network} is down" if network and not network.up else None


def _no_address(facts: Facts, computer: Computer) -> str | None:
    network = computer.networks.get(facts.network or "")
    return f"{facts.network} without one" if network and network.up and not network.address else None


def _no_multicast(facts: Facts, computer: Computer) -> str | None:
    network = computer.networks.get(facts.network or "")
    return f"{facts.network} without it" if network and facts.network != LOOPBACK and not network.multicast else None


def _dds_version(facts: Facts, computer: Computer) -> str | None:
    version = computer.libraries.get("cyclonedds", "")
    return None if facts.network is None or version in TESTED_DDS else version or "no cyclonedds"


def _vendor_types(facts: Facts, computer: Computer) -> str | None:
    found = [name for name in computer.libraries if name.startswith("unitree")]
    return f"{found[0]} {computer.libraries[found[0]]}" if facts.network is not None and found else None


def _foreign_library(facts: Facts, computer: Computer) -> str | None:
    foreign = [path for path in computer.library_path.split(":") if any(word in path for word in ("/ros/", "cyclonedds", "unitree"))]
    return foreign[0] if facts.network is not None and foreign else None


def _jitter(facts: Facts, computer: Computer) -> str | None:
    late = float(np.quantile(computer.lateness, 0.99))
    return f"{1e3 * late:.1f} ms late, one step in a hundred" if late > LATE * facts.control_dt else None


def _names(facts: Facts, bad: Any) -> str | None:
    """Of the joints where ``bad`` [J] is true."""
    return ", ".join(facts.robot.joint_names[i] for i in np.flatnonzero(bad)) or None


def _still(samples: Samples) -> bool:
    return bool(samples.projected_gravity.std(axis=0).max() < REST)


def _finite(facts: Facts, samples: Samples) -> str | None:
    names = ("projected_gravity", "base_ang_vel", "joint_pos", "joint_vel")
    return next((name for name in names if not np.isfinite(getattr(samples, name)).all()), None)


def _gravity(facts: Facts, samples: Samples) -> str | None:
    length = np.linalg.norm(samples.projected_gravity, axis=1).mean()
    return None if UNIT[0] <= length <= UNIT[1] else f"{length:.3g}"


def _accelerometer(facts: Facts, samples: Samples) -> str | None:
    length = float(np.linalg.norm(samples.accelerometer.mean(axis=0)))
    return f"{length:.3g} m/s^2" if _still(samples) and not np.isnan(length) and not ACCELERATION[0] <= length <= ACCELERATION[1] else None


def _imu_frame(facts: Facts, samples: Samples) -> str | None:
    """A robot at rest is carried against gravity, whichever way it lies."""
    up, gravity = samples.accelerometer.mean(axis=0), samples.projected_gravity.mean(axis=0)
    lengths = np.linalg.norm(up) * np.linalg.norm(gravity)
    if not _still(samples) or not lengths > 0.0:
        return None
    angle = float(np.arccos(np.clip(-up @ gravity / lengths, -1.0, 1.0)))
    return f"{np.degrees(angle):.0f} degrees apart" if angle > FRAME else None


def _quaternion(facts: Facts, samples: Samples) -> str | None:
    apart = np.abs((samples.rpy - samples.rpy_of_quaternion + np.pi) % (2.0 * np.pi) - np.pi).mean(axis=0).max()
    return f"{np.degrees(apart):.0f} degrees apart" if apart > FRAME else None


def _upright(facts: Facts, samples: Samples) -> str | None:
    mean = samples.projected_gravity.mean(axis=0)
    angle = tilt(mean) if np.linalg.norm(mean) > 0.0 else 0.0
    return f"{np.degrees(angle):.0f} degrees from upright" if angle > LEVEL else None


def _gyroscope(facts: Facts, samples: Samples) -> str | None:
    if not _still(samples):
        return None
    mean, rms = np.linalg.norm(samples.base_ang_vel.mean(axis=0)), np.sqrt(np.square(samples.base_ang_vel).mean(axis=0)).max()
    if mean > GYROSCOPE:
        return f"{mean:.3f} rad/s on average while gravity stands still"
    return f"{rms:.2f} rad/s while gravity stands still" if rms > SHAKE else None


def _frozen(facts: Facts, samples: Samples) -> str | None:
    for name in ("base_ang_vel", "projected_gravity", "joint_vel"):
        if len(samples.time) > 1 and (np.diff(getattr(samples, name), axis=0) == 0.0).all(axis=1).mean() > FROZEN:
            return name
    return None


def _dead(facts: Facts, samples: Samples) -> str | None:
    silent = (samples.joint_pos == 0.0) & (samples.joint_vel == 0.0) & ~(samples.temperature > 0.0)
    return _names(facts, silent.all(axis=0))


def _motor_error(facts: Facts, samples: Samples) -> str | None:
    return _names(facts, np.nan_to_num(samples.motor_error).any(axis=0))


def _hot(facts: Facts, samples: Samples) -> str | None:
    return _names(facts, (samples.temperature > HOT).any(axis=0))


def _beyond(facts: Facts, samples: Samples) -> str | None:
    low, high = facts.robot.joint_pos_limit.T
    pose = samples.joint_pos.mean(axis=0)
    return _names(facts, np.maximum(low - pose, pose - high) > ZERO)


def _uneven(facts: Facts, samples: Samples) -> str | None:
    mirror, pose = facts.robot.mirror, samples.joint_pos.mean(axis=0)
    return _names(facts, np.abs(pose - mirror.joint_sign * pose[mirror.joint_index]) > UNEVEN)


def _velocity(facts: Facts, samples: Samples) -> str | None:
    speed = 0.5 * (samples.joint_vel[1:] + samples.joint_vel[:-1])
    drift = samples.joint_pos[-1] - samples.joint_pos[0] - np.diff(samples.time) @ speed
    return _names(facts, np.abs(drift) > DRIFT)


COMPUTER_CHECKS = (
    Check(
        "network", "computer", _no_network, "a network interface of this computer",
        "'ip address' lists them: name that of the robot's cable.",
    ),
    Check("network_up", "computer", _down, "an interface that is up", "Plug the cable in at both ends, then: ip link set NAME up."),
    Check(
        "network_address", "computer", _no_address, "an IPv4 address",
        "A Unitree robot wants 192.168.123.x/24: ip address add 192.168.123.99/24 dev NAME.",
    ),
    Check(
        "multicast", "computer", _no_multicast, "an interface that can multicast, which finds the robot",
        "ip link set NAME multicast on.",
    ),
    Check(
        "dds_version", "computer", _dds_version, f"cyclonedds {', '.join(TESTED_DDS)}, which this was tested with",
        "pip install 'sim2real-locomotion[unitree]'.",
    ),
    Check(
        "dds_types", "computer", _vendor_types, "no package of the vendor's beside cyclonedds 11",
        "It calls octets uint8: its programs and the robot's never meet, and may crash. Give it an environment of its own.", error=False,
    ),
    Check(
        "dds_library", "computer", _foreign_library, "no other DDS library on LD_LIBRARY_PATH",
        "Run in a shell that has sourced neither ROS 2 nor the vendor's set-up.",
    ),
    Check(
        "priority", "computer", lambda facts, computer: None if computer.priority else "refused", "SCHED_FIFO",
        "Run as root, or add to /etc/security/limits.conf: USER - rtprio 60.", error=False,
    ),
    Check(
        "memory", "computer", lambda facts, computer: None if computer.memory_locked else "refused", "memory that can be locked",
        "Run as root, or add to /etc/security/limits.conf: USER - memlock unlimited.", error=False,
    ),
    Check(
        "governor", "computer", lambda facts, computer: computer.governor if computer.governor == "powersave" else None,
        "a processor that does not save power",
        "cpupower frequency-set -g performance.", error=False,
    ),
    Check(
        "jitter", "computer", _jitter, f"a loop that wakes within {LATE:g} of its period",
        "Stop other programs, plug in the charger, grant real-time priority.",
    ),
)  # fmt: skip
SAMPLE_CHECKS = (
    Check("finite", "samples", _finite, "numbers", "The robot's software sends none: start it anew."),
    Check(
        "gravity", "samples", _gravity, f"a unit vector of gravity, {UNIT[0]} to {UNIT[1]} long",
        "The IMU's quaternion is not of unit length: wait until it has started, or start the robot anew.",
    ),
    Check("accelerometer", "samples", _accelerometer, f"{GRAVITY} m/s^2 at rest", "Is it in g? Is the robot at rest?"),
    Check(
        "imu_frame", "samples", _imu_frame, "an accelerometer and a quaternion that agree about down",
        "The IMU is mounted or described otherwise: measure it, and give imu_mount in a calibration file.",
    ),
    Check(
        "quaternion", "samples", _quaternion, "a quaternion w, x, y, z and angles that agree",
        "Is the quaternion in the order x, y, z, w? Another version of the robot's software.",
    ),
    Check(
        "upright", "samples", _upright, f"a base within {np.degrees(LEVEL):.0f} degrees of upright",
        "Lay it on its belly, stand it up or hang it up; if it is upright, the IMU is mounted otherwise.",
    ),
    Check(
        "gyroscope", "samples", _gyroscope, "a gyroscope at rest, in rad/s",
        "Keep the robot still while it starts, so that it finds its bias; is it in degrees per second?",
    ),
    Check("frozen", "samples", _frozen, "signals that change with every sample", "The sensor's process hangs: start the robot anew."),
    Check("dead_motors", "samples", _dead, "motors that answer", "Check the motor's cable and the robot's variant."),
    Check(
        "motor_errors", "samples", _motor_error, "motors without an error and without lost messages",
        "Look the code up in the vendor's app; check the motor's cable.",
    ),
    Check("hot_motors", "samples", _hot, f"motors below {HOT:g} degrees C", "Let them cool."),
    Check(
        "joint_limits", "samples", _beyond, f"joints within their limits, {ZERO} rad at most beyond",
        "The joint's zero is lost: calibrate in the vendor's app, or give joint_zero in a calibration file.",
    ),
    Check(
        "joint_zeros", "samples", _uneven, f"a pose within {UNEVEN} rad of its mirror image",
        "Lay the robot evenly; if it lies evenly, a joint's zero is off: calibrate it.", error=False,
    ),
    Check(
        "joint_velocities", "samples", _velocity, "velocities that agree with how positions change",
        "Wrong unit or sign of velocities: another version of the robot's software.",
    ),
)  # fmt: skip
