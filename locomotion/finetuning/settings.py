"""What a person may set of the recipe: configs/finetune.yaml says what each is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from locomotion.finetuning.learner import PPOSettings
from locomotion.finetuning.rlpd import RLPDSettings
from locomotion.finetuning.walks import REST
from locomotion.schema import Finite, NotNegative, Positive, Settings, Share, Text, check, present
from locomotion.settings import Path, Seed
from robots.errors import InputError

Few = Annotated[int, Field(ge=1, le=1000)]


LEARNERS: dict[Any, type[PPOSettings | RLPDSettings]] = {"ppo": PPOSettings, "rlpd": RLPDSettings}


def _learner(value: Any) -> Any:
    """The settings of the learner that their ``name`` says."""
    if not isinstance(value, Mapping):
        return value
    if str(value.get("name")) not in LEARNERS:
        raise InputError("learner.name", value.get("name"), f"one of {', '.join(LEARNERS)}", "For example learner=ppo.")
    return check(LEARNERS[value["name"]], value, "learner")


class GateSettings(Settings):
    episodes: Few
    margin: Share


class BoxSettings(Settings):
    margin: Positive  # rad
    growth: NotNegative  # rad/s


class EndSettings(Settings):
    tilt: Annotated[float, Field(gt=0, le=0.35)]  # rad
    temperature: Annotated[float, Field(ge=30, le=80)]  # degrees C
    cool: Annotated[float, Field(ge=26, le=80)]  # degrees C
    radius: Annotated[float, Field(ge=0.5, le=1000)]  # m
    failures: Few


class RecipeSettings(Settings):
    minutes: Positive
    walk_seconds: Annotated[float, Field(ge=4, le=60)]
    warm_up_walks: Few
    walks: Few
    pairs: Annotated[int, Field(ge=2, le=1000)]
    final_pairs: Annotated[int, Field(ge=2, le=20)]
    commands: Annotated[tuple[tuple[Finite, ...], ...], Field(min_length=1)]
    std: Annotated[float, Field(gt=0, le=0.3)]
    correlation: Annotated[float, Field(ge=0, le=1)]  # s
    rewards: Annotated[dict[str, Any], BeforeValidator(present)]
    margin: Share
    intervention_margin: Share
    posture_margin: Share
    load_margin: NotNegative
    learner: Annotated[PPOSettings | RLPDSettings, BeforeValidator(_learner)]
    gate: GateSettings
    box: BoxSettings
    ends: EndSettings

    @model_validator(mode="after")
    def _sizes(self) -> RecipeSettings:
        if self.pairs > self.walks:
            raise InputError("pairs", self.pairs, f"at most walks, {self.walks}: each is a walk of the candidate and one of the base", "")
        if self.ends.cool >= self.ends.temperature:
            raise InputError("ends.cool", self.ends.cool, f"less than ends.temperature, {self.ends.temperature:g}", "Lower it.")
        if self.walk_seconds <= 2.0 * REST:
            raise InputError("walk_seconds", self.walk_seconds, f"more than {2.0 * REST:g} s", "For example 13.")
        return self


class FinetuneSettings(RecipeSettings):
    """Of the command: the recipe's, and where, with whom and from what."""

    policy: Path
    output: Path
    robot: Text | None
    interface: Literal["sim", "unitree_dds"]
    plant: dict[str, Any]  # checked where it is used, as limits are
    network: Text
    domain: Annotated[int, Field(ge=0, le=230)]
    release: bool
    calibration: Text | None
    estop: dict[str, Any] | None  # checked where it is used
    operator: Literal["enter", "auto"]
    dry_run: bool
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=1024)]
    deploy: dict[str, dict[str, Any]]
