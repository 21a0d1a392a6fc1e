"""A foreign policy's bundle computes what the program that it was made for computes; what does not fit is refused."""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml

import robots
from deploy.policy import RobotPolicy, load
from locomotion.adapters.foreign_import import import_policy
from locomotion.adapters.foreign_policy import ForeignPolicy, describe, read
from locomotion.schema import check
from robots.errors import InputError
from tests.locomotion.adapters.foreign import BREADTH_FIRST, LEGS, TERMS, Program, description, frame_width, write

STEPS = 40
RECURRENT = [{"input": "h_in", "output": "h_out", "size": [2, 12]}]
FRONT = [f"{leg}_{joint}_joint" for leg in LEGS[:2] for joint in ("hip", "thigh", "calf")]
CASES = {
    "as described": {},
    "robot's joint order": {"joint_names": None},
    "list scales": {"action": {"scale": [0.1 + 0.02 * i for i in range(12)]}},
    "front legs only": {"action": {"scale": 0.3, "clip": 0.8, "joint_names": FRONT}},
    "clipped observation": {"clip_observation": 0.3},
    "no clock": {"gait": None, "observation": [term for term in TERMS if term["term"] != "gait_phase"]},
    "clock that never stops": {"gait": {"period": 0.5, "offsets": [0.0]}},
    "joints as measured": {"observation": [{"term": "joint_pos", "relative": False}, *TERMS]},
    "oldest first, by term": {"history": {"length": 4, "layout": "by_term", "order": "oldest_first"}},
    "newest first, by term": {"history": {"length": 4, "layout": "by_term", "order": "newest_first"}},
    "oldest first, by frame": {"history": {"length": 4, "layout": "by_frame", "order": "oldest_first"}},
    "newest first, by frame": {"history": {"length": 4, "layout": "by_frame", "order": "newest_first"}},
    "history of the first frame": {"history": {"length": 3, "start": "first"}},
    "recurrent": {"state": RECURRENT},
    "recurrent, with history": {"state": RECURRENT, "history": {"length": 3, "layout": "by_frame", "start": "first"}},
}


def case(name):
    """The description, without what a case leaves out."""
    return {key: value for key, value in description(**CASES[name]).items() if value is not None}


def signals(seed, robot, data):
    """A walk of random signals, float32 [STEPS, ...]; in the middle of it the command rests, twice, and then only turns."""
    rng = np.random.default_rng(seed)
    command = np.repeat(rng.uniform((0.0, -0.5, -0.5), (1.0, 0.5, 0.5))[None], STEPS, axis=0)
    command[10:14], command[25:31] = 0.0, 0.05
    command[33:36] = 0.0, 0.0, 0.3
    return {
        "base_ang_vel": rng.standard_normal((STEPS, 3)),
        "projected_gravity": rng.uniform(-1.0, 1.0, (STEPS, 3)),
        "joint_pos": robot.default_joint_pos + 0.3 * rng.standard_normal((STEPS, 12)),
        "joint_vel": 3.0 * rng.standard_normal((STEPS, 12)),
        "command": command,
    }


def outputs(path, robot, given):
    """Targets and actions [STEPS, robots, J] of a bundle bound to its robot."""
    policy = RobotPolicy(load(path, robot), robot)
    policy.reset(len(given))
    steps = [policy.step({name: np.stack([one[name][t] for one in given]) for name in given[0]}) for t in range(STEPS)]
    return np.array([target for target, _ in steps]), np.array([action for _, action in steps])


@pytest.mark.parametrize("name", CASES)
def test_a_bundle_computes_what_the_program_of_the_policy_computes(tmp_path, go2, name):
    data = case(name)
    path, weights = write(tmp_path, data, acted=len(data["action"].get("joint_names", range(12))))
    import_policy(read(path), tmp_path / "policy.onnx")
    given = [signals(seed, go2, data) for seed in range(3)]
    targets, actions = outputs(tmp_path / "policy.onnx", go2, given)
    for robot, one in enumerate(given):
        program = Program(data, weights, go2)
        for t in range(STEPS):
            target, action = program.step({name: value[t].astype(np.float32).astype(float) for name, value in one.items()})
            np.testing.assert_allclose(targets[t, robot], target, atol=2e-5)
            np.testing.assert_allclose(actions[t, robot], action, atol=2e-5)
    assert np.abs(actions).max() > 0.5  # neither the network nor its clip sleeps


def test_the_contract_has_the_policys_gains_and_says_where_it_comes_from(tmp_path, go2):
    path, _ = write(tmp_path, case("newest first, by term"))
    import_policy(read(path), tmp_path / "policy.onnx")
    contract = load(tmp_path / "policy.onnx", go2).contract
    bound = contract.robot_with_gains(go2)
    assert (bound.kp == 25.0).all()
    assert (bound.kd == 0.6).all()
    source = contract.provenance["adapted_from"]
    assert source["sha256"] == hashlib.sha256((tmp_path / "foreign.onnx").read_bytes()).hexdigest()
    assert source["description"]["history"]["order"] == "newest_first"
    assert json.dumps(source["description"])
    assert contract.command_names == ("forward", "left", "yaw")
    assert contract.command_range.tolist() == [[-1.0, 1.5], [-0.5, 0.5], [-1.0, 1.0]]
    assert [term.width for term in contract.observation] == [3, 3, 2, 12, 12, 12, 3, 3, 2]
    assert {term.name: term.width for term in contract.memory or ()} == {"previous_action": 12, "clock": 1, "history": 3 * 52}
    import_policy(read(path), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "policy.onnx").read_bytes()


class Net(torch.nn.Module):
    """An MLP, and one with a state given and returned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(width, 16), torch.nn.ELU(), torch.nn.Linear(16, 12))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.layers(observation)


class Recurrent(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(width, 12, num_layers=2)

    def forward(self, observation: torch.Tensor, h: torch.Tensor, c: torch.Tensor):
        out, (h, c) = self.lstm(observation.unsqueeze(0), (h, c))
        return out.squeeze(0), h, c


class Hidden(Net):
    """Keeps its state to itself."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("last", torch.zeros(1))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        self.last += 1.0
        return self.layers(observation) + self.last


def torchscript(folder, module, **changes):
    data = {**case("as described"), "policy": "policy.pt", **changes}
    torch.jit.script(module.eval()).save(folder / "policy.pt")
    (folder / "foreign.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / "foreign.yaml"


def test_torchscript_is_taken_as_onnx_is(tmp_path, go2):
    torch.manual_seed(0)
    data = case("as described")
    net = Net(frame_width(data))
    import_policy(read(torchscript(tmp_path, net)), tmp_path / "policy.onnx")
    given = signals(0, go2, data)
    targets, _ = outputs(tmp_path / "policy.onnx", go2, [given])
    program = Program(data, np.zeros((frame_width(data), 12)), go2)
    for t in range(STEPS):
        frame = np.concatenate(program.frame({name: value[t].astype(np.float32).astype(float) for name, value in given.items()}))
        action = net(torch.tensor(frame, dtype=torch.float32)[None])[0].detach().numpy().clip(-0.8, 0.8)
        program.action = action
        expected = program.pose.copy()
        expected[program.seen] += 0.3 * action
        np.testing.assert_allclose(targets[t, 0], expected, atol=2e-5)


def test_an_lstms_states_are_the_bundles_memory(tmp_path, go2):
    torch.manual_seed(1)
    data = case("no clock")
    net = Recurrent(frame_width(data))
    state = [{"input": name, "output": f"{name}_out", "size": [2, 12]} for name in ("h", "c")]
    path = torchscript(tmp_path, net, state=state, observation=data["observation"], gait={"period": 1.0, "offsets": [0.0]})
    graph = import_policy(read(path), tmp_path / "policy.onnx")
    assert graph.memory == {"previous_action": 12, "clock": 1, "state h": 24, "state c": 24}
    given = [signals(seed, go2, data) for seed in range(2)]
    _, actions = outputs(tmp_path / "policy.onnx", go2, given)
    for robot, one in enumerate(given):
        program, h, c = Program(data, np.zeros((1, 12)), go2), torch.zeros(2, 1, 12), torch.zeros(2, 1, 12)
        for t in range(STEPS):
            frame = np.concatenate(program.frame({name: value[t].astype(np.float32).astype(float) for name, value in one.items()}))
            with torch.inference_mode():
                out, h, c = net(torch.tensor(frame, dtype=torch.float32)[None], h, c)
            program.action = out[0].numpy().clip(-0.8, 0.8)
            np.testing.assert_allclose(actions[t, robot][program.moved], program.action, atol=2e-5)


def test_a_module_that_keeps_its_state_to_itself_is_refused(tmp_path):
    with pytest.raises(InputError, match="keeps a state of its own"):
        import_policy(read(torchscript(tmp_path, Hidden(frame_width(description())))), tmp_path / "policy.onnx")
    assert not (tmp_path / "policy.onnx").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kp": 1e5}, "kp"),
        ({"kp": 2000.0}, "effort_limit / kp"),  # the spring would ask for all its torque at once
        ({"kd": 0.001}, "kd / kp"),
        ({"default_joint_pos": {"*_hip_joint": 0.0, "*_thigh_joint": 0.8, "*_calf_joint": 1.0}}, "within joint_pos_limit"),
        ({"joint_names": [*BREADTH_FIRST[:-1], "RR_claf_joint"]}, "Did you mean RR_calf_joint"),
        ({"joint_names": [*BREADTH_FIRST[:-1], BREADTH_FIRST[0]]}, "every joint once"),
        ({"action": {"scale": {"*_hip_joint": 0.1}}}, "exactly one matching pattern"),
        ({"action": {"scale": [0.1, 0.2]}}, "in the order of joint_names"),
        ({"commands": {"forward": [0.2, 1.0], "left": [-1.0, 1.0], "yaw": [-1.0, 1.0]}}, "around zero"),
        ({"observation": [{"term": "joint_pso"}]}, "term"),
        ({"observation": [{"term": "joint_pos", "scal": 1.0}]}, "Did you mean|no such setting"),
        ({"observation": [{"term": "gait_phase"}]}, "function"),
        ({"observation": [{"term": "joint_pos", "channels": ["yaw"]}]}, "Remove channels"),
        ({"observation": [{"term": "command", "channels": ["sideways"]}]}, "a channel of commands"),
        ({"observation": [{"term": "joint_vel", "scale": [1.0, 2.0]}]}, "one number, or 12"),
        ({"gait": None}, "a clock"),
        ({"robot": "unitree_gos2"}, "unitree_go2"),
        ({"observation": TERMS[1:]}, "Terms have"),
        ({"output": "action"}, "Name the action"),
        ({"state": RECURRENT}, "no such name"),
        ({"policy": "other.onnx"}, "beside the description"),
        ({"policy": "foreign.yaml"}, "torch.jit.load"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, changes, message):
    write(tmp_path, description())
    data = {key: value for key, value in description(**changes).items() if value is not None}
    (tmp_path / "foreign.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(InputError, match=message):
        import_policy(read(tmp_path / "foreign.yaml"), tmp_path / "policy.onnx")
    assert not (tmp_path / "policy.onnx").exists()


def test_a_graph_that_takes_one_robot_only_is_refused(tmp_path):
    path, _ = write(tmp_path, description())
    model = onnx.load(tmp_path / "foreign.onnx")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 12]), "one"))
    model.graph.node[-1].output[0] = "wide"
    model.graph.node.append(onnx.helper.make_node("Reshape", ["wide", "one"], ["actions"]))
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(InputError, match="dynamic batch axis"):
        import_policy(read(path), tmp_path / "policy.onnx")


def test_the_description_of_the_documentation_is_a_whole_one():
    text = (Path(robots.FOLDER).parent / "docs" / "foreign_policies.md").read_text()
    settings = check(ForeignPolicy, yaml.safe_load(text.split("```yaml\n")[1].split("```")[0]))
    found = describe(settings, Path())
    assert found.frame_width == 100  # of holosoma's file
    assert found.robot.kp.min() == 14.250623098


def test_what_a_description_does_not_say_is_the_robots(tmp_path):
    data = {key: value for key, value in description(robot="unitree_go2").items() if key not in ("kp", "kd", "default_joint_pos")}
    path, _ = write(tmp_path, data)
    found, go2 = read(path), robots.load("unitree_go2")
    for name in ("kp", "kd", "default_joint_pos"):
        np.testing.assert_array_equal(getattr(found.robot, name), getattr(go2, name))
