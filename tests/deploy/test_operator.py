"""A script commands each channel of the policy by name, and rests until it walks."""

import numpy as np
import pytest

from deploy.contract import Contract
from deploy.operator import ScriptedOperator, Stop
from deploy.states import State
from robots import InputError
from tests.deploy import bundles


@pytest.fixture(scope="module")
def contract(go2):
    """With two command channels of which one rests away from zero."""
    policy = bundles.tiny_policy(go2, commands={"forward": (-1.0, 1.0), "height": (0.2, 0.4)})
    return Contract.from_json({**bundles.contract(policy, go2), "command_rest": [0.0, 0.3], "graph_sha256": "0" * 64})


def test_it_asks_for_each_state_and_counts_seconds_of_walking(contract):
    operator = ScriptedOperator([[0, [0.5, 0.3]], [2.0, [0.0, 0.2]]], contract)
    for state, wanted in ((State.IDLE, State.STAND_UP), (State.STAND_UP, None), (State.READY, State.WALK), (State.FAULT, None)):
        asked, command, age, stop = operator(50.0, state)
        assert asked is wanted
        assert age == 0.0
        assert stop is Stop.NONE
        assert command.tolist() == [0.0, 0.3]
    for time, expected in ((100.0, [0.5, 0.3]), (101.9, [0.5, 0.3]), (102.0, [0.0, 0.2]), (200.0, [0.0, 0.2])):
        asked, command, age, stop = operator(time, State.WALK)
        assert asked is None
        np.testing.assert_array_equal(command, expected)
    operator(201.0, State.READY)
    assert operator(300.0, State.WALK).command.tolist() == [0.5, 0.3]  # from the start again


@pytest.mark.parametrize(
    "script",
    [
        None, [], {}, 3, "walk", [3], [None], [[0.0]], [[1.0, [0, 0]]], [[0.0, [0, 0, 0]]], [[0.0, [0]]], [[0.0, 0.5]], [["0", [0, 0]]],
        [[0.0, [0, "0"]]], [[0.0, [0, float("nan")]]], [[float("nan"), [0, 0]]], [[0, [0, 0]], [-1, [0, 0]]],
        [[0, [0, 0]], [float("inf"), [0, 0]]], [[0, [0, True]]], [[0, [0, 0]], [2, [0, 0]], [1, [0, 0]]],
    ],
)  # fmt: skip
def test_bad_scripts_are_refused(contract, script):
    with pytest.raises(InputError, match=r"commands: .* rows \[start, \[forward, height\]\]"):
        ScriptedOperator(script, contract)
