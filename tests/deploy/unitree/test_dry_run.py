"""A dry run over DDS reads a robot that the vendor's service drives, hears its remote, and sends nothing."""

import time

import numpy as np
import pytest

from deploy.connect import connect
from deploy.interface import damping_command
from deploy.limits import Limits
from deploy.policy import RobotPolicy, load
from deploy.states import State
from deploy.unitree.interface import UnitreeInterface
from deploy.unitree.remote import Remote
from robots import InputError
from tests.deploy.unitree.fake import DOMAIN as FIRST
from tests.deploy.unitree.fake import FakeRobot

DOMAIN = FIRST + 110


def test_it_reads_and_hears_the_remote_and_neither_commands_nor_takes_over(go2, bundle):
    policy = RobotPolicy(load(bundle), go2)
    with FakeRobot(go2, DOMAIN, service="normal") as fake:
        way = {"name": "unitree_dds", "network": "lo", "domain": DOMAIN, "release": True, "patience": 20.0}
        interface, _, operator = connect(policy, Limits(), way, "remote", None, dry_run=True)
        fake.state["wireless_remote"] = np.frombuffer(Remote(frozenset(["A"]), ly=1.0).to_bytes(), np.uint8)
        deadline, before = time.monotonic() + 20.0, interface.read().tick
        while (intent := operator(0.0, State.READY)).state is not State.WALK:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert intent.command[0] == pytest.approx(1.5)
        assert 0.0 <= intent.age < 0.5
        assert interface.read().tick > before
        for _ in range(20):
            interface.write(damping_command(12, 3.0))
            time.sleep(0.01)
        interface.close()
        assert fake.heard == []
        assert fake.service.name == "normal"


def test_an_interface_that_reads_alone_does_not_write(go2):
    with FakeRobot(go2, DOMAIN + 1):
        interface = UnitreeInterface(go2, "lo", DOMAIN + 1, patience=20.0, commands=False)
        with pytest.raises(InputError, match="reading alone"):
            interface.write(damping_command(12, 3.0))
        interface.close()
