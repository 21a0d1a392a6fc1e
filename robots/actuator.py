"""The actuator law, once: the motor's own PD loop within its torque-speed curve, and the inverse of its limit.

All functions use arithmetic and ``clip`` only, so they take numpy arrays and torch tensors alike; shapes broadcast.
Units: rad, rad/s, N m, N m/rad, N m s/rad.
"""

from __future__ import annotations

from typing import Any

Array = Any  # numpy.ndarray or torch.Tensor
Curve = tuple[Array, Array]  # speed up to which a motor has its whole torque, and speed at which it has none left, rad/s

# What a deployment grants a target, and a policy is therefore trained under.
POSITION_MARGIN = 0.02  # rad kept from the joints' mechanical stops
SLEW = 2.0  # multiple of joint_vel_limit that a target may move at


def torque_bounds(joint_vel: Array, effort_limit: Array, curve: Curve | None = None) -> tuple[Array, Array]:
    """The least and the largest torque of a motor at ``joint_vel``, N m; without a ``curve`` they are +-``effort_limit``.

    A DC motor at its full voltage has the torque stall (1 - dq / no_load_speed) and its driver's current ends at ``effort_limit``:
    the whole torque up to ``speed_at_full_effort``, then linearly less, none at ``no_load_speed``. Driven faster than that it
    brakes, whatever it is told. Torque against the motion (braking) keeps its whole range: there the back-EMF helps.
    """
    if curve is None:
        return -effort_limit, effort_limit
    stall = stall_torque(effort_limit, curve)
    lost = stall * joint_vel / curve[1]
    return (-stall - lost).clip(-effort_limit, effort_limit), (stall - lost).clip(-effort_limit, effort_limit)


def stall_torque(effort_limit: Array, curve: Curve) -> Array:
    """The torque at rest of the line through (speed_at_full_effort, effort_limit) and (no_load_speed, 0), N m."""
    speed_at_full_effort, no_load_speed = curve
    return effort_limit / (1.0 - speed_at_full_effort / no_load_speed)


def motor_torque(
    joint_pos_target: Array,
    joint_pos: Array,
    joint_vel: Array,
    kp: Array,
    kd: Array,
    effort_limit: Array,
    feed_forward: Array | float = 0.0,
    curve: Curve | None = None,
) -> Array:
    """Torque of a PD-controlled motor, N m: kp (target - q) - kd dq + feed_forward within :func:`torque_bounds`."""
    torque = kp * (joint_pos_target - joint_pos) - kd * joint_vel + feed_forward
    return torque.clip(*torque_bounds(joint_vel, effort_limit, curve))


def clip_target_to_effort(joint_pos_target: Array, joint_pos: Array, joint_vel: Array, kp: Array, kd: Array, effort_limit: Array) -> Array:
    """The target nearest to ``joint_pos_target`` whose PD torque stays within the effort limit, rad.

    The inverse of :func:`motor_torque` at its limits: q + (kd dq -+ limit) / kp. ``kp`` must be positive.
    """
    center = joint_pos + (kd / kp) * joint_vel
    reach = effort_limit / kp
    return joint_pos_target.clip(center - reach, center + reach)
