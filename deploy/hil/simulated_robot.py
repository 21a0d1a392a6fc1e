"""A simulated robot behind the robot interface, in step with the runtime's clock.

The plant is advanced lazily: each call brings the physics up to the clock's present under the command that was in force
meanwhile. A controller that is late therefore meets a robot that has moved on, as a real one would have.
"""

from __future__ import annotations

import mujoco
import numpy as np

from deploy.interface import Clock, MotorCommand, RobotState
from robots import Robot
from robots.actuator import torque_bounds
from sim.mujoco_model import build_model

PHYSICS_DT = 0.002  # s
MAX_CATCH_UP = 0.5  # s of physics that one call simulates at most


class SimulatedRobot:
    """MuJoCo at 500 Hz with the motors' PD law, and their torque-speed curve, at every step; starts folded on the ground, motors off."""

    def __init__(self, robot: Robot, clock: Clock) -> None:
        self.robot, self._clock = robot, clock
        self.model = build_model(robot, PHYSICS_DT)
        self.data = mujoco.MjData(self.model)
        self._qpos = np.array([self.model.joint(name).qposadr[0] for name in robot.joint_names])
        self._qvel = np.array([self.model.joint(name).dofadr[0] for name in robot.joint_names])
        self._base = self.model.body(robot.base_body).id
        self.frames: list[np.ndarray] = []  # qpos at every read, to make a video of
        self.data.qpos[self._qpos] = robot.lie_joint_pos
        self.data.qpos[2] = 0.5 * robot.standing_height
        self._apply(MotorCommand(*(np.zeros(robot.num_joints) for _ in range(4))))
        for _ in range(500):  # settle
            mujoco.mj_step(self.model, self.data)
        self._time = clock.now()
        self._tick = 0
        self.closed = False

    def read(self) -> RobotState:
        self._advance()
        data = self.data
        mujoco.mj_kinematics(self.model, data)
        rotation = data.xmat[self._base].reshape(3, 3)
        self.frames.append(data.qpos.copy())
        feet = len(self.robot.feet)
        return RobotState(
            time=self._time,
            tick=self._tick,
            base_ang_vel=data.qvel[3:6].copy(),
            projected_gravity=-rotation[2].copy(),
            joint_pos=data.qpos[self._qpos],
            joint_vel=data.qvel[self._qvel],
            joint_torque=data.actuator_force.copy(),
            truth={
                "base_pos": data.qpos[:3].copy(),
                "base_lin_vel": rotation.T @ data.qvel[:3],
                "foot_contact_force": data.sensordata[: 3 * feet].reshape(feet, 3).copy(),
            },
        )

    def write(self, command: MotorCommand) -> None:
        self._advance()
        self._apply(command)

    def close(self) -> None:
        self.closed = True

    def _apply(self, command: MotorCommand) -> None:
        model = self.model
        model.actuator_gainprm[:, 0] = command.kp
        model.actuator_biasprm[:, 0] = command.feed_forward
        model.actuator_biasprm[:, 1], model.actuator_biasprm[:, 2] = -command.kp, -command.kd
        self.data.ctrl[:] = command.joint_pos_target

    def _advance(self) -> None:
        behind = min(self._clock.now() - self._time, MAX_CATCH_UP)
        robot = self.robot
        for _ in range(int(behind / PHYSICS_DT + 1e-9)):
            low, high = torque_bounds(self.data.qvel[self._qvel], robot.effort_limit, robot.torque_speed)
            self.model.actuator_forcerange[:, 0], self.model.actuator_forcerange[:, 1] = low, high
            mujoco.mj_step(self.model, self.data)
            self._time += PHYSICS_DT
            self._tick += 1
        if behind == MAX_CATCH_UP:
            self._time = self._clock.now()
