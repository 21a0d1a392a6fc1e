"""How warm motors get: copper loss in a body that loses its heat, as functions of torque alone.

The winding at temperature T over ambient gains (torque / motor constant)^2 watts and loses T / resistance: a first-order body, as in
MuJoCo's ``dcmotor`` with ``thermal`` (its temperature coefficient left out). The motor constant is the robot's own: a DC motor's
stall torque over its no-load speed is (torque constant)^2 / resistance, whatever its voltage. Makers publish no thermal figures of
these motors, so those are a generic estimate that grows with a motor's size: 0.2 J/K for each watt of effort_limit times
no-load speed (142 J/K for a Go2's motor, through its calf linkage as well), and a time constant of 5 minutes.
"""

from __future__ import annotations

from robots.actuator import Curve, stall_torque
from robots.fields import Floats
from robots.robot import Robot

AMBIENT = 25.0  # degrees C
CAPACITY = 0.2  # J/K for each W of effort_limit * no-load speed
TIME_CONSTANT = 300.0  # s, thermal resistance times capacity


def curve(robot: Robot) -> Curve:
    """The motors' torque-speed curve; without a published one, the knee at half the joint's speed limit."""
    return robot.torque_speed or (0.5 * robot.joint_vel_limit, robot.joint_vel_limit)


def loss(robot: Robot) -> Floats:
    """Copper loss of each motor [J], W for each (N m)^2 of its torque."""
    return curve(robot)[1] / stall_torque(robot.effort_limit, curve(robot))


def capacity(robot: Robot) -> Floats:
    """Heat capacity of each motor [J], J/K."""
    return CAPACITY * robot.effort_limit * curve(robot)[1]
