"""The server as a process of its own, over real DDS: what a program on the robot's network sees."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from deploy.interface import RealTime
from deploy.supervisor import Limits, State, Supervisor
from deploy.unitree.codec import codec
from deploy.unitree.interface import UnitreeInterface
from deploy.unitree.messages import GO_LOW_CMD
from deploy.unitree.remote import Remote
from deploy.unitree.transport import Bus

DOMAIN = 103
PATIENCE = 60.0  # s; a busy machine takes its time
CONTROL_DT = 0.02


@pytest.fixture
def server(tmp_path):
    """A Go2 that lies on the ground, in another process."""
    command = [sys.executable, "-m", "locomotion.cli", "hil", "serve", "robot=unitree_go2", f"domain={DOMAIN}", "report_every=1"]
    process = subprocess.Popen(
        [*command, f"output={tmp_path}/heard.json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    yield process
    process.kill()
    process.communicate()


def test_a_go2_is_taken_over_and_stands_up_under_the_supervisor(server, go2, tmp_path):
    intruder = Bus("lo", DOMAIN).publisher("rt/lowcmd", GO_LOW_CMD)
    deadline = time.monotonic() + PATIENCE
    while not intruder.readers:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(20):
        intruder.write(codec(GO_LOW_CMD).encode(codec(GO_LOW_CMD).blank()))
        time.sleep(0.01)
    interface = UnitreeInterface(go2, "lo", DOMAIN, release=True, patience=PATIENCE)

    assert server.stdin is not None
    server.stdin.write("L2+B ly=0.5\n")
    server.stdin.flush()
    deadline = time.monotonic() + PATIENCE
    while interface.remote != Remote(frozenset(["L2", "B"]), ly=0.5):
        assert time.monotonic() < deadline
        time.sleep(0.01)

    clock, supervisor = RealTime(), Supervisor(go2, CONTROL_DT, Limits(max_state_age=2.0))  # the machine may be busy
    began = deadline = clock.now()
    while clock.now() - began < 4.5:
        state = interface.read()
        supervisor.observe(state, clock.now())
        if supervisor.state is State.IDLE:
            supervisor.request(State.STAND_UP, state, clock.now())
        interface.write(supervisor.command(state, clock.now(), None))
        deadline += CONTROL_DT
        clock.sleep_until(deadline)
    assert supervisor.state is State.READY, supervisor.events
    state = interface.read()
    assert np.abs(state.joint_pos - go2.default_joint_pos).max() < 0.2
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
    assert heard["height"] == pytest.approx(go2.standing_height, abs=0.06)
    assert "motion service: 'normal' -> ''" in text
    assert "real time" in text


def test_what_to_serve_is_asked_for_by_its_word():
    result = subprocess.run([sys.executable, "-m", "locomotion.cli", "hil"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "locomotion hil serve" in result.stderr
