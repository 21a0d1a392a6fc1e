"""What is wrong in a description is found on the plant."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from locomotion.adapters import foreign_check, foreign_variations
from locomotion.adapters.foreign_check import Outcome, Plant, Round, search
from locomotion.adapters.foreign_policy import read
from locomotion.adapters.foreign_variations import Variation, joint_orders, variations
from locomotion.cli import main
from tests.locomotion.adapters.foreign import BREADTH_FIRST, description, write


def holder(folder, **changes):
    """A policy that always asks for the same: from a crouch, to stand; with joints mixed up it throws the robot over."""
    crouch = {"*_hip_joint": 0.0, "*_thigh_joint": 1.3, "*_calf_joint": -2.4}
    data = description(
        observation=[{"term": "joint_pos"}], default_joint_pos=crouch, kp=40.0, kd=1.0, action={"scale": 1.0}, **changes
    )  # fmt: skip
    data.pop("gait")
    path, _ = write(folder, data)
    asked = np.repeat([0.0, -0.5, 0.9], 4).astype(np.float32)  # breadth first: all hips, thighs, calves
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 12]) for name in ("obs", "actions")]
    nodes = [helper.make_node("Mul", ["obs", "none"], ["zeros"]), helper.make_node("Add", ["zeros", "asked"], ["actions"])]
    constants = [numpy_helper.from_array(np.float32(0.0), "none"), numpy_helper.from_array(asked, "asked")]
    graph = helper.make_graph(nodes, "net", value[:1], value[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "foreign.onnx")
    return path


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(foreign_check, "SECONDS", 1.5)


def only(monkeypatch, *kinds):
    """A search of these kinds of changes alone."""
    every = foreign_variations.variations
    monkeypatch.setattr(foreign_check, "variations", lambda found: (one for one in every(found) if one.kind in ("as described", *kinds)))


def test_a_wrong_joint_order_is_named(tmp_path, short, monkeypatch):
    only(monkeypatch, "joint order")
    (right,) = search(read(holder(tmp_path)))
    assert right.described.stands
    assert right.better == ()
    rounds = list(search(read(holder(tmp_path, joint_names=sorted(BREADTH_FIRST)))))
    assert len(rounds) == 1
    assert not rounds[0].described.stands
    assert rounds[0].outcomes[0].stands
    assert any("breadth first (Isaac Lab)" in outcome.variation.words for outcome in rounds[0].better)


def test_a_trial_is_given_up_when_it_can_no_longer_be_good_enough_and_not_before(tmp_path, short):
    found = read(holder(tmp_path))
    plant, described = Plant(found), next(variations(found))
    whole = plant.attempt(described)
    assert whole is not None
    assert whole.stands
    assert plant.attempt(described, enough=whole.tracking - 1e-6) == whole
    stopped = plant.attempt(described, enough=whole.tracking + 0.01)
    assert stopped is not None
    assert stopped.given_up
    assert stopped.score < whole.score


def outcome(score, words="", upright=1.0):
    return Outcome(Variation("scale", words, None), upright, score, 0.0)  # type: ignore[arg-type]


def test_a_change_is_named_that_does_better_by_the_margin_with_all_that_do_as_well():
    described = outcome(0.40)
    best, alike, other = outcome(0.60, "best"), outcome(0.56, "alike"), outcome(0.54, "other")
    assert Round(described, (best, alike, other, described)).better == (best, alike)
    assert Round(outcome(0.53), (best, alike, other)).better == ()


def test_every_variation_differs_in_one_field_and_from_all_others(tmp_path):
    path, _ = write(tmp_path, description(history={"length": 3}))
    found = read(path)
    tried = list(variations(found))
    assert tried[0].settings == found.settings
    for one in tried[1:]:
        differing = [name for name in type(found.settings).model_fields if getattr(one.settings, name) != getattr(found.settings, name)]
        assert len(differing) == 1 or one.kind == "gains", one.words
    assert len({one.settings.model_dump_json() for one in tried}) == len(tried)
    assert sum(one.kind == "history" for one in tried) == 7
    assert {one.kind for one in tried} >= {"joint order", "history", "scale", "frame", "term order", "gait", "gains", "default pose"}


def test_joint_orders_are_those_of_the_programs(go2, tmp_path):
    orders = joint_orders(go2)
    assert orders["breadth first (Isaac Lab)"] == BREADTH_FIRST
    assert orders["the vendor's order"][:3] == ["FR_hip_joint", "FR_thigh_joint", "FR_calf_joint"]
    assert all(sorted(order) == sorted(go2.joint_names) for order in orders.values())


def test_the_command_line_imports_and_checks(tmp_path, short, monkeypatch, capsys):
    only(monkeypatch, "gains")
    path = holder(tmp_path)
    assert main(["policies", "import", str(path), f"output={tmp_path}/policy.onnx"]) == 0
    assert "verified, for unitree_go2" in capsys.readouterr().out
    assert (tmp_path / "policy.onnx").is_file()
    assert main(["policies", "check", str(path)]) == 0
    assert "it stands and walks as described" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [[], ["imprt", "a.yaml"], ["import"], ["import", "a.yaml", "b.yaml"], ["check", "a.yaml", "output=b"], ["check", "none.yaml"]]
)
def test_wrong_words_are_refused(words, capsys):
    assert main(["policies", *words]) == 2
    assert "error: " in capsys.readouterr().err
