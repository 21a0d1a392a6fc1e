"""Learners of other libraries learn on our environment, through the adapters."""

import pytest
import torch

from locomotion.adapters.gymnasium import make_task
from locomotion.evaluation import scorecard
from locomotion.export import export_actor
from tests.locomotion.adapters.test_neighbours import library

pytestmark = pytest.mark.slow
FORWARD = ["randomization=none", "sim.threads=0"]


def rising(rewards: list[torch.Tensor], name: str) -> None:
    """The reward a step, of all that were seen, at the end far above that of the beginning."""
    mean = torch.stack(rewards).mean(dim=1)
    early, late = (float(part.mean()) for part in (mean[: len(mean) // 10], mean[-len(mean) // 10 :]))
    print(f"{name}: reward a step {early:.4f}, at the end {late:.4f}")
    assert late > early + 0.002  # a rate of 0.1 m/s


def noting(task, monkeypatch) -> list[torch.Tensor]:
    """All rewards that ``task`` gives from now on, [N] each."""
    seen, rewards = [], task.rewards

    def noted():
        given = rewards()
        seen.extend(given)
        return given

    monkeypatch.setattr(task, "rewards", noted)
    return seen


def speed(actor: torch.nn.Module) -> float:
    """m/s forward over 6 s of 32 robots of the task ``forward``, without exploration."""
    task = make_task("unitree_go2", "forward", 32, FORWARD)
    total = 0.0
    with torch.no_grad():
        for _ in range(300):
            task.step(actor(task.observations["actor"]))
            total += float(task.simulator.signals.base_lin_vel[:, 0].mean())
    task.close()
    return total / 300


def test_stable_baselines3_learns_to_run():
    adapter = library("stable_baselines")
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    torch.manual_seed(1)
    normalize = VecNormalize(adapter.StableBaselinesEnv(make_task("unitree_go2", "forward", 64, FORWARD)), gamma=0.98)
    network = {"net_arch": [128, 128], "activation_fn": torch.nn.ELU, "log_std_init": -0.7}
    model = PPO("MlpPolicy", normalize, n_steps=32, batch_size=512, n_epochs=5, gamma=0.98, gae_lambda=0.9, seed=1, policy_kwargs=network)
    before = speed(adapter.Actor(model, normalize))
    model.learn(250_000)
    after = speed(adapter.Actor(model, normalize))
    print(f"stable-baselines3: {before:.2f} m/s, after 250,000 steps {after:.2f} m/s")
    assert abs(before) < 0.1
    assert after > 0.5


def test_the_reward_of_skrl_rises(tmp_path, monkeypatch):
    adapter = library("skrl")
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.memories.torch import RandomMemory
    from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
    from skrl.trainers.torch import SequentialTrainer

    class Actor(GaussianMixin, Model):
        def __init__(self, env):
            Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space, device="cpu")
            GaussianMixin.__init__(self)
            self.net, self.log_std = network(env.observation_space, 12), torch.nn.Parameter(torch.full((12,), -0.7))

        def compute(self, inputs, role=""):
            return self.net(inputs["observations"]), {"log_std": self.log_std}

    class Critic(DeterministicMixin, Model):
        def __init__(self, env):
            Model.__init__(self, state_space=env.state_space, action_space=env.action_space, device="cpu")
            DeterministicMixin.__init__(self)
            self.net = network(env.state_space, 1)

        def compute(self, inputs, role=""):
            return self.net(inputs["states"]), {}

    def network(space, size):
        return torch.nn.Sequential(torch.nn.Linear(space.shape[0], 64), torch.nn.ELU(), torch.nn.Linear(64, size))

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    task = make_task("unitree_go2", "forward", 64, FORWARD)
    seen, env = noting(task, monkeypatch), adapter.SkrlEnv(task)
    settings = PPO_CFG(rollouts=32, learning_epochs=4, mini_batches=4, discount_factor=0.98, gae_lambda=0.9, time_limit_bootstrap=True)
    agent = PPO(
        models={"policy": Actor(env), "value": Critic(env)}, memory=RandomMemory(memory_size=32, num_envs=64, device="cpu"), cfg=settings,
        observation_space=env.observation_space, state_space=env.state_space, action_space=env.action_space, device="cpu",
    )  # fmt: skip
    trainer = SequentialTrainer(env=env, agents=agent, cfg={"timesteps": 1600, "headless": True, "disable_progressbar": True})
    trainer.train()
    rising(seen, "skrl, 102,400 steps")


def test_the_reward_of_rl_games_rises(tmp_path, monkeypatch):
    adapter = library("rl_games")
    from rl_games.torch_runner import Runner

    monkeypatch.chdir(tmp_path)
    task = make_task("unitree_go2", "forward", 64, FORWARD)
    seen = noting(task, monkeypatch)
    adapter.register("go2", task)
    continuous = {
        "mu_activation": "None", "sigma_activation": "None", "mu_init": {"name": "default"},
        "sigma_init": {"name": "const_initializer", "val": -1.5}, "fixed_sigma": True,
    }  # fmt: skip
    mlp = {"units": [64], "activation": "elu", "initializer": {"name": "default"}, "regularizer": {"name": "None"}}
    config = {
        "name": "go2", "env_name": "go2", "num_actors": 64, "device": "cpu", "ppo": True, "mixed_precision": False, "torch_compile": False,
        "normalize_input": True, "normalize_value": True, "normalize_advantage": True, "value_bootstrap": True, "reward_shaper": {},
        "gamma": 0.98, "tau": 0.9, "learning_rate": 1e-3, "lr_schedule": None, "e_clip": 0.2, "clip_value": False, "grad_norm": 1.0,
        "truncate_grads": True, "entropy_coef": 0.0, "critic_coef": 1.0, "bounds_loss_coef": 0.0, "horizon_length": 32,
        "minibatch_size": 512, "mini_epochs": 4, "max_epochs": 50, "score_to_win": 1e9, "save_frequency": 0, "save_best_after": 10**6,
    }  # fmt: skip
    model = {"algo": {"name": "a2c_continuous"}, "model": {"name": "continuous_a2c_logstd"}}
    space = {"name": "actor_critic", "separate": True, "space": {"continuous": continuous}, "mlp": mlp}
    runner = Runner()
    runner.load({"params": {**model, "seed": 1, "network": space, "config": config, "torch_threads": 1}})
    runner.run_train({})
    rising(seen, "rl_games, 102,400 steps")


def test_rsl_rl_learns_to_run_and_our_scorecard_says_so(monkeypatch, tmp_path):
    adapter = library("rsl_rl")
    from rsl_rl.runners import OnPolicyRunner

    from benchmarks.rsl_rl import actor_of, settings

    torch.manual_seed(1)
    task = make_task("unitree_go2", "forward", 64, FORWARD)
    seen, env = noting(task, monkeypatch), adapter.RslRlEnv(task)
    runner = OnPolicyRunner(env, settings(seed=1), device="cpu")
    before = speed(actor_of(runner))
    runner.learn(200)
    after = speed(actor_of(runner))
    print(f"rsl_rl: {before:.2f} m/s, after 204,800 steps {after:.2f} m/s")
    rising(seen, "rsl_rl, 204,800 steps")
    assert abs(before) < 0.1
    assert after > 0.5
    export_actor(actor_of(runner), task, tmp_path / "policy.onnx", {"learner": "rsl_rl"})
    scores = scorecard.score_file(tmp_path / "policy.onnx", {"mujoco": 36}, task.randomization, seed=0)["scores"]["mujoco"]["nominal"]
    print("the bundle, by our scorecard:", scores)
    assert scores["forward_velocity"] > 1.0
    assert scores["fall_rate"] < 0.1
