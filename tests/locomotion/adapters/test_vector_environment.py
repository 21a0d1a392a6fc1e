"""A vector environment inside: whichever way it begins episodes, a learner is told the same, and from Python in a line."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from locomotion.adapters.learn import learn
from locomotion.adapters.vector_environment import VectorEnvironment, make
from locomotion.environment import BrokenEnvironmentError, NotFiniteError
from locomotion.runs import checkpoint
from robots.errors import InputError
from tests.locomotion.adapters.test_gymnasium_environment import Counter
from tests.locomotion.runs.test_checkpoint import assert_same

MODES = list(AutoresetMode)  # SyncVectorEnv's own is NEXT_STEP
SMALL = ["algorithm=ppo_gymnasium", "algorithm.steps=16", "algorithm.minibatches=2", "algorithm.epochs=2", "iterations=3", "threads=1"]


class Nested(Counter):
    """Counter, whose observation is a dictionary."""

    observation_space = spaces.Dict(
        {"pair": spaces.Box(-np.inf, np.inf, (2, 1)), "which": spaces.Discrete(3, start=1), "rest": spaces.Tuple([spaces.MultiBinary(2)])}
    )

    def see(self):
        pair = super().see().astype(np.float32).reshape(2, 1)
        return {"pair": pair, "which": 1 + self.count % 3, "rest": (np.array([1, self.count % 2], dtype=np.int8),)}


@pytest.mark.parametrize("mode", MODES)
def test_an_end_and_a_cut_are_told_apart_and_leave_the_true_last_observation(mode):
    env = VectorEnvironment(SyncVectorEnv([Counter, Counter], autoreset_mode=mode), seed=1)
    offset = env.observations["actor"][:, 1].clone()
    transitions = [env.step(torch.tensor([[0.1], [-0.1]])) for _ in range(7)]
    terminated, truncated = (torch.stack([getattr(t, name) for t in transitions]) for name in ("terminated", "truncated"))
    assert terminated.nonzero().tolist() == [[4, 0]]
    assert truncated.nonzero().tolist() == [[6, 1]]
    ended = env.ended()
    assert ended.steps.tolist() == [4, 6]
    assert ended.rows.tolist() == [0, 1]
    assert ended.observations["critic"].tolist() == [[5.0, offset[0]], [7.0, offset[1]]]
    assert transitions[4].observations["actor"][0, 0] == 0.0  # of the next episode
    assert transitions[4].observations["actor"][1, 0] == 5.0
    torch.testing.assert_close(env.rewards(), torch.tensor([[2.0, 0.0]]).expand(7, 2))
    assert env.statistics() == {"episodes": 2.0, "episode/length": 6.0, "score": pytest.approx(5.0), "episode/return": pytest.approx(5.0)}


@pytest.mark.parametrize("shared", [True, False])
def test_gymnasiums_processes_begin_rows_anew_where_their_memory_is_shared(shared):
    processes = AsyncVectorEnv([Counter, Counter], shared_memory=shared)  # NEXT_STEP
    if not shared:  # there a worker begins a row anew in the next step, too, whoever has done it before
        with pytest.raises(InputError, match="shared memory"):
            VectorEnvironment(processes, seed=1)
        processes.close()
        return
    env = VectorEnvironment(RecordEpisodeStatistics(processes), seed=1)
    seen = [env.step(torch.tensor([[0.1], [-0.1]])).observations["actor"][:, 0].tolist() for _ in range(8)]
    assert seen == [[1, 1], [2, 2], [3, 3], [4, 4], [0, 5], [1, 6], [2, 0], [3, 1]]
    assert env.ended().observations["actor"][:, 0].tolist() == [5.0, 7.0]
    env.close()


class Both(Counter):
    """An end and a cut in the same step."""

    def step(self, action):
        seen, reward, *_ = super().step(action)
        return seen, reward, self.count == 2, self.count == 2, {}


@pytest.mark.parametrize("mode", MODES)
def test_what_ended_was_not_cut_off(mode):
    env = VectorEnvironment(SyncVectorEnv([Both], autoreset_mode=mode), seed=1)
    flags = [env.step(torch.zeros(1, 1))[1:] for _ in range(2)]
    assert [(bool(terminated), bool(truncated)) for terminated, truncated in flags] == [(False, False), (True, False)]


@pytest.mark.parametrize("mode", MODES)
def test_observations_are_laid_out_as_gymnasium_flattens_one(mode):
    env = VectorEnvironment(SyncVectorEnv([Nested] * 3, autoreset_mode=mode), seed=1)
    one, seen = Nested(), []
    one.reset(seed=0)
    for count in range(1, 8):
        one.step([-0.1])
        env.step(torch.full((3, 1), -0.1))
        expected = spaces.flatten(one.observation_space, one.see())
        got = env.observations["actor"][1] if count < 7 else env.ended().observations["actor"][1]
        columns = [i for i in range(len(expected)) if i != 1]  # there is a random offset
        seen.append((got.numpy()[columns], expected[columns]))
    for got, expected in seen:
        np.testing.assert_array_equal(got, expected)


def test_actions_are_clipped_to_their_bounds_and_choices_handed_on():
    env = VectorEnvironment(SyncVectorEnv([Counter], autoreset_mode=MODES[0]), seed=1)
    env.step(torch.tensor([[3.0]]))
    env.step(torch.tensor([[-3.0]]))
    assert env.rewards().flatten().tolist() == [6.0, -4.0]
    lake = make("gymnasium_vec:FrozenLake-v1", 2, 1)  # Gymnasium's own loop, begun anew in the same step
    assert lake.observations["actor"].sum(-1).tolist() == [1.0, 1.0]
    lake.step(torch.tensor([0, 3]))
    with pytest.raises(NotFiniteError, match="action"):
        env.step(torch.tensor([[float("nan")]]))


@pytest.mark.parametrize(
    ("name", "words"), [("CartPole-v1", "NEXT_STEP.*SAME_STEP"), ("Nothing-v0", "Gymnasium knows"), ("Odd-v0", "Box .* finite bounds")]
)
def test_what_cannot_be_learned_on_is_refused_by_name(name, words):
    with pytest.raises(InputError, match=words):
        make(f"gymnasium_vec:{name}", 2, 1)


def test_what_it_raises_is_told_in_one_line():
    class Short(SyncVectorEnv):
        def step(self, actions):
            return (*super().step(actions)[:1], [0.0], [False], [False], {})

    env = VectorEnvironment(Short([Counter] * 2, autoreset_mode=MODES[0]), seed=1)
    with pytest.raises(BrokenEnvironmentError, match=r"Short.*rewards and flags of shapes.*not \[2\]"):
        env.step(torch.zeros(2, 1))


def test_a_run_on_an_object_is_the_same_whichever_way_it_begins_episodes_and_is_not_resumed(tmp_path):
    runs = []
    for mode in MODES:
        env = SyncVectorEnv([Counter] * 3, autoreset_mode=mode)
        learn(env, *SMALL, f"run={tmp_path / mode.name}", say=lambda _: None)
        runs.append(checkpoint.load(tmp_path / mode.name / "last.pt"))
    for run in runs[1:]:
        assert_same(runs[0]["learner"], run["learner"])
        assert runs[0]["score"] == run["score"] is not None
    again = SyncVectorEnv([Counter] * 3, autoreset_mode=MODES[0])
    with pytest.raises(InputError, match=r"resume.*vector environment's cannot"):
        learn(again, f"resume={tmp_path / 'SAME_STEP'}", "iterations=5")


def test_a_run_on_a_class_is_resumed_bit_for_bit(tmp_path):
    words = [*SMALL, "algorithm.num_envs=2", "score_every=2"]
    whole, _ = learn(Counter, *words, "iterations=4", f"run={tmp_path / 'whole'}")
    learn(lambda: Counter(), *words, f"run={tmp_path / 'other'}")
    learn(Counter, *words, f"run={tmp_path / 'cut'}")
    said: list[str] = []
    resumed, folder = learn(Counter, f"resume={tmp_path / 'cut'}", "iterations=4", say=said.append)
    assert (resumed.iteration, folder) == (4, tmp_path / "cut")
    assert "after iteration 3 of 4" in said[0]
    assert_same(*(checkpoint.load(tmp_path / name / "last.pt")["learner"] for name in ("whole", "cut")))
    assert whole.env.identity == "own/Counter-v0"


@pytest.mark.parametrize("bad", [Counter(), 3])
def test_an_environment_that_is_none_names_what_is(bad, tmp_path):
    with pytest.raises(InputError, match=r"^env: .*its class"):
        learn(bad, *SMALL, f"run={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_name_of_gymnasiums_is_enough(tmp_path):
    run, _ = learn("InvertedPendulum-v5", *SMALL, "algorithm.num_envs=2", "score_every=0", f"run={tmp_path / 'run'}")
    assert run.iteration == 3
    assert gymnasium.registry["InvertedPendulum-v5"].entry_point
