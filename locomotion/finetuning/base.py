"""The policy that fine-tuning begins from, and never leaves far: a checkpoint's actor and critic, their tied weights written out.

A trained policy commutes with the robot's mirror. A robot with one weak leg does not, so what learns on it must not either.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

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

KEPT = ("provenance", "iteration", "steps")


@dataclass(frozen=True)
class Base:
    """A policy and its critic, on the CPU. ``state`` is the checkpoint with the configuration and the weights of plain networks."""

    state: dict[str, Any]
    digest: str  # of the checkpoint's file
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
        """Of a policy that began here: as a run's, for all that take one. ``steps`` more were made, on the robot."""
        learner = {"actor": actor.state_dict(), "critic": critic.state_dict()}
        return {**self.state, "steps": self.state["steps"] + steps, "learner": learner}

    def new_actor(self) -> Actor:
        """A copy."""
        return _actor(self.settings, self.spaces, self.state["learner"]["actor"])

    def new_critic(self) -> Critic:
        """A copy."""
        return _critic(self.settings, self.spaces, self.state["learner"]["critic"])


def load(path: str, robot: str | None = None) -> Base:
    """The base of a run folder or checkpoint. ``robot`` is the one that stands there, where that is known.

    Raises InputError for what cannot be fine-tuned: a policy of another robot, without a critic, with a memory of its own, of choices.
    """
    source = checkpoint.find(path, "policy")
    state, digest = checkpoint.load(source), checkpoint.digest(source.read_bytes())
    config = state["config"]
    if config.get("env") is not None:
        raise InputError("policy", str(source), "a policy of a robot", f"This one is of {config['env']}.")
    if robot is not None and robot != config["robot"]:
        raise InputError("policy", str(source), f"a policy of {robot}", f"This one is of {config['robot']}.")
    refuse_other_robot(state, "policy")
    plugins.load(config["plugins"])
    tied = check(TrainSettings, config)
    _refuse(source, state, tied)
    build.policy(tied, state["learner"]["actor"])  # what no robot can run is refused here
    spaces = build.modules(robots.load(tied.robot), tied.task)[2]
    modules = _actor(tied, spaces, state["learner"]["actor"]), _critic(tied, spaces, state["learner"]["critic"])
    settings = check(TrainSettings, merge(plain(tied), {"algorithm": {"symmetric": False}}))
    learner = dict(zip(("actor", "critic"), map(_untied, modules), strict=True))
    levels = {"environment": {"curricula": state["environment"]["curricula"]}} if "environment" in state else {}
    whole = {"config": plain(settings), **{key: state[key] for key in KEPT}, **levels, "learner": learner}
    encoder, decoder, spaces = build.modules(robots.load(settings.robot), settings.task)
    actor, critic = _actor(settings, spaces, learner["actor"]), _critic(settings, spaces, learner["critic"])
    return Base(whole, digest, settings, robots.load(settings.robot), encoder, decoder, spaces, actor, critic)


def _refuse(source: Path, state: dict[str, Any], settings: TrainSettings) -> None:
    learner, remedy = state["learner"], "Use last.pt or best.pt of a run of 'locomotion train', not one of its checkpoints/."
    if "critic" not in learner or "critic_hidden" not in settings.algorithm:
        raise InputError("policy", str(source), "a checkpoint with a critic, which says what a step was worth", remedy)
    if learner["actor"].get("log_std_parameter") is None:
        raise InputError("policy", str(source), "a checkpoint of a Gaussian policy, whose spread is its exploration", remedy)
    if settings.algorithm.get("memory"):
        raise InputError("policy", str(source), "a policy without a memory of its own", "Train one with algorithm.memory=0.")


def _actor(settings: TrainSettings, spaces: Spaces, state: dict[str, Any]) -> Actor:
    actor = build.actor(settings, spaces, state)
    assert isinstance(actor, Actor)
    return actor


def _critic(settings: TrainSettings, spaces: Spaces, state: dict[str, Any]) -> Critic:
    own = settings.algorithm
    more = {name: own[name] for name in ("activation", "normalize_values") if name in own}
    critic = make_critic(spaces, own["critic_hidden"], own.get("symmetric", False), torch.Generator(), **more)
    critic.load_state_dict(state)
    return critic.eval()


def _untied(module: Any) -> dict[str, Any]:
    """The state of the plain network that computes the same."""
    state = {key: value.clone() for key, value in module.state_dict().items() if not key.startswith("network.")}
    for i, (weight, bias) in enumerate(module.network.layers()):
        state |= {f"network.{2 * i}.weight": weight.detach().clone(), f"network.{2 * i}.bias": bias.detach().clone()}
    if "log_std_parameter" in state:
        state["log_std_parameter"] = module.log_std.detach().clone()
    return state
