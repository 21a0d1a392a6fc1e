"""What a robot may do while it learns."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

from deploy.dry_run import Observer
from deploy.hil.unsupervised import Unsupervised
from deploy.limits import Limits
from deploy.supervisor import Supervisor
from locomotion.finetuning.bounds import FIXED, TIGHTER_ABOVE, ActionBox, reach_of, refuse_unsupervised, refuse_wider, widest
from robots.errors import InputError

GUARDED = [item for item in fields(Limits) if item.name not in FIXED]


def moved(item, share: float) -> Limits | None:
    """The default limits with one moved by ``share`` of what is left to its upper (above 0) or lower end; None where nothing is."""
    end = item.metadata["high"] if share > 0 else item.metadata["low"]
    value = item.default + abs(share) * (end - item.default)
    try:
        return replace(Limits(), **{item.name: value}) if value != item.default else None
    except InputError:  # it would pass its partner
        return None


@pytest.mark.parametrize("item", GUARDED, ids=lambda item: item.name)
def test_a_limit_that_is_wider_than_the_bases_is_refused_by_name_and_a_stricter_one_is_not(item) -> None:
    wider, stricter = (moved(item, share if item.name in TIGHTER_ABOVE else -share) for share in (-0.2, 0.2))
    if wider is not None:
        with pytest.raises(InputError, match=f"deploy.limits.{item.name}"):
            refuse_wider(wider, Limits())
    if stricter is not None:
        refuse_wider(stricter, Limits())
    refuse_wider(Limits(), Limits())


@pytest.mark.parametrize("name", ["stand_up_seconds", "lie_down_seconds", "ramp_seconds", "gain_seconds", "stop_seconds"])
def test_nothing_is_quicker_than_a_deployment(name: str) -> None:
    with pytest.raises(InputError, match=f"deploy.limits.{name}"):
        refuse_wider(replace(Limits(), **{name: 0.99 * getattr(Limits(), name)}), Limits())
    with pytest.raises(InputError, match=r"deploy\.limits\.stop_seconds"):  # nor does a stop come later
        refuse_wider(Limits(stop_seconds=1.1), Limits())


def test_all_of_the_supervisors_thresholds_are_guarded() -> None:
    assert {item.name for item in GUARDED} | FIXED == {item.name for item in fields(Limits)}
    named = {"max_tilt", "hot_winding", "hot_torque", "torque_error", "slew", "action_box", "operator_loss", "rest_joint_vel"}
    assert named <= {item.name for item in GUARDED}
    assert {item.name for item in GUARDED} >= TIGHTER_ABOVE
    with pytest.raises(InputError, match="damping_kd"):  # what falls is to fall as softly
        refuse_wider(Limits(damping_kd=0.5), Limits())


def test_the_contracts_envelope_is_the_base() -> None:
    assert widest(SimpleNamespace(envelope={"max_tilt": 0.5})).max_tilt == 0.5  # type: ignore[arg-type]
    assert widest(SimpleNamespace(envelope={"max_tilt": 1.5})).max_tilt == Limits().max_tilt  # type: ignore[arg-type]


def test_nothing_learns_without_a_supervisor_or_with_one_that_only_looks_on(go2) -> None:
    good = Supervisor(go2, 0.02, Limits())
    assert refuse_unsupervised(good, Limits()) is good
    for other in (None, Observer(go2, 0.02, Limits()), Unsupervised(go2, 0.02, Limits())):
        with pytest.raises(InputError, match="supervisor"):
            refuse_unsupervised(other, Limits())
    with pytest.raises(InputError, match=r"deploy\.limits\.max_tilt"):
        refuse_unsupervised(Supervisor(go2, 0.02, Limits(max_tilt=0.9)), Limits())


def test_the_box_starts_tight_and_widens_with_clean_time_alone() -> None:
    box = ActionBox.around(0.6, 0.4, 0.01)
    assert box.size == pytest.approx(0.8)
    assert box.after(True, 5.0).size == pytest.approx(0.85)
    assert box.after(True, 1e6).size == pytest.approx(1.0)  # and no further
    assert box.after(True, 5.0).after(False, 5.0).size == box.size
    assert box.limits(Limits()).action_box == pytest.approx(0.8)
    assert box.limits(Limits(action_box=0.3)).action_box == 0.3  # never wider than what a deployment grants
    assert box.limits(Limits()).box_growth == 0.0  # within a run it stays: what it comes to is decided between runs


def test_a_policys_reach_is_its_furthest_target_on_either_side(go2) -> None:
    target = np.tile(go2.default_joint_pos, (4, 1))
    target[2, 5] -= 0.7
    target[3, 1] += 0.4
    assert reach_of(target, go2.default_joint_pos) == pytest.approx(0.7)
