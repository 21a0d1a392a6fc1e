"""Tasks with the conventions of isaacgymenvs: which observation is whose, ends and time-outs, the engine's process, and training on it."""

import ast
import importlib.util
import signal
from pathlib import Path

import pytest
import torch

from locomotion.adapters import isaac_process, isaac_worker
from locomotion.adapters.isaac_environment import IsaacGymEnvironment
from locomotion.build import algorithm
from locomotion.config import compose
from locomotion.environment import ActionSpace, BrokenEnvironmentError, NotFiniteError
from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from sim import channel
from tests.locomotion.runs.test_checkpoint import Silent

ENGINE = Path(__file__).parent / "engine"


def engine():
    """The stand-in's tasks, in this process."""
    spec = importlib.util.spec_from_file_location("isaacgymenvs_stand_in", ENGINE / "isaacgymenvs" / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def environment(name, num_envs=2):
    return IsaacGymEnvironment(engine().TASKS[name](num_envs), name, 0.02)


def play(env, action, steps):
    """Observations before each step, transitions, ends, rewards."""
    before, transitions = [], []
    for _ in range(steps):
        before.append(env.observations["actor"])
        transitions.append(env.step(torch.tensor(action, dtype=torch.float32)[:, None].expand(-1, 2)))
    ended = env.ended()
    return torch.stack(before), transitions, ended, env.rewards()


def flags(transitions, name):
    return torch.stack([getattr(t, name) for t in transitions]).nonzero().tolist()


def test_a_late_restart_leaves_the_true_last_observation_and_tells_an_end_from_a_time_out():
    env = environment("Late")
    assert env.observations["actor"][:, 1].tolist() == [0.0, 0.0]  # a first observation, where VecTask.reset() gives zeros or old ones
    before, transitions, ended, _ = play(env, [0.5, 0.1], 12)
    assert flags(transitions, "terminated") == [[4, 0], [10, 0]]  # one step more a restart
    assert flags(transitions, "truncated") == [[7, 1]]
    assert ended.steps.tolist() == [4, 7, 10]
    assert ended.rows.tolist() == [0, 1, 0]
    first = before[0, 0, 0].item()
    torch.testing.assert_close(
        ended.observations["actor"], torch.tensor([[first, 5.0, 0.5], [first, 5.0, 0.1], [first + 1, 5.0, 0.5]])
    )  # the task clips what it shows at 5
    assert before[5, 0].tolist() == pytest.approx([first, 5.0, 0.5])  # acted on in vain:
    assert before[6, 0, :2].tolist() == [first + 1, 0.0]  # the next episode's first


def test_an_episode_that_ends_as_it_begins_has_its_own_last_observation():
    task = engine().TASKS["Late"](1)
    task.fell = lambda: (task.count == 0) & (task.episode >= 3)  # on its back in the first state
    env = IsaacGymEnvironment(task, "Late", 0.02)
    _, transitions, ended, _ = play(env, [0.1], 12)
    last = ended.observations["actor"][:, :2].tolist()
    assert flags(transitions, "truncated") == [[7, 0]]
    assert last[0][1] == 5.0
    assert last[1:4] == [[last[0][0] + i, 0.0] for i in range(1, 4)]  # each of its own episode, and none a time-out


def test_a_restart_at_once_hides_the_last_observation_and_the_time_out_and_neither_is_lost():
    env = environment("AtOnce")
    before, transitions, ended, _ = play(env, [0.5, 0.1], 11)
    assert env.spaces.groups == {"actor": 3, "critic": 6}
    assert flags(transitions, "terminated") == [[3, 0], [8, 0]]  # the first episode has taken the step of reset() already
    assert flags(transitions, "truncated") == [[7, 1]]  # of which extras["time_outs"] says nothing
    for step, row, last in zip(ended.steps, ended.rows, ended.observations["actor"], strict=True):
        torch.testing.assert_close(last, before[step, row])  # what stands for the one that is lost
        assert transitions[step].observations["actor"][row, 1] == 0.0  # the next episode's first
    torch.testing.assert_close(ended.observations["critic"][:, 3:], 10.0 + ended.observations["actor"])


@pytest.mark.parametrize("name", ["Late", "AtOnce"])
def test_what_was_returned_stays_though_the_task_writes_its_buffers_over(name):
    env = environment(name)
    first = env.observations["critic"].clone()
    kept, step = env.observations["critic"], env.step(torch.zeros(2, 2))
    seen, terminated = step.observations["actor"].clone(), step.terminated.clone()
    env.step(torch.full((2, 2), 0.9))
    torch.testing.assert_close(kept, first)
    torch.testing.assert_close(step.observations["actor"], seen)
    torch.testing.assert_close(step.terminated, terminated)
    torch.testing.assert_close(env.rewards()[:, 0], torch.tensor([1 - 0.09, 1 - 1.44]))
    assert len(env.rewards()) == len(env.ended().rows) == 0


@pytest.mark.parametrize("name", ["Late", "AtOnce"])
def test_reset_begins_an_episode_everywhere(name):
    env = environment(name)
    before = env.observations["actor"][:, 0]
    play(env, [0.0, 0.0], 3)
    seen = env.reset()["actor"]
    assert (seen[:, 0] > before).all()
    assert seen[:, 1].tolist() == [1.0 if name == "AtOnce" else 0.0] * 2  # the step that reset() takes is an episode's, or begins one
    assert len(env.rewards()) == 0


def test_the_score_is_the_mean_return_of_the_episodes_that_ended():
    env = environment("AtOnce")
    assert "score" not in env.statistics()
    _, _, _, rewards = play(env, [0.5, 0.1], 8)
    expected = (rewards[:4, 0].sum() + rewards[:8, 1].sum()) / 2
    figures = env.statistics()
    assert figures["score"] == pytest.approx(expected.item(), rel=1e-5)
    assert (figures["episodes"], figures["episode/length"]) == (2.0, 6.0)
    assert env.statistics() == {"episodes": 0.0, "score": figures["score"], "episode/return": figures["score"]}


def test_actions_are_clipped_to_what_the_task_and_rl_games_clip_to():
    env = environment("Late")
    assert isinstance(env.spaces.action, ActionSpace)
    assert env.spaces.action.high.tolist() == [1.0, 1.0]
    assert env.step(torch.full((2, 2), 7.0)).observations["actor"][0, 2] == 1.0
    small = engine().VecTask(1)
    small.clip_actions = 0.25
    assert IsaacGymEnvironment(small, "small", 0.02).spaces.action.low.tolist() == [-0.25, -0.25]


def test_what_is_no_number_is_said():
    env = environment("Late")
    env.step(torch.full((2, 2), torch.nan))
    with pytest.raises(NotFiniteError, match="Learning has diverged"):
        env.rewards()
    env = environment("Late")
    env._task.pay = lambda: env._task.rew_buf.fill_(torch.inf)
    env.step(torch.zeros(2, 2))
    with pytest.raises(NotFiniteError, match="Late gave it"):
        env.rewards()


def test_a_task_that_waits_to_be_restarted_is_refused():
    env = environment("Waits")
    play(env, [0.0, 0.0], 7)
    with pytest.raises(InputError, match="reset_done"):
        play(env, [0.0, 0.0], 3)


@pytest.fixture
def installed(monkeypatch):
    """The stand-in where the engine's process finds it."""
    monkeypatch.setenv("PYTHONPATH", str(ENGINE))
    monkeypatch.delenv(isaac_process.PYTHON, raising=False)


def test_through_a_process_of_its_own_a_task_is_what_it_is_here(installed):
    here, there = environment("AtOnce", 3), isaac_process.make("AtOnce", 3, seed=1)
    try:
        assert there.step_seconds == pytest.approx(0.02)
        for a, b in zip(*(play(env, [0.5, 0.1, -3.0], 20) for env in (here, there)), strict=True):
            if isinstance(a, torch.Tensor):
                torch.testing.assert_close(a, b)
        assert here.statistics() == there.statistics()
        there.seed(3)
        assert there._task.episode() == {"rew_torques": -0.5}
    finally:
        there.close()
    assert there._task._process.poll() == 0


def test_without_the_engine_one_error_says_where_it_is_from(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(InputError, match=r"No module named 'isaacgym'.*developer\.nvidia\.com/isaac-gym.*ISAACGYM_PYTHON"):
        isaac_process.make("Anymal", 2, seed=1)
    monkeypatch.setenv(isaac_process.PYTHON, "/nowhere/python3.8")
    with pytest.raises(InputError, match="a Python interpreter"):
        isaac_process.make("Anymal", 2, seed=1)


def test_the_memory_that_both_share_has_no_name_that_a_kill_could_leave(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nls /dev/shm | grep -c isaacgym\nls -l /proc/self/fd | grep -c memfd:isaacgym\n")
    python.chmod(0o755)
    monkeypatch.setenv("ISAACGYM_PYTHON", str(python))
    with pytest.raises(BrokenEnvironmentError, match="It said: 0 1"):
        isaac_process.make("Any", 2, 0)


def test_the_engines_side_is_written_for_its_old_python_and_needs_nothing_of_ours():
    tree = ast.parse(Path(isaac_worker.__file__).read_text(), feature_version=(3, 7))
    imported = {name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported <= {"json", "mmap", "os", "sys", "traceback", "numpy", "torch", "isaacgym", "isaacgymenvs"}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]


def settings(*words):
    return compose("train", ["env=isaacgym:AtOnce", "algorithm=ppo_gymnasium", "algorithm.num_envs=8", "algorithm.steps=16",
                             "algorithm.minibatches=4", "algorithm.epochs=4", "iterations=2", "seed=1", *words])  # fmt: skip


def test_ppo_learns_on_a_task():
    config = check(TrainSettings, settings("algorithm.learning_rate=3e-3", "algorithm.initial_std=0.5", "iterations=25"))
    env = environment("Late", 8)
    learner, scores = algorithm(config, env), []
    for _ in range(25):
        learner.iterate()
        scores.append(env.statistics().get("score", 0.0))
    with torch.inference_mode():
        action = learner.actor(env.observations["actor"])[:, 0]
    assert (
        action + 0.3
    ).abs().mean() < 0.2  # from 0.3 at first: a step pays 1 - (action + 0.3)^2, and above 0.4 an episode ends in its fifth
    assert sum(scores[-3:]) > 1.1 * sum(scores[1:4])


def test_a_run_trains_resumes_and_names_its_last_good_checkpoint(installed, tmp_path):
    folder = tmp_path / "run"
    done, _ = start(check(TrainSettings, settings(f"run={folder}")), lambda _: Silent(), print)
    assert done.env._task._process.poll() == 0  # it has ended with the training
    first = checkpoint.load(folder / "last.pt")
    assert first["environment"]["identity"] == "AtOnce"
    more, _ = resume(str(folder), {"resume": str(folder), "iterations": 3}, lambda _: Silent(), print)
    assert more.iteration == 3


def test_an_engine_that_dies_is_quoted_with_the_last_good_checkpoint(installed, tmp_path):
    with pytest.raises(BrokenEnvironmentError, match=r"Segmentation fault.*last\.pt"):
        start(check(TrainSettings, settings("env=isaacgym:Dies", f"run={tmp_path / 'run'}")), lambda _: Silent(), print)
    assert checkpoint.load(tmp_path / "run" / "last.pt")["iteration"] == 1


def test_an_engine_that_is_stopped_is_not_waited_for_for_ever_and_is_ended(installed, monkeypatch):
    monkeypatch.setattr(channel, "LOOK", 0.05)
    env = isaac_process.make("Late", 2, 0)
    process = env._task._process
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(BrokenEnvironmentError, match="stands still: stopped by a signal"):
        env.step(torch.zeros(2, 2))
    env.close()
    assert process.poll() == -signal.SIGKILL


def test_a_kind_of_environment_that_is_not_known_is_refused():
    with pytest.raises(InputError, match="isaacgym:TASK"):
        check(TrainSettings, settings() | {"env": "isaaclab:Anymal"})


class OnMeta:
    """A task on a device without values, where any look at one from the host fails."""

    num_envs, num_obs, num_states, num_acts, clip_actions, max_episode_length = 4, 3, 5, 2, 1.0, 9
    progress_buf = torch.zeros(4, dtype=torch.long, device="meta")

    def step(self, actions):
        seen = {"obs": torch.zeros(4, 3, device="meta"), "states": torch.zeros(4, 5, device="meta")}
        zero = torch.zeros(4, dtype=torch.long, device="meta")
        return seen, zero.float(), zero, {"time_outs": zero}

    def reset_idx(self, env_ids):
        pass


def test_a_step_waits_for_no_device():
    env = IsaacGymEnvironment(OnMeta(), "meta", 0.02, "meta")
    for _ in range(3):
        step = env.step(torch.zeros(4, 2, device="meta"))
    assert step.truncated.device.type == step.observations["critic"].device.type == "meta"
