"""A Gymnasium environment inside: true last observations, time limits apart from ends, and an exact continuation."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from locomotion.adapters import outside
from locomotion.adapters.gymnasium_environment import GymnasiumEnvironment
from locomotion.adapters.outside import returns
from locomotion.build import algorithm
from locomotion.config import compose
from locomotion.environment import ActionSpace, BrokenEnvironmentError, DiscreteActions, NotFiniteError
from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from tests.locomotion.runs.test_checkpoint import Silent, assert_same


class Counter(gymnasium.Env):
    """Counts its steps; ends at 5 where the action is positive there, and is cut off at 7."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-0.5, 0.5, (1,), np.float32)
    broken_reward = False
    noise = None  # a generator that no seed determines

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.offset = 0, self.np_random.integers(1000)
        return self.see(), {}

    def see(self):
        more = self.noise.random() if self.noise else 0.0
        return np.array([self.count, self.offset + more], dtype=np.float64)

    def step(self, action):
        self.count += 1
        reward = float("nan") if self.broken_reward else 10.0 * float(action[0]) + 1.0
        return self.see(), reward, self.count == 5 and action[0] > 0, self.count >= 7, {}


class Odd(Counter):
    action_space = spaces.MultiBinary(3)


class Unbounded(Counter):
    action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


for entry in (Counter, Odd, Unbounded):
    gymnasium.register(f"{entry.__name__}-v0", entry_point=entry)


def play(env: GymnasiumEnvironment, action: float, steps: int) -> list:
    return [env.step(torch.full((env.num_envs, 1), action)) for _ in range(steps)]


def test_an_end_and_a_cut_are_told_apart_and_leave_the_true_last_observation():
    env = GymnasiumEnvironment("Counter-v0", 2, seed=1)
    first = env.observations["actor"].clone()
    assert first[0, 1] != first[1, 1]  # episodes have seeds of their own
    transitions = [env.step(torch.tensor([[0.1], [-0.1]])) for _ in range(7)]
    terminated, truncated = (torch.stack([getattr(t, name) for t in transitions]) for name in ("terminated", "truncated"))
    assert terminated.nonzero().tolist() == [[4, 0]]
    assert truncated.nonzero().tolist() == [[6, 1]]
    ended = env.ended()
    assert ended.steps.tolist() == [4, 6]
    assert ended.rows.tolist() == [0, 1]
    torch.testing.assert_close(
        ended.observations["critic"], torch.stack([torch.tensor([5.0, first[0, 1]]), torch.tensor([7.0, first[1, 1]])])
    )
    assert transitions[4].observations["actor"][0, 0] == 0.0  # of the next episode
    reward = env.rewards()
    torch.testing.assert_close(reward, torch.tensor([[2.0, 0.0]]).expand(7, 2))
    assert len(env.rewards()) == len(env.ended().rows) == 0
    assert env.statistics()["score"] == pytest.approx((10.0 + 0.0) / 2)
    assert env.statistics()["score"] == pytest.approx(5.0)  # of the newest episodes there were


def test_actions_are_clipped_to_their_bounds():
    env = GymnasiumEnvironment("Counter-v0", 1, seed=1)
    play(env, 3.0, 1)
    play(env, -3.0, 1)
    assert env.rewards().flatten().tolist() == [6.0, -4.0]


def test_a_state_is_come_back_to_exactly():
    env, other = (GymnasiumEnvironment("InvertedPendulum-v5", 3, seed=seed) for seed in (1, 2))
    generator = torch.Generator().manual_seed(0)
    actions = torch.randn(60, 3, 1, generator=generator)
    for action in actions[:30]:
        env.step(action)
    env.rewards(), env.statistics()
    other.load_state_dict(env.state_dict())
    for action in actions[30:]:
        assert torch.equal(env.step(action).observations["actor"], other.step(action).observations["actor"])
    assert torch.equal(env.rewards(), other.rewards())
    assert env.statistics() == other.statistics()


def test_an_environment_that_its_seed_does_not_determine_is_refused(monkeypatch):
    monkeypatch.setattr(Counter, "noise", np.random.default_rng())
    env = GymnasiumEnvironment("Counter-v0", 1, seed=1)
    with pytest.raises(InputError, match=r"resume.*seed and the actions determine"):
        env.load_state_dict(env.state_dict())


def test_a_reward_that_is_no_number_is_an_error(monkeypatch):
    monkeypatch.setattr(Counter, "broken_reward", True)
    env = GymnasiumEnvironment("Counter-v0", 1, seed=1)
    play(env, 0.0, 1)
    with pytest.raises(NotFiniteError, match="reward"):
        env.rewards()
    with pytest.raises(NotFiniteError, match="action"):
        play(env, float("nan"), 1)


@pytest.mark.parametrize(
    ("identity", "words"), [("Nothing-v0", "Gymnasium knows"), ("Odd-v0", "Box .* finite bounds"), ("Unbounded-v0", "finite bounds")]
)
def test_what_cannot_be_learned_on_is_refused_by_name(identity, words):
    with pytest.raises(InputError, match=words):
        GymnasiumEnvironment(identity, 1, seed=1)


def test_choices_and_dictionaries_of_observations():
    env = GymnasiumEnvironment("FrozenLake-v1", 2, seed=1)  # a Discrete observation becomes one-hot
    assert env.spaces.action == DiscreteActions(4)
    assert env.spaces.groups["actor"] == 16
    assert env.observations["actor"].sum(-1).tolist() == [1.0, 1.0]
    env.step(torch.tensor([0, 3]))
    env.rewards()
    again = GymnasiumEnvironment("FrozenLake-v1", 2, seed=3)
    again.load_state_dict(env.state_dict())
    assert torch.equal(again.observations["actor"], env.observations["actor"])


def test_returns_are_of_one_episode_each():
    class Constant(torch.nn.Module):
        def forward(self, observation):
            return torch.full((len(observation), 1), -0.1)

    np.testing.assert_allclose(returns(GymnasiumEnvironment("Counter-v0", 3, seed=0), Constant()), 0.0, atol=1e-6)  # 7 steps of 0
    np.testing.assert_allclose(returns(GymnasiumEnvironment("Counter-v0", 3, seed=0), torch.nn.Linear(2, 1).apply(_five)), 5 * 6.0)


def _five(layer: torch.nn.Linear) -> None:
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(layer.bias, 5.0)  # clipped to 0.5: six a step, and the end at the fifth


def settings(path, *words: str) -> TrainSettings:
    from locomotion.config import compose

    small = ["algorithm.num_envs=2", "algorithm.steps=16", "algorithm.minibatches=2", "algorithm.epochs=2", "score_every=2"]
    common = ["env=gymnasium:InvertedPendulum-v5", "algorithm=ppo_gymnasium", f"run={path}", *small, *words]
    return check(TrainSettings, compose("train", common))


def test_a_resumed_run_equals_one_that_never_stopped(tmp_path):
    whole = start(settings(tmp_path / "whole", "iterations=4"), lambda _: Silent(), print)[0]
    with pytest.raises(KeyboardInterrupt):
        start(settings(tmp_path / "cut", "iterations=4"), lambda _: Silent(2), print)
    resume(str(tmp_path / "cut"), {"resume": str(tmp_path / "cut")}, lambda _: Silent(), print)
    assert whole.iteration == 4
    a, b = (checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "cut"))
    assert_same(a["learner"], b["learner"])
    assert_same(a["environment"], b["environment"])
    assert a["best_score"] == b["best_score"]


def test_an_algorithm_meets_actions_of_the_wrong_kind(tmp_path):
    wrong = check(TrainSettings, compose("train", ["env=gymnasium:CartPole-v1", "algorithm=sac", "algorithm.num_envs=2"]))
    with pytest.raises(InputError, match=r"algorithm\.name.*choices"):
        algorithm(wrong, GymnasiumEnvironment("CartPole-v1", 2, seed=1))
    algorithm(settings(tmp_path / "x", "env=gymnasium:CartPole-v1"), GymnasiumEnvironment("CartPole-v1", 2, seed=1))  # PPO takes both
    with pytest.raises(InputError, match=r"algorithm\.name.*continuous"):
        GymnasiumEnvironment("Counter-v0", 1, seed=1).spaces.discrete("dqn")
    assert isinstance(GymnasiumEnvironment("Counter-v0", 1, seed=1).spaces.continuous("ppo"), ActionSpace)


class Broken(Counter):
    """Fails as ``how`` says: in a call of that name, or by what it gives."""

    def __init__(self, how="", action=None):
        self.how, self.action_space = how, action or self.action_space
        if how == "make":
            raise ValueError("no licence\nfor it")

    def see(self):
        given = super().see()
        return {"nan": given * np.nan, "short": given[:1], "nothing": None}.get(self.how, given) if self.count == 2 else given

    def reset(self, *, seed=None, options=None):
        given = super().reset(seed=seed)
        if self.how == "reset":
            raise OSError("no display")
        return given[0] if self.how == "old_reset" else given

    def step(self, action):
        given = super().step(action)
        if self.how == "step" and self.count == 2:
            raise RuntimeError("it has\ncrashed")
        if self.how == "exit" and self.count == 2:
            raise SystemExit(3)
        return given[:4] if self.how == "old_step" else (given[0], "much", *given[2:]) if self.how == "reward" else given

    def close(self):
        if self.how == "close":
            raise RuntimeError("still open")


gymnasium.register("Broken-v0", entry_point=Broken)


@pytest.mark.parametrize("how", ["make", "reset", "old_reset", "step", "exit", "old_step", "short", "nothing", "reward", "close"])
def test_what_an_environment_raises_is_told_in_one_line_with_the_place(monkeypatch, how):
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: Broken(how))

    def use():
        env = GymnasiumEnvironment("Broken-v0", 1, 0)
        play(env, 0.1, 3)
        env.close()

    with pytest.raises(BrokenEnvironmentError, match=r"gymnasium:Broken-v0.*(Error|Exit): .*\.py:\d+") as caught:
        use()
    assert "\n" not in str(caught.value)


def test_an_observation_that_is_no_number_is_the_environments_and_not_learning_that_diverged(monkeypatch):
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: Broken("nan"))
    env = GymnasiumEnvironment("Broken-v0", 2, 0)
    with pytest.raises(NotFiniteError, match=r"observation.*Broken-v0 gave it"):
        play(env, 0.1, 3)


def test_a_crash_in_training_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    words = ["env=gymnasium:Counter-v0", "algorithm=ppo_gymnasium", "algorithm.num_envs=2", "algorithm.steps=8", "algorithm.minibatches=2"]
    settings = check(TrainSettings, compose("train", [*words, "iterations=2", "score_every=0", f"run={tmp_path / 'run'}"]))
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: Broken("step"))
    with pytest.raises(BrokenEnvironmentError, match="There is no good checkpoint"):
        start(settings, lambda _: Silent(), print)


def test_an_environment_of_nothing_is_refused(monkeypatch):
    made = Broken(action=spaces.Box(-1, 1, (0,), np.float32))
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: made)
    with pytest.raises(InputError, match="actions"):
        GymnasiumEnvironment("Broken-v0", 1, 0)
    made = Broken()
    made.observation_space = spaces.Box(-1, 1, (0,), np.float32)
    with pytest.raises(InputError, match="observations"):
        GymnasiumEnvironment("Broken-v0", 1, 0)


def test_an_episode_without_an_end_is_scored_as_far_as_it_goes(monkeypatch):
    class Endless(Counter):
        def step(self, action):
            return self.see(), 1.0, False, False, {}

    monkeypatch.setattr(outside, "LONGEST", 12)
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: Endless())
    np.testing.assert_array_equal(returns(GymnasiumEnvironment("Endless-v0", 3, 0), torch.nn.Linear(2, 1)), 12.0)


def test_there_is_no_score_before_an_episode_has_ended(tmp_path):
    run = start(settings(tmp_path / "run", "env=gymnasium:Pendulum-v1", "iterations=1", "score_every=0"), lambda _: Silent(), print)[0]
    assert run.score is None
    env = GymnasiumEnvironment("Pendulum-v1", 1, seed=1)
    assert "score" not in env.statistics()
