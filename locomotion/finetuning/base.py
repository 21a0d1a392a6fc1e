"""The policy that fine-tuning begins from, and never leaves far: a checkpoint's actor and critic, their tied weights written out.

A trained policy commutes with the robot's mirror. A robot with one weak leg does not, so what learns on it must not either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import robots
from locomotion import build, plugins
from locomotion.environment import Spaces
from locomotion.models.actor_critic import Actor, Critic, make_critic
from locomotion.models.policy import Policy
from locomotion.runs import checkpoint
from locomotion.runs.train import refuse_other_robot
from locomotion.schema import check, merge, plain
from locomotion.settings import TrainSettings
from locomotion.task.actions import ActionDecoder
from locomotion.task.observations import Encoder
from robots import Robot
from robots.errors import InputError


@dataclass(frozen=True)
class Base:
    """A policy and its critic, on the CPU. ``state`` is the checkpoint, its configuration and weights those of plain networks."""

    state: dict[str, Any]
    settings: TrainSettings
    robot: Robot
    encoder: Encoder
    decoder: ActionDecoder
    spaces: Spaces
    actor: Actor
    critic: Critic

    def policy(self, actor: Actor) -> Policy:
        """As it acts and is exported, without exploration."""
        return Policy(self.encoder, actor, self.decoder).eval()

    def checkpoint(self, actor: Actor, critic: Critic, steps: int) -> dict[str, Any]:
        """Of a policy that began here: as a run's, so that everything that takes one takes it. ``steps`` were made on the robot."""
        curricula = self.state.get("environment", {}).get("curricula")
        levels = {} if curricula is None else {"environment": {"curricula": curricula}}
        learner = {"actor": actor.state_dict(), "critic": critic.state_dict()}
        return {**self.state, "steps": self.state["steps"] + steps, "learner": learner, **levels}

    def new_actor(self, state: dict[str, Any]) -> Actor:
        actor = build.actor(self.settings, self.spaces, state)
        assert isinstance(actor, Actor)
        return actor

    def new_critic(self, state: dict[str, Any]) -> Critic:
        critic = make_critic(self.spaces, self.settings.algorithm["critic_hidden"], False, _generator())
        critic.load_state_dict(state)
        return critic


def load(path: str, robot: str | None = None) -> Base:
    """The base of a run folder or checkpoint. ``robot`` is the one that stands there, where that is known.

    Raises InputError for what cannot be fine-tuned: a policy of another robot, without a critic, with a memory of its own, of choices.
    """
    source = checkpoint.find(path, "policy")
    state = checkpoint.load(source)
    config = state["config"]
    if config.get("env") is not None:
        raise InputError("policy", str(source), "a policy of a robot", f"This one is of {config['env']}.")
    if robot is not None and robot != config["robot"]:
        raise InputError("policy", str(source), f"a policy of {robot}", f"This one is of {config['robot']}.")
    refuse_other_robot(state, "policy")
    plugins.load(config["plugins"])
    settings = check(TrainSettings, config)
    build.policy(settings, state["learner"]["actor"])  # what no robot can run is refused here
    _refuse(source, state, settings)
    spaces = build.modules(settings)[2]
    trained = build.actor(settings, spaces, state["learner"]["actor"])
    critic = make_critic(spaces, settings.algorithm["critic_hidden"], settings.algorithm.get("symmetric", False), _generator())
    critic.load_state_dict(state["learner"]["critic"])
    tied = {"actor": trained, "critic": critic}
    config = merge(plain(settings), {"algorithm": {"symmetric": False}})
    settings = check(TrainSettings, config)
    learner = {name: _untied(module) for name, module in tied.items()}
    encoder, decoder, spaces = build.modules(settings)
    kept = {key: state[key] for key in ("provenance", "iteration", "steps")}
    curricula = {"environment": {"curricula": state["environment"]["curricula"]}} if "environment" in state else {}
    whole = {"config": config, **kept, **curricula, "learner": learner}
    actor = build.actor(settings, spaces, learner["actor"])
    assert isinstance(actor, Actor)
    plain_critic = make_critic(spaces, settings.algorithm["critic_hidden"], False, _generator())
    plain_critic.load_state_dict(learner["critic"])
    return Base(whole, settings, robots.load(settings.robot), encoder, decoder, spaces, actor, plain_critic)


def _refuse(source: Path, state: dict[str, Any], settings: TrainSettings) -> None:
    learner, remedy = state["learner"], "Use last.pt or best.pt of a run of 'locomotion train', not one of its checkpoints/."
    if "critic" not in learner or "critic_hidden" not in settings.algorithm:
        raise InputError("policy", str(source), "a checkpoint with a critic, which says what a step was worth", remedy)
    if learner["actor"].get("log_std_parameter") is None:
        raise InputError("policy", str(source), "a checkpoint of a Gaussian policy, whose spread is its exploration", remedy)
    if settings.algorithm.get("memory"):
        raise InputError("policy", str(source), "a policy without a memory of its own", "Train one with algorithm.memory=0.")


def _untied(module: Any) -> dict[str, Any]:
    """The state of the plain network that computes the same."""
    state = {key: value.clone() for key, value in module.state_dict().items() if not key.startswith("network.")}
    for i, (weight, bias) in enumerate(module.network.layers()):
        state |= {f"network.{2 * i}.weight": weight.detach().clone(), f"network.{2 * i}.bias": bias.detach().clone()}
    if "log_std_parameter" in state:
        state["log_std_parameter"] = module.log_std.detach().clone()
    return state


def _generator() -> Any:
    import torch

    return torch.Generator().manual_seed(0)
