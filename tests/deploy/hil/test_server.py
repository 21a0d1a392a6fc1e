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
from deploy.supervisor import Limits, State, Supervisor
from deploy.unitree.codec import codec
from deploy.unitree.interface import UnitreeInterface, family_of
from deploy.unitree.remote import Remote
from deploy.unitree.transport import Bus
from tests.deploy.unitree.fake import DOMAIN

PATIENCE = 60.0  # s; a busy machine takes its time
CONTROL_DT = 0.02


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
def test_a_robot_is_taken_over_and_stands_up_under_the_supervisor(server, name, tmp_path):
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
    while interface.remote != Remote(frozenset(["L2", "B"]), ly=0.5):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    clock, supervisor = RealTime(), Supervisor(robot, CONTROL_DT, Limits(max_state_age=2.0))  # the machine may be busy
    began = deadline = clock.now()
    while clock.now() - began < 6.0:
        state = interface.read()
        supervisor.observe(state, clock.now())
        if supervisor.state is State.IDLE:
            supervisor.request(State.STAND_UP, state, clock.now())
        interface.write(supervisor.command(state, clock.now(), None))
        deadline += CONTROL_DT
        clock.sleep_until(deadline)
    assert supervisor.state is State.READY, supervisor.events
    state = interface.read()
    assert np.abs(state.joint_pos - robot.default_joint_pos).max() < 0.2
    assert state.projected_gravity[2] < -0.99
    assert np.abs(state.joint_torque).sum() > 20.0  # N m: it carries itself
    assert not interface.rejected["crc"]
    interface.close()

    server.send_signal(signal.SIGTERM)
    text, _ = server.communicate(timeout=PATIENCE)
    assert server.returncode == 0, text
    heard = json.loads((tmp_path / "heard.json").read_text())
    assert heard["motion_service"] == ""
    assert set(heard["refused"]) == {"motion service"}  # what came before it was released
    assert heard["commands"] > 50
    assert heard["height"] == pytest.approx(robot.standing_height, abs=0.06)
    assert ("the gantry lets the robot down" in text) == (len(robot.feet) == 2)
    assert "motion service: 'normal' -> ''" in text
    assert "real time" in text


def test_what_to_serve_is_asked_for_by_its_word():
    result = subprocess.run([sys.executable, "-m", "locomotion.cli", "hil"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "locomotion hil serve" in result.stderr
