"""Gathers the doctor's facts of the set-up that a file describes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from deploy import computer
from deploy.checks import COMPUTER_CHECKS, SAMPLE_CHECKS
from deploy.connect import check_options, way_to
from deploy.doctor import Diagnosis, Facts, Samples, diagnose
from deploy.interface import RobotInterface, RobotState
from deploy.unitree.checks import WIRE_CHECKS
from robots import Robot

SECONDS = 2.0  # of looking at each
PERIOD = 0.002  # s between two looks at an interface
CHECKS = (*COMPUTER_CHECKS, *WIRE_CHECKS, *SAMPLE_CHECKS)


def examine(robot: Robot, control_dt: float, interface: Mapping[str, Any], seconds: float = SECONDS) -> Diagnosis:
    """Look at the computer, and at the robot behind ``interface``, its name and options. No motor is commanded."""
    seen = computer.look(control_dt, seconds)
    name, options = interface["name"], {key: value for key, value in interface.items() if key != "name"}
    if name != "unitree_dds":
        return diagnose(Facts(robot, control_dt, seen, None, sample(way_to(robot, name, **options)(), robot, seconds)), CHECKS)
    network, domain = str(options.get("network", "")), options.get("domain", 0)
    wire = samples = None
    if network in seen.networks:
        from deploy.unitree.interface import UnitreeInterface  # needs DDS
        from deploy.unitree.listen import listen

        check_options(UnitreeInterface, options)
        wire, samples = listen(robot, network, domain, seconds)
    return diagnose(Facts(robot, control_dt, seen, wire, samples, network, domain, bool(interface.get("release"))), CHECKS)


def sample(interface: RobotInterface, robot: Robot, seconds: float) -> Samples:
    """What any interface measures."""
    found: list[RobotState] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = interface.read()
        if not found or state.tick != found[-1].tick:
            found.append(state)
        time.sleep(PERIOD)
    interface.close()
    columns = {
        name: np.array([getattr(state, name) for state in found])
        for name in ("projected_gravity", "base_ang_vel", "joint_pos", "joint_vel")
    }
    three, j = np.full((len(found), 3), np.nan), np.full((len(found), robot.num_joints), np.nan)
    return Samples(
        np.array([state.time for state in found]),
        **columns,
        accelerometer=three,
        rpy=three,
        rpy_of_quaternion=three,
        temperature=j,
        motor_error=j,
    )
