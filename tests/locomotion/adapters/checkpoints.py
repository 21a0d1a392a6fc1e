"""Checkpoints as rl_games and rsl_rl write them, with what their own networks compute: the libraries' where they are installed."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Made = tuple[dict[str, Any], Callable[[Tensor], Tensor]]  # a checkpoint, and the mean action of an observation
UNITS = [16, 12, 8]
ACTIVATIONS = {
    "elu": nn.ELU, "relu": nn.ReLU, "selu": nn.SELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "lrelu": nn.LeakyReLU, "softplus": nn.Softplus,
}  # fmt: skip


def _stack(sizes: list[int], activation: str) -> nn.Sequential:
    """Linear layers with an activation after each."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def _named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in module.state_dict().items()}


def _statistics(width: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of an observation that has been trained on; one part hardly moves."""
    variance = torch.rand(width, dtype=torch.float64) + 0.05
    variance[1] = 1e-6
    return torch.randn(width, dtype=torch.float64), variance


def rl_games(width: int, acted: int, activation: str = "elu", normalised: bool = True) -> Made:
    """As rl_games 1.1 to 1.6 of a2c_continuous with mlp units, no rnn."""
    trunk, mu, value = _stack([width, *UNITS], activation), nn.Linear(UNITS[-1], acted), nn.Linear(UNITS[-1], 1)
    mean, variance = _statistics(width)
    model = {
        "value_mean_std.running_mean": torch.zeros(1, dtype=torch.float64),
        "value_mean_std.running_var": torch.ones(1, dtype=torch.float64),
        "value_mean_std.count": torch.ones((), dtype=torch.float64),
        "a2c_network.sigma": torch.zeros(acted),
        **_named("a2c_network.actor_mlp", trunk), **_named("a2c_network.mu", mu), **_named("a2c_network.value", value),
    }  # fmt: skip
    if normalised:
        count = torch.ones((), dtype=torch.float64)
        model |= {"running_mean_std.running_mean": mean, "running_mean_std.running_var": variance, "running_mean_std.count": count}

    def act(observation: Tensor) -> Tensor:
        if normalised:
            observation = ((observation - mean.float()) / torch.sqrt(variance.float() + 1e-5)).clamp(-5.0, 5.0)
        return mu(trunk(observation))

    entries = {"epoch": 3, "frame": 12288, "optimizer": {"state": {}, "param_groups": []}, "last_mean_rewards": np.float32(7.5)}
    return {"model": model, **entries, "env_state": None}, act


def rsl_rl(version: int, width: int, acted: int, activation: str = "elu", normalised: bool = True) -> Made:
    """As rsl_rl 1 (legged_gym's), 2, 3 and 5."""
    net = nn.Sequential(*_stack([width, *UNITS], activation), nn.Linear(UNITS[-1], acted))
    critic = nn.Sequential(*_stack([width, *UNITS], activation), nn.Linear(UNITS[-1], 1))
    mean, variance = (figures.float()[None] for figures in _statistics(width))
    statistics = {"_mean": mean, "_var": variance, "_std": variance.sqrt(), "count": torch.tensor(9)}
    rest = {"optimizer_state_dict": {"state": {}, "param_groups": []}, "iter": 3, "infos": None}
    normalised = normalised and version > 1
    if version == 5:
        actor = {"distribution.std_param": torch.ones(acted), **_named("mlp", net)}
        if normalised:
            actor |= {f"obs_normalizer.{key}": value for key, value in statistics.items()}
        state = {"actor_state_dict": actor, "critic_state_dict": _named("mlp", critic), **rest}
    else:
        model = {"std": torch.ones(acted), **_named("actor", net), **_named("critic", critic)}
        if normalised and version == 3:
            model |= {f"actor_obs_normalizer.{key}": value for key, value in statistics.items()}
        state = {"model_state_dict": model, **rest}
        if normalised and version == 2:
            state["obs_norm_state_dict"] = statistics

    def act(observation: Tensor) -> Tensor:
        return net((observation - mean) / (variance.sqrt() + 1e-2) if normalised else observation)

    return state, act


def library_rl_games(width: int, acted: int, activation: str = "elu", normalised: bool = True, **network: Any) -> Made:
    """Of rl_games itself."""
    from rl_games.algos_torch.model_builder import ModelBuilder

    space = {"mu_activation": "None", "sigma_activation": "None", "mu_init": {"name": "default"}, "fixed_sigma": True}
    mlp = {"units": UNITS, "activation": activation, "d2rl": False, "initializer": {"name": "default"}, "regularizer": {"name": "None"}}
    initial = {"sigma_init": {"name": "const_initializer", "val": 0.0}}
    settings = {"name": "actor_critic", "separate": False, "space": {"continuous": space | initial}, "mlp": mlp, **network}
    with contextlib.redirect_stdout(io.StringIO()):
        model = (
            ModelBuilder()
            .load({"model": {"name": "continuous_a2c_logstd"}, "network": settings})
            .build(
                {
                    "actions_num": acted, "input_shape": (width,), "num_seqs": 1, "value_size": 1, "normalize_value": True,
                    "normalize_input": normalised,
                }
            )
        )  # fmt: skip
    if normalised:
        mean, variance = _statistics(width)
        model.running_mean_std.load_state_dict(
            {"running_mean": mean, "running_var": variance, "count": torch.ones((), dtype=torch.float64)}
        )
    model.eval()

    def act(observation: Tensor) -> Tensor:
        return model({"is_train": False, "prev_actions": None, "obs": observation.clone(), "rnn_states": None})["mus"]

    return {"model": model.state_dict(), "epoch": 1, "last_mean_rewards": np.float64(1.0), "optimizer": {}}, act


def library_rsl_rl(width: int, acted: int, activation: str = "elu", normalised: bool = True) -> Made:
    """Of rsl_rl itself."""
    from rsl_rl.models import MLPModel
    from tensordict import TensorDict

    given = TensorDict({"policy": torch.zeros(1, width)}, batch_size=[1])
    distribution = {"class_name": "GaussianDistribution", "init_std": 1.0, "std_type": "scalar"}
    model = MLPModel(given, {"actor": ["policy"]}, "actor", acted, tuple(UNITS), activation, normalised, distribution)
    if normalised:
        mean, variance = (figures.float()[None] for figures in _statistics(width))
        model.obs_normalizer.load_state_dict({"_mean": mean, "_var": variance, "_std": variance.sqrt(), "count": torch.tensor(9)})
    model.eval()
    state = {"actor_state_dict": model.state_dict(), "critic_state_dict": {}, "optimizer_state_dict": {}, "iter": 1, "infos": None}
    return state, lambda observation: model(TensorDict({"policy": observation}, batch_size=[len(observation)]))
