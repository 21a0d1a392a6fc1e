import numpy as np
import pytest

from deploy.policy import load
from deploy.supervisor import State
from deploy.unitree.operator import AT_THE_END, STEADY, RemoteOperator
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


class Hand:
    """A remote in a hand, and the clock beside it."""

    def __init__(self, contract):
        self.time, self.remote = 100.0, Remote()
        self.operator = RemoteOperator(lambda: self.remote, contract, lambda: self.time)

    def age(self, remote, seconds):
        """s since the operator was heard, after ``seconds`` with the remote as it is."""
        before, self.remote = self.operator(0.0, State.WALK), remote
        for _ in range(round(seconds / 0.02)):
            self.time += 0.02
            before = self.operator(0.0, State.WALK)
        return before.age


def test_a_remote_is_as_old_as_the_state_that_bore_it(contract):
    hand = Hand(contract)
    assert hand.age(Remote(ly=0.5, came=99.9), 0.0) == pytest.approx(0.0)  # of the remote before it
    assert hand.age(Remote(ly=0.5, came=99.9), 0.02) == pytest.approx(0.12)
    assert hand.age(Remote(came=99.9), 2.0) == pytest.approx(2.12)  # at rest, too


def test_sticks_that_say_the_same_for_long_are_nobody_s_and_those_in_the_middle_may(contract):
    hand = Hand(contract)
    assert hand.age(Remote(ly=0.5), STEADY - 0.1) == 0.0
    assert hand.age(Remote(ly=0.5), 1.1) == pytest.approx(1.0, abs=0.03)
    assert hand.age(Remote(ly=0.5, rx=0.001), 0.02) == 0.0
    assert hand.age(Remote(rx=-1.0), AT_THE_END - 0.1) == 0.0  # at its end
    assert hand.age(Remote(rx=-1.0), 1.1) == pytest.approx(1.0, abs=0.03)
    assert hand.age(Remote(rx=-1.0, ly=0.5), STEADY + 4.0) == pytest.approx(4.0, abs=0.03)
    assert hand.age(Remote(), 60.0) == 0.0
    assert hand.age(Remote(frozenset(["A"]), ry=0.7), 60.0) == 0.0  # which steers nothing


def test_a_thumb_on_a_stick_is_somebody(contract):
    hand, random = Hand(contract), np.random.default_rng(0)
    for _ in range(1000):
        for held in (Remote(ly=1.0), Remote(lx=-0.2)):
            seen = held.trembling(random)
            assert hand.age(seen, 0.02) == 0.0
            assert seen.walk == pytest.approx(held.walk, abs=0.011)
    assert Remote(frozenset(["A"])).trembling(random) == Remote(frozenset(["A"]))
