"""The server as a process of its own, over real DDS: what a program on the robot's network sees."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import robots
from deploy.interface import RealTime
from deploy.operator import ScriptedOperator, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.supervisor import Limits, State, Supervisor
from deploy.unitree.codec import codec
from deploy.unitree.interface import UnitreeInterface, family_of
from deploy.unitree.transport import Bus
from tests.deploy import bundles
from tests.deploy.unitree.fake import DOMAIN

PATIENCE = 60.0  # s; a busy machine takes its time


@pytest.fixture
def server(tmp_path, request):
    """A robot in another process: lying on the ground, or hanging."""
    command = [sys.executable, "-m", "locomotion.cli", "hil", "serve", f"robot={request.param}", f"domain={DOMAIN}", "report_every=1"]
    process = subprocess.Popen(
        [*command, f"output={tmp_path}/heard.json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("server", "name"),
    [("unitree_go2", "unitree_go2"), pytest.param("unitree_g1", "unitree_g1.legs", marks=pytest.mark.slow)],
    indirect=["server"],
)
def test_a_robot_is_taken_over_stands_up_under_the_supervisor_and_is_damped(server, name, tmp_path):
    robot = robots.load(name)
    family = family_of(robot)
    intruder = Bus("lo", DOMAIN).publisher("rt/lowcmd", family.low_cmd)
    deadline = time.monotonic() + PATIENCE
    while not intruder.readers:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(20):
        intruder.write(codec(family.low_cmd).encode(codec(family.low_cmd).blank()))
        time.sleep(0.01)
    interface = UnitreeInterface(robot, "lo", DOMAIN, release=True, patience=PATIENCE)

    assert server.stdin is not None
    server.stdin.write("L2+B ly=0.5\n")
    server.stdin.flush()
    deadline = time.monotonic() + PATIENCE
    while interface.remote.buttons != {"L2", "B"}:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert interface.remote.ly == pytest.approx(0.5, abs=0.01)

    # a policy that keeps the default pose; the machine may be busy
    policy = RobotPolicy(load(bundles.write_tiny(tmp_path / "policy.onnx", robot, weight=0.0)), robot)
    clock, supervisor = RealTime(), Supervisor(policy.robot, policy.contract.control_dt, Limits(max_state_age=0.2))
    runtime = Runtime(policy, interface, supervisor, clock)
    runtime.run(8.0, ScriptedOperator([[0.0, [0.0, 0.0, 0.0]]], policy.contract), Stop.NONE)
    server.send_signal(signal.SIGTERM)
    text, _ = server.communicate(timeout=PATIENCE)
    assert supervisor.state is State.DAMPING, f"{supervisor.events[-1].detail}\n{text}"
    log = runtime.log.columns()
    walking = np.flatnonzero(log["state"] == State.WALK)[-1]
    assert np.abs(log["joint_pos"][walking] - robot.default_joint_pos).max() < 0.2
    assert log["projected_gravity"][walking][2] < -0.99
    assert np.abs(log["joint_torque"][walking]).sum() > 20.0  # N m: it carries itself
    assert not interface.rejected["crc"]

    assert server.returncode == 0, text
    heard = json.loads((tmp_path / "heard.json").read_text())
    assert heard["motion_service"] == ""
    assert set(heard["refused"]) == {"motion service"}  # what came before it was released
    assert heard["commands"] > 50
    assert heard["height"] < robot.standing_height - 0.05  # damped at the end, it sank
    assert ("the gantry lets the robot down" in text) == (len(robot.feet) == 2)
    assert "motion service: 'normal' -> ''" in text
    assert "real time" in text


def test_what_to_serve_is_asked_for_by_its_word():
    result = subprocess.run([sys.executable, "-m", "locomotion.cli", "hil"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "locomotion hil serve" in result.stderr
