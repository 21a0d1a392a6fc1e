"""The actuator law, once: the motor's own PD loop with its torque limit, and its inverse.

Both functions use arithmetic and ``clip`` only, so they take numpy arrays and torch tensors alike; shapes broadcast.
Units: rad, rad/s, N m, N m/rad, N m s/rad.
"""

from __future__ import annotations

from typing import Any

Array = Any  # numpy.ndarray or torch.Tensor


def motor_torque(
    joint_pos_target: Array,
    joint_pos: Array,
    joint_vel: Array,
    kp: Array,
    kd: Array,
    effort_limit: Array,
    feed_forward: Array | float = 0.0,
) -> Array:
    """Torque of a PD-controlled motor: clip(kp (target - q) - kd dq + feed_forward, -limit, limit), N m."""
    torque = kp * (joint_pos_target - joint_pos) - kd * joint_vel + feed_forward
    return torque.clip(-effort_limit, effort_limit)


def clip_target_to_effort(joint_pos_target: Array, joint_pos: Array, joint_vel: Array, kp: Array, kd: Array, effort_limit: Array) -> Array:
    """The target nearest to ``joint_pos_target`` whose PD torque stays within the effort limit, rad.

    The inverse of :func:`motor_torque` at its limits: q + (kd dq -+ limit) / kp. ``kp`` must be positive.
    """
    center = joint_pos + (kd / kp) * joint_vel
    reach = effort_limit / kp
    return joint_pos_target.clip(center - reach, center + reach)
