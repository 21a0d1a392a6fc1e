"""Every task on every robot is an environment of Gymnasium's by name, that its checkers and stable-baselines3's accept."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import locomotion.adapters
import robots
from locomotion import config
from locomotion.adapters.registration import identity
from robots.errors import InputError

GO2 = "locomotion/Go2-velocity-flat-v0"
assert locomotion.adapters


def test_registering_needs_no_torch_and_no_engine():
    heavy = ("torch", "mujoco", "pybullet", "hydra", "onnx")
    code = "import sys, locomotion.adapters, gymnasium; print(len([k for k in gymnasium.registry if k.startswith('locomotion/')]));"
    code += f"assert not {{*{heavy!r}}} & {{*sys.modules}}, {{*sys.modules}} & {{*{heavy!r}}}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bodies = sum(1 + len(robots.variants(robot)) for robot in robots.available())
    assert int(done.stdout) == bodies * len(config.options("task"))


def test_gymnasium_imports_it_by_itself_where_it_is_told_the_module():
    code = "import gymnasium; print(gymnasium.make('locomotion.adapters:locomotion/Go2-stand-v0').action_space.shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(12,)"


def test_names_are_read_from_robot_and_task():
    assert identity("anymal_c", "velocity_flat") == "locomotion/AnymalC-velocity-flat-v0"
    for name, robot in ((GO2, "unitree_go2"), ("locomotion/G1.fixed_waist-velocity-biped-v0", "unitree_g1.fixed_waist")):
        assert gymnasium.spec(name).kwargs["robot"] == robot


def test_a_robot_and_a_task_of_ones_own_are_registered_and_one_with_faults_says_so_when_it_is_made(tmp_path, monkeypatch):
    (tmp_path / "robots/unitree_bad").mkdir(parents=True)
    (tmp_path / "robots/unitree_bad/robot.yaml").write_text("variants: [1\n")
    (tmp_path / "robots/go2").mkdir()  # its short name is a robot's of the toolkit: that one is then told by its whole name
    (tmp_path / "robots/go2/robot.yaml").write_text("name: go2\n")
    monkeypatch.chdir(tmp_path)
    known = dict(gymnasium.registry)
    for name in known:
        if name.startswith("locomotion/"):
            del gymnasium.registry[name]
    try:
        locomotion.adapters.register()
        assert gymnasium.spec("locomotion/UnitreeGo2-stand-v0").kwargs["robot"] == "unitree_go2"
        assert gymnasium.spec("locomotion/Go2-stand-v0").kwargs["robot"] == "go2"
        with pytest.raises(InputError, match=r"unitree_bad/robot\.yaml"):
            gymnasium.make("locomotion/Bad-stand-v0")
    finally:
        gymnasium.registry.clear()
        gymnasium.registry.update(known)


@pytest.mark.parametrize("name", [GO2, "locomotion/G1.legs-stand-v0"])
def test_the_checkers_of_gymnasium_and_stable_baselines3_accept_it(name):
    from stable_baselines3.common.env_checker import check_env as their_check

    env = gymnasium.make(name, overrides=["sim.threads=1"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*symmetric and normalized")  # an action's bounds are the joint's
        check_env(env.unwrapped)
        their_check(env.unwrapped)
    env.close()


def test_a_vector_environment_is_made_natively_and_keeps_gymnasiums_own_wrappers():
    from gymnasium.wrappers import vector as wrappers

    env = gymnasium.make_vec(GO2, num_envs=5, overrides=["sim.threads=1", "task.episode_seconds=0.1"])
    assert type(env.unwrapped).__module__ == "locomotion.adapters.gymnasium"
    assert env.spec.id == GO2
    assert env.spec.kwargs["num_envs"] == 5
    assert env.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.SAME_STEP
    wrapped = wrappers.RecordEpisodeStatistics(wrappers.NormalizeReward(wrappers.ClipAction(env)))
    wrapped.reset(seed=1, options={"stagger": False})
    for step in range(5):
        *_, truncated, infos = wrapped.step(np.full((5, 12), 100.0, dtype=np.float32))
        assert truncated.all() == (step == 4)
    assert (infos["episode"]["l"] == 5).all()
    assert infos["_final_info"].all()


def test_gymnasiums_own_loop_over_single_environments_works_too():
    env = gymnasium.make_vec(GO2, num_envs=2, vectorization_mode="sync", overrides=["sim.threads=1", "task.episode_seconds=0.06"])
    env.reset(seed=1)
    cut = [env.step(np.zeros((2, 12), np.float32))[3].tolist() for _ in range(4)]
    assert cut == [[False, False], [False, False], [True, True], [False, False]]
    env.close()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gymnasium.make(GO2, overrides=["task.episode_second=1"]), r"episode_seconds"),
        (lambda: gymnasium.make(GO2, robot="unitree_go3"), r"robot.*unitree_go2"),
        (lambda: gymnasium.make_vec(GO2, num_envs=0), r"num_envs.*0"),
        (lambda: gymnasium.make_vec(GO2, num_envs=2.5), r"num_envs.*2\.5"),
        (lambda: gymnasium.make_vec(GO2, num_envs=1_000_000), r"algorithm\.num_envs.*1000000.*memory that is free.*GiB at least"),
        (lambda: gymnasium.make(GO2, render_mode="human"), r"render_mode.*locomotion play"),
        (lambda: gymnasium.make(GO2).unwrapped.step(np.zeros(12)), r"reset"),
        (lambda: gymnasium.make_vec(GO2, num_envs=2).reset(seed=[1, 2]), r"seed.*one integer"),
        (lambda: gymnasium.make_vec(GO2, num_envs=2).reset(options={"stagger": "no"}), r"stagger.*True or False"),
        (lambda: gymnasium.make_vec(GO2, num_envs=2).step(np.zeros((2, 5))), r"action: got \[2, 5\].*\[2, 12\]"),
        (lambda: gymnasium.make(GO2, num_envs=4), r"num_envs: got 4.*make takes overrides alone"),
        (lambda: gymnasium.make_vec(GO2, num_envs=2, seed=3), r"seed: got 3.*make_vec takes num_envs and overrides.*seed=3"),
        *(
            (lambda one=one: gymnasium.make_vec(GO2, num_envs=2, overrides=one), r"overrides.*a list of key=value")
            for one in ("seed=3", None, [3], ["robot=anymal_c"], ["task=stand"], ["algorithm.num_envs=5"], ["env=gymnasium:Pendulum-v1"])
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_an_unknown_name_is_gymnasiums_own_error_with_the_nearest():
    with pytest.raises(gymnasium.error.NameNotFound, match="Go2-velocity-flat"):
        gymnasium.make("locomotion/Go2-velocity-flatt-v0")
