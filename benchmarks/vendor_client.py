"""Unitree's own Python client, unchanged, on the hardware-in-the-loop server: releases the motion service and stands a Go2 up.

Needs the vendor's package, which asks for other versions than it needs: pip install --no-deps unitree-sdk2py-dimos rich-click
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from unitree_sdk2py.comm.motion_switcher.motion_switcher_client import MotionSwitcherClient
from unitree_sdk2py.core.channel import ChannelFactoryInitialize, ChannelPublisher, ChannelSubscriber
from unitree_sdk2py.idl.default import unitree_go_msg_dds__LowCmd_
from unitree_sdk2py.idl.unitree_go.msg.dds_ import LowCmd_, LowState_
from unitree_sdk2py.utils.crc import CRC

import robots

DOMAIN, SECONDS, PERIOD = 9, 5.0, 0.002


def main() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "locomotion.cli", "hil", "serve", f"domain={DOMAIN}", "octet=uint8", "report_every=1"],
        stdin=subprocess.DEVNULL,
    )
    try:
        drive()
    finally:
        server.terminate()
        print(f"server ended with status {server.wait(10)}")


def drive() -> None:
    robot, states = robots.load("unitree_go2"), []
    assert robot.motor_index is not None
    pose = np.zeros(robot.num_joints)
    pose[robot.motor_index] = robot.default_joint_pos
    ChannelFactoryInitialize(DOMAIN, "lo")
    subscriber = ChannelSubscriber("rt/lowstate", LowState_)
    subscriber.Init(states.append, 10)
    while not states:
        time.sleep(0.1)
    switcher = MotionSwitcherClient()
    switcher.SetTimeout(5.0)
    switcher.Init()
    status, result = switcher.CheckMode()
    print(f"CheckMode: {status} {result}")
    while result["name"]:
        print(f"ReleaseMode: {switcher.ReleaseMode()[0]}")
        status, result = switcher.CheckMode()
        print(f"CheckMode: {status} {result}")
    publisher = ChannelPublisher("rt/lowcmd", LowCmd_)
    publisher.Init()
    command, crc = unitree_go_msg_dds__LowCmd_(), CRC()
    command.head[0], command.head[1], command.level_flag = 0xFE, 0xEF, 0xFF
    start_pose = np.array([motor.q for motor in states[-1].motor_state[: robot.num_joints]])
    first, began = len(states), time.monotonic()
    while (passed := time.monotonic() - began) < SECONDS:
        target = start_pose + min(passed / 2.0, 1.0) * (pose - start_pose)
        for motor, angle in zip(command.motor_cmd, target, strict=False):
            motor.mode, motor.q, motor.dq, motor.kp, motor.kd, motor.tau = 0x01, float(angle), 0.0, 60.0, 3.0, 0.0
        command.crc = crc.Crc(command)
        publisher.Write(command)
        time.sleep(PERIOD)
    received, last = states[first:], states[-1]
    wrong = sum(crc.Crc(state) != state.crc for state in received[::50])
    error = np.abs(np.array([motor.q for motor in last.motor_state[: robot.num_joints]]) - pose).max()
    print(f"states {len(received) / SECONDS:.0f} Hz, of every 50th {wrong} with a wrong checksum; {error:.3f} rad from the pose at most")
    print(f"quaternion {np.round(last.imu_state.quaternion, 3).tolist()}, {last.power_v:.1f} V, foot force {list(last.foot_force)}")


if __name__ == "__main__":
    main()
