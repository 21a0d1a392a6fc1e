"""What a task's YAML may say, and the pieces of a policy that are made from it without a simulator."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field, model_validator

from locomotion.schema import Finite, Positive, PositiveRange, Settings, Text, present
from locomotion.task import terms
from locomotion.task.commands import Commands
from locomotion.task.gait import GaitSettings
from locomotion.task.observations import Context, Encoder, check_term
from locomotion.task.privileged import PrivilegedTerm
from robots.errors import InputError, nearest

Terms = Annotated[dict[str, dict[str, Any]], BeforeValidator(present)]


class ObservationSettings(Settings):
    actor: Terms  # of terms.observation
    critic: Terms  # of terms.privileged; the critic also sees what the actor sees, without noise


class TaskSettings(Settings):
    """A ``configs/task`` file."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=80)]  # of the default run folder too
    protocol: Text = "velocity"  # of the scorecard: see locomotion/evaluation/protocols.py
    self_collision: bool = False  # the robot's shapes meet each other, not the ground alone
    control_dt: Annotated[float, Field(ge=0.001, le=0.1)]  # s
    episode_seconds: Positive
    command_seconds: PositiveRange  # until the next command
    gait: GaitSettings | None
    commands: Terms
    observations: ObservationSettings
    rewards: Terms
    reward_floor: Finite | None  # of the weighted sum of the terms per second
    constraints: Terms = Field(default_factory=dict)  # of terms.reward, 0 where they hold; algorithms that know constraints keep them
    terminations: Terms
    resets: Terms  # "share" of each: how many of the episodes begin by it
    metrics: Terms
    score: tuple[Text, ...]  # metrics, the least of which is the score
    curricula: Terms

    @model_validator(mode="after")
    def _fits_together(self) -> TaskSettings:
        tables = {"observations.actor": self.observations.actor, "rewards": self.rewards, "resets": self.resets}
        for table, value in tables.items():
            if not value:
                raise InputError(f"task.{table}", {}, "at least one term", "See configs/task/velocity_flat.yaml.")
        if self.gait is not None and not {"gait_clock", "foot_clock"} & set(self.observations.actor):
            allowed, remedy = "the clock of the task's gait", "Add gait_clock: {}, or set task.gait=null."
            raise InputError("task.observations.actor", "no gait_clock", allowed, remedy)
        needs = [f"task.{table}.gait=null" for table in ("rewards", "metrics") if self.gait is None and "gait" in getattr(self, table)]
        if needs:
            raise InputError("task.gait", None, "a gait, or a task without one", f"Add {' '.join(needs)}.")
        if not self.score:
            raise InputError("task.score", [], "at least one of task.metrics", "It chooses best.pt.")
        for name in self.score:
            if name not in self.metrics:
                raise InputError("task.score", name, "one of task.metrics", nearest(name, self.metrics))
        return self


class ResetShare(Settings):
    share: Positive = 1.0


def substeps_of(control_dt: float, physics_dt: float) -> int:
    """Physics steps in a control step. Raises InputError where it is no whole number."""
    substeps = round(control_dt / physics_dt)
    if substeps < 1 or abs(substeps * physics_dt - control_dt) > 1e-9:
        raise InputError("sim.physics_dt", physics_dt, f"a divisor of control_dt = {control_dt}", "Try 0.01, 0.005 or 0.002.")
    return substeps


def make_commands(settings: TaskSettings, device: torch.device) -> Commands:
    """The task's command terms."""
    return Commands([terms.command.bind("task.commands", name, value)(device) for name, value in settings.commands.items()])


def make_privileged(settings: TaskSettings, context: Context) -> dict[str, PrivilegedTerm]:
    """What the critic sees beside the policy's observation, by name."""
    critic = settings.observations.critic.items()
    return {name: terms.privileged.bind("task.observations.critic", name, value)(context) for name, value in critic}


def make_encoder(settings: TaskSettings, context: Context) -> Encoder:
    """The policy's observation."""
    bound = {name: terms.observation.bind("task.observations.actor", name, value) for name, value in settings.observations.actor.items()}
    made = {name: term(context) for name, term in bound.items()}
    for name, term in made.items():
        check_term(f"task.observations.actor.{name}", term, context)
    return Encoder(made, context.robot.num_joints)
