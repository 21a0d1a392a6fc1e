"""Unitree's C++ SDK, unchanged, on the hardware-in-the-loop server: stands a Go2 and a G1 up. It always joins domain 0, here of loopback.

Needs a binding of the SDK: pip install --no-deps far-unitree-sdk
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import unitree_interface

import robots

PEERS = "<ParticipantIndex>auto</ParticipantIndex><Peers><Peer Address='127.0.0.1'/></Peers>"
LOOPBACK = (
    "<CycloneDDS><Domain Id='any'><General><Interfaces><NetworkInterface name='lo'/></Interfaces></General>"
    f"<Discovery>{PEERS}</Discovery></Domain></CycloneDDS>"
)
MAKERS = {"unitree_go2": "create_go2", "unitree_g1": "create_g1"}
SECONDS, PERIOD = 6.0, 0.002


def main() -> None:
    for name in MAKERS if len(sys.argv) < 2 else ():
        command = [sys.executable, "-m", "locomotion.cli", "hil", "serve", f"robot={name}", "domain=0", 'service=""', "report_every=2"]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            subprocess.run([sys.executable, "-m", "benchmarks.vendor_client_cpp", name], check=True)  # a domain a process
        finally:
            server.terminate()
            print(f"server ended with status {server.wait(10)}")
    if len(sys.argv) == 2:
        drive(sys.argv[1])


def drive(name: str) -> None:
    robot = robots.load(name)
    client = getattr(unitree_interface.UnitreeInterface, MAKERS[name])("lo", dds_config=LOOPBACK)
    while not any(client.read_low_state().imu.quat):
        time.sleep(0.1)
    motors = client.get_num_motors()
    pose, kp, kd = np.zeros((3, motors))
    for figures, ours in ((pose, robot.default_joint_pos), (kp, robot.kp), (kd, robot.kd)):
        figures[robot.motor_index] = ours
    start, began, command = np.array(client.read_low_state().motor.q), time.monotonic(), client.create_zero_command()
    command.kp, command.kd, command.dq_target, command.tau_ff = kp.tolist(), kd.tolist(), [0.0] * motors, [0.0] * motors
    while (passed := time.monotonic() - began) < SECONDS:
        command.q_target = (start + min(passed / 2.0, 1.0) * (pose - start)).tolist()
        client.write_low_command(command)
        time.sleep(PERIOD)
    state = client.read_low_state()
    error = np.abs(np.array(state.motor.q) - pose).max()
    print(f"{name}: {error:.3f} rad from the pose at most, quaternion {np.round(state.imu.quat, 3).tolist()}, machine {state.mode_machine}")


if __name__ == "__main__":
    main()
