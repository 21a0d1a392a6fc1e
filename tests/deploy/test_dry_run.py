"""A dry run computes and logs what a run would say, and no motor hears of it."""

import numpy as np
import pytest

from deploy.dry_run import DryRun, Observer
from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import SimulatedTime
from deploy.limits import Limits
from deploy.operator import ScriptedOperator, Stop
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.states import State
from tests.deploy.plants import Faulty, changed


@pytest.fixture
def dry(bundle, go2):
    policy, clock = RobotPolicy(load(bundle), go2), SimulatedTime()
    plant = Faulty(SimulatedRobot(policy.robot, clock))
    written = []
    plant.on_write = written.append
    runtime = Runtime(policy, DryRun(plant), Observer(policy.robot, policy.contract.control_dt, Limits()), clock)
    return runtime, plant, written, ScriptedOperator([[0.0, [0.3, 0.0, 0.0]]], policy.contract)


def test_the_policy_walks_on_what_is_measured_and_nothing_is_written(dry):
    runtime, plant, written, operator = dry
    before = plant.plant.read().joint_pos
    runtime.run(2.0, operator, Stop.NONE)
    log = runtime.log.columns()
    walking = log["state"] == State.WALK
    assert walking.sum() == 100
    assert np.isfinite(log["action"][walking]).all()
    assert (log["kp"][walking] == runtime.supervisor.robot.kp).all()  # what the motors would have heard
    assert written == []
    assert plant.plant.closed
    np.testing.assert_allclose(plant.plant.read().joint_pos, before, atol=1e-3)  # it lies where it lay


def test_what_would_end_a_run_is_said_once_and_the_run_goes_on(dry):
    runtime, plant, written, operator = dry
    plant.on_read = changed("projected_gravity", lambda gravity: gravity * [1.0, 1.0, -1.0])  # on its back
    runtime.run(1.0, operator)
    findings = [event for event in runtime.supervisor.events if event.kind == "tilt"]
    assert len(findings) == 1
    assert findings[0].detail.startswith("would end a run")
    assert runtime.log.columns()["time"][-1] >= 0.98
    assert written == []
