"""Tasks of isaacgymenvs and legged_gym as ours: exact values where there are any, all that remains listed, and what comes out trains."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import robots
from locomotion import build
from locomotion.adapters import isaac_files, isaac_settings
from locomotion.adapters.foreign_import import import_policy
from locomotion.adapters.foreign_policy import read
from locomotion.adapters.isaac_import import import_task, isaac_order
from locomotion.cli import main
from locomotion.config import compose
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from tests.locomotion.adapters import checkpoints, isaac_tasks


@pytest.fixture(scope="module")
def anymal():
    return robots.load("anymal_c")


def given(folder, kind, change=None):
    """A source: ``kind`` is a text of isaac_tasks, or the path of a class; ``change`` replaces a part of the text."""
    if kind.endswith(".py"):
        return isaac_settings.read(isaac_tasks.write_legged_gym(folder) / kind)
    text = getattr(isaac_tasks, kind)
    for old, new in (change or {}).items():
        assert old in text
        text = text.replace(old, new)
    (folder / "task.yaml").write_text(text)
    return isaac_settings.read(folder / "task.yaml")


KINDS = ["ANYMAL", "ANYMAL_TERRAIN", isaac_tasks.ANYMAL_FLAT, isaac_tasks.A1]


def imported(folder, kind, change=None):
    return import_task(given(folder, kind, change), robots.load("unitree_go2" if "a1" in kind else "anymal_c"))


def test_isaacgymenvs_anymal(tmp_path):
    found = imported(tmp_path, "ANYMAL")
    assert (found.name, found.control_dt, found.physics_dt) == ("anymal", 0.02, 0.01)  # sim.substeps: 2
    assert found.robot["kp"], found.robot["kd"] == (85.0, 2.0)
    assert found.robot["action_scale"] == 0.5
    assert found.robot["default_joint_pos"] == {
        "LF_HAA": 0.03, "LF_HFE": 0.4, "LF_KFE": -0.8, "RF_HAA": -0.03, "RF_HFE": 0.4, "RF_KFE": -0.8,
        "LH_HAA": 0.03, "LH_HFE": -0.4, "LH_KFE": 0.8, "RH_HAA": -0.03, "RH_HFE": -0.4, "RH_KFE": 0.8,
    }  # fmt: skip
    assert found.task["commands"]["velocity"] == {"forward": [-2.0, 2.0], "left": [-1.0, 1.0], "yaw": [-1.0, 1.0], "standing": 0.0}
    assert found.task["rewards"] == {
        "track_lin_vel": {"weight": 1.0, "width": 0.5, "gated": False}, "track_yaw": {"weight": 0.5, "width": 0.5, "gated": False},
        "torque": {"weight": -2.5e-5},
    }  # fmt: skip
    assert (found.task["episode_seconds"], found.task["command_seconds"], found.task["reward_floor"]) == (50.0, [50.0, 50.0], 0.0)
    assert found.randomization == {"parameters": {"friction": [1.0, 1.0]}, "noise": {}, "events": {}, "graded": False}  # randomize: False
    assert found.task["resets"]["standing"]["drop"] == pytest.approx(0.62 - 0.549)
    wide = imported(tmp_path, "ANYMAL", {"clipActions: 1.0": "clipActions: 100.0"})
    assert wide.policy["action"] == {"scale": 0.5, "clip": 1.0}  # rl_games clips at 1 before the task does


def test_isaacgymenvs_randomization_where_it_is_on(tmp_path, anymal):
    found = imported(tmp_path, "ANYMAL", {"randomize: False": "randomize: True"})
    parameters = found.randomization["parameters"]
    assert parameters["kp_scale"] == parameters["kd_scale"] == parameters["link_mass_scale"] == [0.5, 1.5]
    assert parameters["friction"] == [0.85, 1.15]  # a foot's 0.7 to 1.3, and the ground's 1
    low, high = parameters["base_mass_offset"]
    assert low == -high < -5.0  # half of the base's mass
    noise = found.randomization["noise"]  # gaussian of deviation 0.002 on the scaled observation
    assert noise["joint_vel"] == pytest.approx(math.sqrt(3) * 0.002 / 0.05)
    assert noise["projected_gravity"] == pytest.approx(math.sqrt(3) * 0.002)
    left = found.left()
    for name in ("actions.range", "sim_params.gravity.range", "actor_params.anymal.dof_properties.lower.range"):
        assert left[f"task.randomization_params.{name}"][1] == "no counterpart"
    assert "graded" in left["task.randomization_params.actor_params.anymal.dof_properties.damping.schedule"][1]


def test_isaacgymenvs_anymal_terrain(tmp_path):
    found = imported(tmp_path, "ANYMAL_TERRAIN")
    assert (found.name, found.control_dt, found.physics_dt) == ("anymal_terrain", 0.02, 0.005)  # decimation: 4
    assert found.task["commands"]["velocity"]["yaw"] == [-1.0, 1.0]  # not ±3.14, which are headings
    rewards = found.task["rewards"]
    assert rewards["joint_acc"]["weight"] == pytest.approx(-0.0005 * 0.02**2)  # a difference of velocities there
    assert {name: rewards[name]["weight"] for name in ("vertical_velocity", "roll_pitch_rate", "action_rate", "body_contact")} == {
        "vertical_velocity": -4.0, "roll_pitch_rate": -0.05, "action_rate": -0.01, "body_contact": -0.25,
    }  # fmt: skip
    assert set(rewards).isdisjoint({"tilt", "fell", "base_height"})  # weight 0
    assert found.randomization["noise"] == {"joint_pos": 0.01, "joint_vel": 1.5, "base_ang_vel": 0.2, "projected_gravity": 0.05}
    assert found.randomization["events"]["push"] == {"velocity": [-1.0, 1.0], "interval": [15.0, 15.0]}
    assert found.randomization["parameters"]["friction"] == [0.75, 1.125]
    assert found.policy is None  # it sees the ground


def test_legged_gym_classes_are_what_python_would_make_of_them(tmp_path):
    found = imported(tmp_path, isaac_tasks.ANYMAL_FLAT)
    assert (found.name, found.control_dt, found.physics_dt) == ("anymal_c_flat", 0.02, 0.005)
    values = found.source.values
    assert values["rewards.scales.orientation"] == -5.0  # its own
    assert values["rewards.base_height_target"] == 0.5  # of its base, in another file, through a package
    assert values["normalization.clip_actions"] == 100.0  # of the base's base
    assert values["sim.physx.max_gpu_contact_pairs"] == 2**23
    assert values["ppo.policy.actor_hidden_dims"] == [128, 64, 32]
    assert found.task["commands"]["velocity"]["yaw"] == [-1.5, 1.5]
    assert found.task["command_seconds"] == [4.0, 4.0]
    assert found.task["rewards"]["air_time"] == {"weight": 2.0, "shortest": 0.5, "longest": 100.0}
    assert found.robot["kp"]["RH_KFE"] == 80.0
    assert found.randomization["parameters"] == {"friction": [0.5, 1.25], "base_mass_offset": [-5.0, 5.0]}


def test_legged_gym_a1(tmp_path):
    found = imported(tmp_path, isaac_tasks.A1)
    assert found.robot["kp"] == dict.fromkeys(robots.load("unitree_go2").joint_names, 20.0)  # by a part of the joint's name
    assert found.task["rewards"]["joint_limits"] == {"weight": -10.0, "share": 0.9}
    assert found.task["self_collision"] is False
    assert imported(tmp_path, isaac_tasks.ANYMAL_FLAT).task["self_collision"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_every_setting_has_become_something_or_is_listed_with_a_reason(tmp_path, kind):
    found = imported(tmp_path, kind)
    left = found.left()
    assert set(left) | set(found.source.taken) == set(found.source.values)
    assert set(left).isdisjoint(found.source.taken)
    assert set(found.resembles) <= set(found.source.taken)
    assert [key for key, (_, why) in left.items() if why == "no counterpart"] == []  # of these files all reasons are known
    shown = {name for names in found.left_by_reason().values() for name in names}
    assert all(any(key == name or (name.endswith("*") and key.startswith(name[:-1])) for name in shown) for key in left)


def test_a_setting_that_nobody_knows_is_listed(tmp_path):
    found = imported(tmp_path, "ANYMAL", {"torqueRewardScale": "smileRewardScale: 3.0, moonPhase: 0.25, torqueRewardScale"})
    assert found.left()["env.learn.moonPhase"] == (0.25, "no counterpart")
    assert "add_a_reward" in found.left()["env.learn.smileRewardScale"][1]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_a_task_that_runs(tmp_path, monkeypatch, kind):
    found = imported(tmp_path, kind)
    robot = robots.load("unitree_go2" if "a1" in kind else "anymal_c")
    paths = isaac_files.write(found, robot, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    words = [f"robot={found.name}", f"task={found.name}", f"randomization={found.name}", f"sim.physics_dt={found.physics_dt}"]
    env = build.task(check(TrainSettings, compose("train", [*words, "algorithm.num_envs=4", "sim.threads=1"])))
    for _ in range(3):
        env.step(torch.zeros(4, robot.num_joints))
    assert torch.isfinite(env.rewards()).all()
    env.close()
    written = robots.load(found.name)
    np.testing.assert_allclose(written.kp, [found.robot["kp"][j] if isinstance(found.robot["kp"], dict) else found.robot["kp"]
                                            for j in robot.joint_names])  # fmt: skip
    assert robots.load(paths["robot"]).name == found.name
    comment = paths["task"].read_text()
    assert all(f"#   {key} = " in comment for key in found.left())
    with pytest.raises(InputError, match="nothing is yet"):
        isaac_files.write(found, robot, tmp_path / "out")


def test_isaac_gym_numbers_joints_depth_first_and_siblings_by_name(anymal):
    legs = ["LF", "LH", "RF", "RH"]
    assert isaac_order(anymal) == [f"{leg}_{joint}" for leg in legs for joint in ("HAA", "HFE", "KFE")]
    go2 = robots.load("unitree_go2")
    assert isaac_order(go2) == [f"{leg}_{joint}_joint" for leg in ("FL", "FR", "RL", "RR") for joint in ("hip", "thigh", "calf")]


@pytest.mark.parametrize(("kind", "make"), [("ANYMAL", checkpoints.rl_games), (isaac_tasks.ANYMAL_FLAT, checkpoints.rsl_rl)])
def test_a_checkpoint_of_the_task_acts_in_the_bundle_as_it_did_there(tmp_path, kind, make, anymal):
    """The observation as legged_robot.py and anymal.py put it together, from our signals."""
    from deploy.policy import RobotPolicy, load

    found = imported(tmp_path, kind)
    paths = isaac_files.write(found, anymal, tmp_path / "out")
    torch.manual_seed(2)
    state, act = make(48, 12) if make is checkpoints.rl_games else make(1, 48, 12)
    torch.save(state, paths["policy"].parent / found.policy["policy"])
    import_policy(read(paths["policy"]), tmp_path / "policy.onnx")
    bundle = RobotPolicy(load(tmp_path / "policy.onnx"), anymal, measured=("base_lin_vel",))
    bundle.reset(1)
    with pytest.raises(ValueError, match="base_lin_vel"):  # which a robot has to say that it measures
        load(tmp_path / "policy.onnx", anymal)
    order = [anymal.joint_names.index(name) for name in isaac_order(anymal)]
    pose = np.array([found.robot["default_joint_pos"][name] for name in anymal.joint_names])
    rng, previous = np.random.default_rng(0), np.zeros(12)
    for _ in range(5):
        widths = {"base_lin_vel": 3, "base_ang_vel": 3, "projected_gravity": 3, "command": 3, "joint_pos": 12, "joint_vel": 12}
        signals = {name: rng.normal(size=(1, width)).astype(np.float32) for name, width in widths.items()}
        signals["command"] = signals["command"].clip(-1.0, 1.0)  # as far as it was trained: a bundle clips to that
        one = {name: value[0].astype(np.float64) for name, value in signals.items()}
        gravity = one["projected_gravity"] * ([0.0, 0.0, 1.0] if kind == "ANYMAL" else [1.0, 1.0, 1.0])
        parts = [one["base_lin_vel"] * 2.0, one["base_ang_vel"] * 0.25, gravity, one["command"] * [2.0, 2.0, 0.25],
                 (one["joint_pos"] - pose)[order], one["joint_vel"][order] * 0.05, previous]  # fmt: skip
        seen = np.clip(np.concatenate(parts), *((-5.0, 5.0) if kind == "ANYMAL" else (-100.0, 100.0)))
        with torch.inference_mode():
            previous = act(torch.tensor(seen[None], dtype=torch.float32))[0].numpy().astype(np.float64)
        previous = np.clip(previous, -1.0, 1.0) if kind == "ANYMAL" else previous
        target, _ = bundle.step(signals)
        expected = pose.copy()
        expected[order] += 0.5 * previous
        np.testing.assert_allclose(target[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt: 0.02": "dt: abc"}, "sim.dt.*a number"),
        ({"dt: 0.02": "dt: 0.0"}, "above 0"),
        ({"linear_x: [-2., 2.]": "linear_x: [2., -2.]"}, "linear_x.*Swap"),
        ({"linear_x: [-2., 2.]": "linear_x: 2."}, "linear_x.*list of 2"),
        ({"LF_HAA: 0.03": "LF_HXX: 0.03"}, "a robot whose joints are"),
        ({"episodeLength_s: 50": "episode: 50"}, "episodeLength_s.*got None"),
        ({"episodeLength_s: 50": "episodeLength_s: -1"}, "task.episode_seconds"),
        ({"stiffness: 85.0": "stiffness: 1e9"}, "kp"),
        ({"defaultJointAngles": "angles"}, "a task of isaacgymenvs for a legged robot"),
        ({"name: Anymal\n": "name: [\n"}, "can be read"),
    ],
)
def test_what_is_impossible_is_named_and_leaves_nothing(tmp_path, anymal, change, message):
    with pytest.raises(InputError, match=message):
        isaac_files.write(imported(tmp_path, "ANYMAL", change), anymal, tmp_path / "out")
    assert not list(tmp_path.glob("out/configs/task/*"))
    assert not list(tmp_path.glob("out/robots/*"))


def test_python_that_is_more_than_settings_is_refused_or_listed_and_never_run(tmp_path):
    package = isaac_tasks.write_legged_gym(tmp_path)
    a1 = package / isaac_tasks.A1
    found = imported(tmp_path, isaac_tasks.A1)
    assert found.left()["sim.physx.seed"][0] == "int('5')"
    a1.write_text(isaac_tasks.FILES[isaac_tasks.A1].replace("action_scale = 0.25", "action_scale = float(open('/etc/passwd').read())"))
    with pytest.raises(InputError, match=r"control\.action_scale.*a number"):
        import_task(isaac_settings.read(a1), robots.load("unitree_go2"))
    a1.write_text(
        isaac_tasks.FILES[isaac_tasks.A1].replace("decimation", "control_type = 'T'; decimation") + "\nclass B(A1RoughCfg): pass\n"
    )
    with pytest.raises(InputError, match="class=NAME"):
        isaac_settings.read(a1)
    assert isaac_settings.read(a1, "B").name == "B"
    (tmp_path / "alone.py").write_text("from somewhere.else_ import Base\nclass C(Base):\n    pass\n")
    with pytest.raises(InputError, match="inside its checkout"):
        isaac_settings.read(tmp_path / "alone.py")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class A(A):\n    pass\nclass B(A):\n    class control: pass\n", "what A is"),
        ("class C:\n    x = 3\nclass B(C.x.y):\n    class control: pass\n", r"what C\.x\.y is"),
        ("from .......................... import Y\nclass B(Y):\n    class control: pass\n", "inside its checkout"),
        ("class B:\n    k = " + "+".join(["1"] * 20_000) + "\n", "can be read"),
    ],
    ids=["its own base", "a number as a base", "above the root", "more than Python nests"],
)
def test_python_without_an_end_is_refused_too(tmp_path, text, words):
    (tmp_path / "task.py").write_text(text)
    with pytest.raises(InputError, match=words):
        isaac_settings.read(tmp_path / "task.py")


def test_a_relative_base_is_found_from_within_its_folder_too(tmp_path, monkeypatch):
    (tmp_path / "a1").mkdir()
    (tmp_path / "base.py").write_text(
        "class Base:\n    class control: stiffness = 7\n    class rewards: a = 1\n    class init_state: b = 2\n"
    )
    (tmp_path / "a1/task.py").write_text("from ..base import Base\nclass B(Base): pass\n")
    monkeypatch.chdir(tmp_path / "a1")
    assert isaac_settings.read(Path("task.py")).values["control.stiffness"] == 7


def test_the_command_says_what_it_wrote_and_what_it_could_not(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Anymal.yaml").write_text(isaac_tasks.ANYMAL)
    assert main(["tasks", "import", "Anymal.yaml", "robot=anymal_c", "output=mine", "name=ours"]) == 0
    said = capsys.readouterr().out
    assert "off: task.randomize is false: task.randomization_params.*" in said
    assert "cd mine; locomotion train robot=ours task=ours randomization=ours sim.physics_dt=0.01" in said
    assert yaml.safe_load((tmp_path / "mine/policies/ours.yaml").read_text())["robot"] == "anymal_c"
    assert main(["tasks", "import", "Anymal.yaml"]) == 2
    assert main(["tasks", "import", "Anymal.yaml", "robot=unitree_go2"]) == 2
    assert "These have such joints: anymal_c" in capsys.readouterr().err
    assert main(["tasks", "improt"]) == 2


def test_a_full_disk_leaves_no_half_of_a_task(tmp_path, anymal, monkeypatch):
    found, folder, write = imported(tmp_path, "ANYMAL"), tmp_path / "out", isaac_files.write_atomically

    def full(path, fill):
        if path.parent.name == "randomization":
            raise OSError(28, "No space left on device")
        write(path, fill)

    with monkeypatch.context() as patch:
        patch.setattr(isaac_files, "write_atomically", full)
        with pytest.raises(InputError, match="No space left on device"):
            isaac_files.write(found, anymal, folder)
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert all(path.exists() for path in isaac_files.write(found, anymal, folder).values())
