"""Each field of a contract is checked, and named where it does not hold; joints are compared by name."""

import json
from dataclasses import replace

import numpy as np
import pytest

from deploy.contract import PROVENANCE, Contract, ContractError, Term
from tests.deploy import bundles


@pytest.fixture
def data(go2):
    """A contract's JSON object, to be changed."""
    return json.loads(json.dumps({**bundles.contract(bundles.tiny_policy(go2), go2), "graph_sha256": "0" * 64}))


def refused(data, field):
    with pytest.raises(ContractError) as caught:
        Contract.from_json(data)
    assert caught.value.field == f"policy_contract{field}"
    assert len(str(caught.value)) < 1000


def reordered(robot, order):
    """The same robot with its joints in another order."""
    per_joint = {name: getattr(robot, name)[order] for name in (*bundles.PER_JOINT, "lie_joint_pos")}
    return replace(robot, joint_names=tuple(robot.joint_names[i] for i in order), **per_joint)


def test_it_says_what_the_file_says(data, go2):
    data["command_rest"], data["scorecard"] = [0.1, 0.0, -0.2], {"mujoco": {"nominal": {"tracking_score": 0.9}}}
    contract = Contract.from_json(data)
    for name in bundles.PER_JOINT:
        np.testing.assert_array_equal(getattr(contract, name), getattr(go2, name))
    assert (contract.version, contract.robot, contract.joint_names, contract.control_dt) == (2, "unitree_go2", go2.joint_names, 0.02)
    assert contract.inputs == ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command")
    assert contract.command_names == ("forward", "left", "yaw")
    assert contract.command_range.tolist() == [[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]]
    assert contract.command_rest.tolist() == [0.1, 0.0, -0.2]
    assert contract.memory == (Term("mixture", 3, "of all that was seen"),)
    assert [term.width for term in contract.observation] == [3, 3, 12, 12, 3]
    assert contract.envelope == {"max_tilt": 0.8}
    assert contract.training == {"randomization": {}, "action_delay": [0.0, 0.0]}
    assert contract.scorecard == data["scorecard"]
    assert contract.provenance["engine"] == "none"
    assert contract.golden_vectors[1].inputs["joint_pos"].tolist() == data["golden_vectors"][1]["inputs"]["joint_pos"]
    assert contract.data == data


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_only_an_object_is_a_contract(value):
    refused(value, "")


JUNK = [None, "1.0", True, [], {}, [[]], [None] * 12, ["1.0"] * 12, [True] * 12, [1e39] * 12, [10**400] * 12, [float("nan")] * 12]
ARRAYS = (*bundles.PER_JOINT, "command_range", "command_rest")


@pytest.mark.parametrize("value", [*JUNK, [0.5] * 11, [[0.5]] * 12, [[0.5, 0.6]] * 11 + [[0.5]]], ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_finite_numbers_of_their_shape(data, name, value):
    data[name] = value
    refused(data, f".{name}")


@pytest.mark.parametrize("name", ["robot", "imu_frame", "graph_sha256"])
@pytest.mark.parametrize("value", [None, "", 3, ["a"]])
def test_texts_are_texts(data, name, value):
    data[name] = value
    refused(data, f".{name}")


@pytest.mark.parametrize("name", ["joint_names", "command_names", "inputs"])
@pytest.mark.parametrize("value", [None, [], "abc", [3], [""], {"a": 1}, ["command", "command"]])
def test_names_are_names_and_differ(data, name, value):
    data[name] = value
    refused(data, f".{name}")


def change(*path, to):
    def apply(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = to

    return apply


WRONG = [
    (change("version", to=3), ".version"),
    (change("version", to=0), ".version"),
    (change("version", to=True), ".version"),
    (change("version", to="2"), ".version"),
    (change("kp", 3, to=0.0), ".kp"),
    (change("kp", 3, to=-35.0), ".kp"),
    (change("kp", 3, to=1.1), ".kp"),  # N m/rad at 23.7 N m: 21 rad of reach
    (change("kp", 3, to=1200.0), ".kp"),  # 0.0198 rad
    (change("kp", 3, to=5001.0), ".kp"),
    (change("kd", 3, to=-0.1), ".kd"),
    (change("kd", 3, to=0.0), ".kd"),
    (change("kd", 3, to=0.017), ".kd"),  # 0.49 ms at kp 35
    (change("kd", 3, to=71.0), ".kd"),  # 2.03 s
    (change("effort_limit", 3, to=5001.0), ".effort_limit"),
    (change("joint_vel_limit", 3, to=201.0), ".joint_vel_limit"),
    (change("action_scale", 3, to=3.2), ".action_scale"),
    (change("joint_pos_limit", 3, to=[-6.3, 1.0]), ".joint_pos_limit"),
    (change("command_range", 1, to=[-0.6, 101.0]), ".command_range"),
    (change("golden_vectors", to=[]), ".golden_vectors"),
    (lambda data: data.update(golden_vectors=data["golden_vectors"] * 1251), ".golden_vectors"),  # of 2 x 4 steps
    (change("action_scale", 0, to=-0.25), ".action_scale"),
    (change("effort_limit", 0, to=0.0), ".effort_limit"),
    (change("joint_vel_limit", 0, to=-1.0), ".joint_vel_limit"),
    (change("joint_pos_limit", 0, to=[1.0, -1.0]), ".joint_pos_limit"),
    (change("default_joint_pos", 0, to=1.1), ".default_joint_pos"),
    (change("control_dt", to=0.0019), ".control_dt"),
    (change("control_dt", to=0.051), ".control_dt"),
    (change("control_dt", to=float("nan")), ".control_dt"),
    (change("control_dt", to="0.02"), ".control_dt"),
    (change("inputs", to=["joint_pos", "foot_contact_force"]), ".inputs"),
    (change("command_range", 1, to=[0.6, -0.6]), ".command_range"),
    (change("command_names", to=["forward", "left"]), ".command_range"),
    (change("command_rest", to=[0.0, 0.7, 0.0]), ".command_rest"),
    (change("command_rest", to=[0.0, 0.0]), ".command_rest"),
    (change("observation", to={}), ".observation"),
    (change("observation", 0, to="base_ang_vel"), ".observation[0]"),
    (change("observation", 0, "width", to=0), ".observation[0].width"),
    (change("observation", 0, "width", to=3.0), ".observation[0].width"),
    (change("observation", 0, "text", to=None), ".observation[0].text"),
    (change("observation", 0, "name", to="command"), ".observation"),
    (change("memory", to=None), ".memory"),
    (change("memory", 0, "width", to=True), ".memory[0].width"),
    (change("envelope", to=[0.8]), ".envelope"),
    (change("envelope", "max_tilt", to=3.2), ".envelope.max_tilt"),
    (change("envelope", "max_tilt", to="0.8"), ".envelope.max_tilt"),
    (change("training", to=None), ".training"),
    (change("training", to={"randomization": {}}), ".training.action_delay"),
    (change("training", "randomization", to={"mass": [{"low": float("inf")}]}), ".training"),
    (change("provenance", to={}), ".provenance.commit"),
    (change("provenance", "steps", to="many"), ".provenance.steps"),
    (change("provenance", "versions", to=["torch"]), ".provenance.versions"),
    (change("scorecard", to=0.9), ".scorecard"),
    (change("scorecard", to={"score": float("nan")}), ".scorecard"),
    (change("golden_vectors", to=[]), ".golden_vectors"),
    (change("golden_vectors", to={}), ".golden_vectors"),
    (change("golden_vectors", 0, to=None), ".golden_vectors[0]"),
    (change("golden_vectors", 0, "inputs", to=[]), ".golden_vectors[0].inputs"),
    (change("golden_vectors", 0, "outputs", to={}), ".golden_vectors[0].outputs.action"),
    (change("golden_vectors", 0, "outputs", "action", to=[]), ".golden_vectors[0].outputs.action"),
    (change("golden_vectors", 1, "outputs", "action", 2, to=[0.0] * 11), ".golden_vectors[1].outputs.action"),
    (change("golden_vectors", 1, "outputs", "joint_pos_target", to=[[0.0] * 12]), ".golden_vectors[1].outputs.joint_pos_target"),
    (change("golden_vectors", 0, "inputs", "joint_vel", to=[[0.0] * 12] * 3), ".golden_vectors[0].inputs.joint_vel"),
    (change("golden_vectors", 0, "inputs", "command", to=[[0.0] * 4] * 4), ".golden_vectors[0].inputs.command"),
    (change("golden_vectors", 0, "inputs", "base_ang_vel", to=[[0.0] * 2] * 4), ".golden_vectors[0].inputs.base_ang_vel"),
    (change("golden_vectors", 0, "inputs", "height_scan", to=[[0.0] * 5] * 4), ".golden_vectors[0].inputs"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_what_does_not_hold_is_named(data, wrong, field):
    wrong(data)
    refused(data, field)


def test_a_golden_vector_covers_every_input(data):
    del data["golden_vectors"][0]["inputs"]["command"]
    refused(data, ".golden_vectors[0].inputs")


def test_no_field_of_version_2_may_be_missing(data):
    for name in list(data):
        with pytest.raises(ContractError) as caught:
            Contract.from_json({key: value for key, value in data.items() if key != name})
        assert caught.value.field.startswith(f"policy_contract.{name}")


def test_what_is_not_known_is_null(data):
    data["provenance"] = dict.fromkeys(PROVENANCE)
    assert Contract.from_json(data).provenance["seed"] is None


def version_1(data):
    names = (*bundles.PER_JOINT, "robot", "joint_names", "control_dt", "command_range", "golden_vectors", "graph_sha256")
    return {"version": 1, **{name: data[name] for name in names}}


def test_version_1_says_less(data):
    contract = Contract.from_json(version_1(data))
    assert contract.inputs == ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command")
    assert contract.command_names == ("forward", "left", "yaw")
    assert contract.command_rest.tolist() == [0.0, 0.0, 0.0]
    assert contract.memory is None


def test_version_1_rests_at_the_trained_command_nearest_to_zero(data):
    data["command_range"] = [[0.5, 1.5], [-0.6, 0.6], [-1.0, -0.25]]
    assert Contract.from_json(version_1(data)).command_rest.tolist() == [0.5, 0.0, -0.25]


@pytest.mark.parametrize("value", [None, [], [3], [{}], [{"inputs": 3}], [{"inputs": {"memory": []}}]])
def test_version_1_needs_its_golden_vectors_too(data, value):
    with pytest.raises(ContractError):
        Contract.from_json({**version_1(data), "golden_vectors": value})


def test_another_robot_is_refused(data, go2):
    contract = Contract.from_json(data)
    contract.check_robot(go2)
    with pytest.raises(ContractError, match="Use that robot's policy"):
        contract.check_robot(replace(go2, name="other_robot"))
    for names in (tuple(f"{name}_x" for name in go2.joint_names), (*go2.joint_names, "tail"), (*go2.joint_names, go2.joint_names[0])):
        with pytest.raises(ContractError, match="joint_names"):
            contract.check_robot(replace(go2, joint_names=names))


@pytest.mark.parametrize("name", ["default_joint_pos", "joint_pos_limit", "joint_vel_limit", "effort_limit"])
def test_every_figure_of_the_robot_is_compared(data, go2, name):
    figures = getattr(go2, name).copy()
    figures[-1] *= 1.0 + 1e-6
    with pytest.raises(ContractError, match=name):
        Contract.from_json(data).check_robot(replace(go2, **{name: figures}))


def test_joints_are_matched_by_name_not_by_place(data, go2):
    order = np.random.default_rng(0).permutation(12)
    data["kp"], data["kd"] = np.arange(31.0, 43.0).tolist(), np.arange(1.0, 13.0).tolist()
    contract, other = Contract.from_json(data), reordered(go2, order)
    contract.check_robot(other)
    gains = contract.robot_with_gains(other)
    assert gains.joint_names == other.joint_names
    assert gains.kp.tolist() == (order + 31.0).tolist()
    assert gains.kd.tolist() == (order + 1.0).tolist()


@pytest.mark.parametrize("name", ["height_scan", "base_lin_vel"])
def test_what_the_robot_does_not_measure_is_refused(go2, name):
    policy = bundles.tiny_policy(go2, inputs=(*bundles.INPUTS, name))
    contract = Contract.from_json({**bundles.contract(policy, go2), "graph_sha256": "0" * 64})
    for check in (contract.check_robot, contract.robot_with_gains):
        with pytest.raises(ContractError, match=f"inputs: got '{name}'"):
            check(go2)
        check(go2, measured=[name])
