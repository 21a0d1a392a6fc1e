"""A robot's side of Unitree's protocol: what it makes of a LowCmd, and its LowState."""

from __future__ import annotations

import numpy as np

from deploy.hil.drives import DriveCommand
from deploy.hil.plant import PHYSICS_DT, Sample
from deploy.unitree.interface import family_of, roll_pitch_yaw
from deploy.unitree.messages import ENABLED, GO, GO_HEAD, GO_LEVEL_FLAG, HG, NO_POSITION, NO_VELOCITY, PITCH_ROLL
from deploy.unitree.remote import Remote
from deploy.unitree.transport import checked_codec
from robots import Robot

FEET = ("FR", "FL", "RR", "RL")  # the vendor's order
MODE_MACHINE = {"unitree_g1.23dof": 4}  # else 5, the G1 with 29 joints
ALL_JOINTS = 5


class Wire:
    """Messages to arrays in the robot's order of joints, and back. Keeps the vendor's rules, as far as they are known."""

    def __init__(self, robot: Robot) -> None:
        self.family = family_of(robot)
        assert robot.motor_index is not None
        self._slots = robot.motor_index
        self._mode_machine = MODE_MACHINE.get(robot.name, ALL_JOINTS)
        names = [foot.partition("_")[0] for foot in robot.feet]
        self._feet = [names.index(foot) for foot in FEET] if sorted(names) == sorted(FEET) else []
        self.remarks: set[str] = set()  # on commands that are taken, but that no example of the vendor's sends
        self._in, self._out = checked_codec(self.family.low_cmd), checked_codec(self.family.low_state)
        self._state = self._out.blank()
        if self.family is GO:
            self._state["head"], self._state["level_flag"] = GO_HEAD, GO_LEVEL_FLAG
        else:
            self._state["mode_pr"], self._state["mode_machine"] = PITCH_ROLL, self._mode_machine

    def command(self, data: bytes) -> DriveCommand | str:
        """What the motors are told, or the reason why they are not."""
        try:
            message = self._in.decode(data)
        except ValueError:
            return "size"
        if not self._in.intact(message):
            return "crc"
        if self.family is GO:
            if tuple(message["head"]) != GO_HEAD:
                self.remarks.add("their head is not FE EF")
            if message["level_flag"] != GO_LEVEL_FLAG:
                self.remarks.add("their level_flag is not FF")
        elif self.family is HG:
            if message["mode_machine"] != self._mode_machine:
                return "mode_machine"
            if message["mode_pr"] != PITCH_ROLL:
                return "mode_pr"
        motors = message["motor_cmd"][self._slots]
        q, dq, tau, kp, kd = (motors[name].astype(np.float64) for name in ("q", "dq", "tau", "kp", "kd"))
        if not np.isfinite([q, dq, tau, kp, kd]).all():
            return "not finite"
        free, still = np.abs(q) >= 0.9 * NO_POSITION, np.abs(dq) >= NO_VELOCITY
        q, kp = np.where(free, 0.0, [q, kp])
        dq, kd = np.where(still, 0.0, [dq, kd])
        return DriveCommand(motors["mode"] == ENABLED, q, dq, tau, kp, kd)

    def state(self, sample: Sample, remote: Remote) -> bytes:
        message, slots = self._state, self._slots
        motors, imu = message["motor_state"], message["imu_state"]
        motors["mode"][slots] = sample.enabled
        motors["q"][slots], motors["dq"][slots], motors["ddq"][slots] = sample.joint_pos, sample.joint_vel, sample.joint_acc
        motors["tau_est"][slots] = sample.joint_torque
        warm = sample.temperature.round().clip(0, 255)
        imu["quaternion"], imu["gyroscope"], imu["accelerometer"] = sample.quaternion, sample.base_ang_vel, sample.accelerometer
        imu["rpy"] = roll_pitch_yaw(sample.quaternion)
        imu["temperature"] = 40
        message["tick"] = round(1e3 * sample.step * PHYSICS_DT)
        message["wireless_remote"] = np.frombuffer(remote.to_bytes(), np.uint8)
        if self.family is GO:
            motors["temperature"][slots] = warm
            battery = message["bms_state"]
            battery["soc"], battery["current"] = round(100 * sample.charge), round(-1e3 * sample.current)
            battery["cell_vol"][:8] = round(1e3 * sample.voltage / 8)
            message["power_v"], message["power_a"] = sample.voltage, sample.current
            message["foot_force"][: len(self._feet)] = sample.foot_force[self._feet].clip(0, 32767)
        else:
            motors["temperature"][slots] = warm[:, None]
            motors["vol"][slots] = sample.voltage
        return self._out.encode(message)
