"""What a robot's joints, gyroscope and gravity say of its velocity, its height and the force on its feet: worked out afterwards.

Leg odometry: a foot that stands does not move, so the base moves as its leg does, the other way round (Bloesch et al. 2013, State
Estimation for Legged Robots). Which feet stand is told by the motors' torques. All of it looks both ways in time, as only a log can,
and so does not lag. Feet that slip, and feet in the air, are known by their disagreement with the others alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from locomotion.data.kinematics import Feet, Kinematics
from robots import Robot
from robots.robot import GRAVITY

STANDS = (0.08, 0.25)  # of the robot's weight on a foot: where it begins to be believed, and where it is
LOADED, HOVERS = 0.1, 0.01  # of the weight above which, and m of its sole below which, a foot is said to touch the ground
SLIP = 0.15  # m/s by which a foot may disagree with the others before it is believed half
SECONDS = 0.02  # of the smoothing's Gaussian
BIAS_SECONDS = 2.0  # of a stretch that tells the gyroscope's bias: gravity is known to some milliradians
CREEP = 0.2  # rad/s at which dry friction has come to most of its torque
ROUNDS = 4  # of the robust average
LITTLE = 1e-3  # of a foot's weight, that of one of which nothing speaks


@dataclass(frozen=True)
class Estimate:
    """Of T samples of an uninterrupted stretch."""

    base_lin_vel: np.ndarray  # [T, 3] m/s, base frame
    base_height: np.ndarray  # [T] m above the ground that the feet stand on
    foot_force: np.ndarray  # [T, F, 3] N, of the ground on each foot, base frame
    sole_height: np.ndarray  # [T, F] m above that ground
    contact: np.ndarray  # [T, F] bool
    stance: np.ndarray  # [T, F] 0 to 1, how far a foot is believed to stand still
    feet: Feet


def base_velocity(
    robot: Robot, joint_pos: np.ndarray, joint_vel: np.ndarray, base_ang_vel: np.ndarray, projected_gravity: np.ndarray,
    joint_torque: np.ndarray, dt: float,
) -> np.ndarray:  # fmt: skip
    """[T, 3] m/s in the base's frame, of [T, ...] measured ``dt`` s apart without a gap; see :func:`estimate`."""
    return estimate(Kinematics(robot), joint_pos, joint_vel, base_ang_vel, projected_gravity, joint_torque, dt).base_lin_vel


def estimate(
    kinematics: Kinematics, joint_pos: np.ndarray, joint_vel: np.ndarray, base_ang_vel: np.ndarray, projected_gravity: np.ndarray,
    joint_torque: np.ndarray, dt: float,
) -> Estimate:  # fmt: skip
    """Of ``joint_pos`` (rad), ``joint_vel`` (rad/s), ``joint_torque`` (N m) [T, J], ``base_ang_vel`` (rad/s) and
    ``projected_gravity`` [T, 3] in the base's frame, ``dt`` s apart. Finite numbers only."""
    down = projected_gravity / np.linalg.norm(projected_gravity, axis=-1, keepdims=True)
    feet = kinematics.feet(joint_pos, down)
    force = _foot_force(kinematics, feet, joint_vel, joint_torque, dt)
    load = -(force @ down[:, :, None])[..., 0] / (GRAVITY * kinematics.mass)  # [T, F] of the weight
    stance = ((load - STANDS[0]) / (STANDS[1] - STANDS[0])).clip(LITTLE, 1.0)
    # the base's velocity, were each foot to stand
    turning = base_ang_vel - gyro_bias(base_ang_vel, down, dt)
    swept = np.einsum("tfxj,tj->tfx", feet.jacobian, joint_vel) + np.cross(turning[:, None], feet.contact)
    velocity, belief = -swept, stance
    for _ in range(ROUNDS):
        smooth = _smoothed(velocity, belief, dt)
        off = np.linalg.norm(velocity - smooth[:, None], axis=-1)
        belief = stance / (1.0 + np.square(off / SLIP))  # Cauchy's weights
    reach = (feet.contact @ down[:, :, None])[..., 0]  # [T, F] m that each sole is below the base
    height = _smoothed(reach[..., None], belief, dt)
    sole = height - reach
    contact = (load > LOADED) & (sole < HOVERS)
    return Estimate(_smoothed(velocity, belief, dt), height[:, 0], force, sole, contact, belief, feet)


def gyro_bias(base_ang_vel: np.ndarray, down: np.ndarray, dt: float) -> np.ndarray:
    """[3] rad/s by which the gyroscope is off on the mean, as far as gravity [T, 3] tells, which turns by -w x g; none of a short stretch.

    About the vertical nobody can tell, and it is left at 0.
    """
    seconds = (len(down) - 1) * dt
    if seconds < BIAS_SECONDS:
        return np.zeros(3)
    turned = (down[-1] - down[0]) / seconds + np.cross(base_ang_vel, down).mean(axis=0)  # = bias x mean gravity
    mean = down.mean(axis=0)
    return np.cross(mean, turned) / (mean @ mean)


def _foot_force(kinematics: Kinematics, feet: Feet, joint_vel: np.ndarray, joint_torque: np.ndarray, dt: float) -> np.ndarray:
    """[T, F, 3] N, least squares of J^T f = what turns the rotors, bears the links and overcomes friction, less the motors' torque.

    The links' inertia is left out: accelerations that are told 50 times a second are too coarse for it to help.
    """
    acceleration = np.gradient(joint_vel, dt, axis=0) if len(joint_vel) > 1 else np.zeros_like(joint_vel)
    friction = kinematics.damping * joint_vel + kinematics.friction * np.tanh(joint_vel / CREEP)
    inverse = np.linalg.pinv(np.swapaxes(feet.jacobian, -1, -2), rcond=1e-2)  # [T, F, 3, J]
    return np.einsum("tfxj,tj->tfx", inverse, kinematics.armature * acceleration + friction + feet.link_torque - joint_torque)


def _smoothed(values: np.ndarray, belief: np.ndarray, dt: float) -> np.ndarray:
    """[T, K] of ``values`` [T, F, K]: a line through those nearby in time, weighted by ``belief`` [T, F] and a Gaussian."""
    reach = max(1, round(3.0 * SECONDS / dt))
    offset = np.arange(-reach, reach + 1) * dt
    kernel = np.exp(-0.5 * np.square(offset / SECONDS))

    def near(signal: np.ndarray, weight: np.ndarray) -> np.ndarray:
        padded = np.pad(signal, ((reach, reach), (0, 0)))
        return np.einsum("tkw,w->tk", np.lib.stride_tricks.sliding_window_view(padded, len(weight), axis=0), weight)

    total, mean = belief.sum(axis=-1)[:, None], np.einsum("tf,tfk->tk", belief, values)
    zeroth, first, second = (near(total, kernel * offset**n) for n in range(3))
    level, slope = near(mean, kernel), near(mean, kernel * offset)
    second = second + 1e-3 * dt**2 * zeroth  # where all that is near is at one moment, its mean
    return (second * level - first * slope) / (zeroth * second - np.square(first))
