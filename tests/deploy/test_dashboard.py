"""The screen of a run says what the loop published, and a terminal that stands still or goes does not hold up the loop."""

import os
import pty
import time

import numpy as np
import pytest

from deploy.dashboard import CELLS, bar, render, shown
from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import RobotState, SimulatedTime
from deploy.limits import Limits
from deploy.operator import ScriptedOperator, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import Moment, Runtime
from deploy.states import State
from deploy.supervisor import Event, Supervisor


def test_a_bar_is_as_long_as_its_share():
    assert bar(0.5) == f"[{'#' * (CELLS // 2)}{'.' * (CELLS // 2)}]"
    assert bar(0.0) == bar(-1.0) == bar(float("nan")) == f"[{'.' * CELLS}]"
    assert bar(1.0) == bar(7.0) == f"[{'#' * CELLS}]"


def test_the_screen_shows_state_command_limits_latencies_and_faults(go2):
    torque = np.zeros(12)
    torque[2] = -0.5 * go2.effort_limit[2]
    gravity = np.array([np.sin(0.4), 0.0, -np.cos(0.4)])
    sample = RobotState(11.98, 7, np.zeros(3), gravity, go2.joint_pos_limit.mean(axis=1), 0.25 * go2.joint_vel_limit, torque)
    moment = Moment(10.0, 12.0, 2.0, State.WALK, sample, np.array([0.5, 0.0, -0.2]), (0.001, 0.005, 0.01))
    events = [Event(11.5, State.WALK, "tilt", "0.9 is above max_tilt 0.8")]
    lines = render(moment, go2, Limits(max_tilt=0.8), 0.02, ("forward", "left", "yaw"), events, "note").split("\n")
    assert lines[0] == "unitree_go2   WALK   2.0 s   note"
    assert lines[2].endswith("forward +0.50  left +0.00  yaw -0.20")
    assert bar(0.5) in lines[3]
    assert lines[3].endswith("0.40 of 0.8 rad")
    assert lines[4].startswith("torque")
    assert lines[4].endswith(f"{bar(0.5)}  50% FL_calf_joint")
    assert f"{bar(0.25)}  25%" in lines[5]
    assert f"{bar(0.0)}   0%" in lines[6]
    assert [line.split("]")[1].strip() for line in lines[7:10]] == ["1.00 of 20 ms", "5.00 of 20 ms", "10.00 of 20 ms"]
    assert bar(0.02 / 0.06) in lines[10]
    assert lines[-1] == "    1.50 s  tilt         0.9 is above max_tilt 0.8"


@pytest.fixture
def runtime(bundle, go2):
    policy, clock = RobotPolicy(load(bundle), go2), SimulatedTime()
    plant = SimulatedRobot(policy.robot, clock)
    return Runtime(policy, plant, Supervisor(policy.robot, policy.contract.control_dt, Limits()), clock)


def test_it_is_on_a_terminal_and_nowhere_else(runtime, go2):
    reader, terminal = pty.openpty()
    with shown(runtime, "", terminal):
        runtime.run(0.5, ScriptedOperator([[0.0, [0.0, 0.0, 0.0]]], runtime.policy.contract), Stop.NONE)
        assert runtime.moment is not None
        time.sleep(0.5)
    assert b"STAND_UP" in os.read(reader, 65536)
    reading, writing = os.pipe()
    with shown(runtime, "", writing):
        time.sleep(0.5)
    os.close(writing)
    assert os.read(reading, 100) == b""


def test_a_terminal_that_nobody_reads_any_more_holds_nothing_up(runtime):
    reader, terminal = pty.openpty()
    os.set_blocking(reader, False)
    runtime.run(0.1, ScriptedOperator([[0.0, [0.0, 0.0, 0.0]]], runtime.policy.contract))
    with shown(runtime, "x" * 20000, terminal):  # more than a terminal's buffer holds
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 1.0
    os.close(reader)
