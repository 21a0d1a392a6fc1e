import numpy as np
import pytest

from deploy.policy import load
from deploy.supervisor import State
from deploy.unitree.operator import RemoteOperator
from deploy.unitree.remote import Remote


@pytest.fixture
def contract(bundle):
    return load(bundle).contract  # forward -1 to 1.5, left -0.6 to 0.6, yaw -1 to 1


def ask(contract, *remotes):
    """What is asked for, and the last command, as the remote goes through ``remotes``."""
    moments = iter(remotes)
    operator = RemoteOperator(lambda: next(moments), contract)
    answers = [operator(0.0, State.READY) for _ in remotes]
    return [answer.state for answer in answers], answers[-1].command


@pytest.mark.parametrize(
    ("buttons", "wanted"),
    [
        (["start"], State.STAND_UP),
        (["A"], State.WALK),
        (["X"], State.READY),
        (["select"], State.IDLE),
        (["L2", "B"], State.DAMPING),
        (["A", "start", "L2", "B"], State.DAMPING),  # whatever else is held
        (["B"], None),
        ([], None),
    ],
)
def test_buttons_ask_for_states(contract, buttons, wanted):
    assert ask(contract, Remote(frozenset(buttons)))[0] == [wanted]


def test_a_button_that_is_held_asks_once(contract):
    pressed, free = Remote(frozenset(["A"])), Remote()
    assert ask(contract, pressed, pressed, pressed, free, pressed)[0] == [State.WALK, None, None, None, State.WALK]


def test_sticks_command_up_to_the_ends_of_what_was_trained(contract):
    assert ask(contract, Remote())[1] == pytest.approx(contract.command_rest)
    assert ask(contract, Remote(ly=1.0, lx=1.0, rx=-1.0))[1] == pytest.approx([1.5, -0.6, 1.0])
    assert ask(contract, Remote(ly=-0.5))[1] == pytest.approx([-0.5, 0.0, 0.0])
    assert ask(contract, Remote(ly=7.0))[1] == pytest.approx([1.5, 0.0, 0.0])  # no stick says that
    assert ask(contract, Remote(ly=np.nan, rx=np.inf))[1] == pytest.approx(contract.command_rest)
