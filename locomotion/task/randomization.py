"""Domain randomization: physics and sensor biases drawn for every episode, sensor noise for every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import Tensor

from locomotion.schema import NotNegative, Range, Settings, Share, present
from locomotion.task.privileged import TOLD
from robots.errors import InputError, nearest
from sim import PARAMETERS

MAX_SENSOR_DELAY = 0.1  # s
MAX_TILT = 0.35  # rad
Delay = Annotated[Range, AfterValidator(lambda value: _within(value, 0.0, MAX_SENSOR_DELAY))]  # s


def _within(value: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    if value[0] < low or value[1] > high:
        raise ValueError(f"a range within [{low}, {high}]")
    return value


class SensorSpread(Settings):
    """Half-widths of a uniform error, by sensor."""

    base_ang_vel: NotNegative = 0.0  # rad/s
    projected_gravity: NotNegative = 0.0
    joint_pos: NotNegative = 0.0  # rad
    joint_vel: NotNegative = 0.0  # rad/s


class SensorDelay(Settings):
    """From a signal to its reading, s, by sensor; drawn for an episode."""

    base_ang_vel: Delay = (0.0, 0.0)
    projected_gravity: Delay = (0.0, 0.0)
    joint_pos: Delay = (0.0, 0.0)
    joint_vel: Delay = (0.0, 0.0)


class Dropped(Settings):
    """How likely a control step's packet is lost."""

    sensors: Share = 0.0  # the last readings are seen again
    commands: Share = 0.0  # motors go on with the last target


class RandomizationSettings(Settings):
    """Ranges by physical parameter (see :data:`sim.PARAMETERS`), sensor errors, and what happens to the robot now and then."""

    parameters: Annotated[dict[str, Range], BeforeValidator(present)] = Field(default_factory=dict)
    noise: SensorSpread = SensorSpread()  # drawn anew every step
    bias: SensorSpread = SensorSpread()  # held for an episode; of readings alone, motors do not share it (see joint_zero_offset)
    delay: SensorDelay = SensorDelay()
    imu_tilt: Annotated[float, Field(ge=0, le=MAX_TILT)] = 0.0  # rad, +-U about each axis, of gyroscope and gravity together
    dropped: Dropped = Dropped()
    dead_joint: Share = 0.0  # of the episodes, in which one joint's motor gives no torque
    events: Annotated[dict[str, dict[str, Any]], BeforeValidator(present)] = Field(default_factory=dict)
    graded: bool = False  # every episode draws how severe it is, 0..1, and scales all of this towards the mildest

    @model_validator(mode="after")
    def _within_physics(self) -> RandomizationSettings:
        for name, limits in self.parameters.items():
            field = f"randomization.parameters.{name}"
            if name not in PARAMETERS:
                raise InputError(field, list(limits), "the name of a physical parameter", nearest(name, PARAMETERS))
            low, high = PARAMETERS[name].bounds
            if limits[0] < low or limits[1] > high:
                unit = "" if PARAMETERS[name].unit == "1" else f" {PARAMETERS[name].unit}"
                remedy = f"It is: {PARAMETERS[name].text}. Move its ends inside."
                raise InputError(field, list(limits), f"a range within [{low}, {high}]{unit}", remedy)
        return self

    @property
    def needs(self) -> set[str]:
        """The physical parameters that an engine must be able to express."""
        return set(self.parameters) | ({"motor_strength"} if self.dead_joint else set())


NOMINAL = RandomizationSettings()  # the nominal robot on level ground, perfect sensors, no pushes


class PhysicsSampler:
    """Values of the randomized parameters from uniform numbers, and what the critic is told of them."""

    def __init__(self, settings: RandomizationSettings, num_joints: int, device: torch.device) -> None:
        self._dead, self._joints = settings.dead_joint, torch.arange(num_joints, device=device)
        ranges = {name: limits for name, limits in settings.parameters.items() if not PARAMETERS[name].every_step}
        if self._dead:
            ranges.setdefault("motor_strength", (1.0, 1.0))
        self._shapes = {
            name: tuple(num_joints if part == "J" else int(part) for part in PARAMETERS[name].shape)
            for name in PARAMETERS
            if name in ranges
        }
        self._sizes = [PARAMETERS[name].size(num_joints) for name in self._shapes]
        self.width = sum(self._sizes)
        self.draws = self.width + (2 if self._dead else 0)
        bounds = [ranges[name] for name, size in zip(self._shapes, self._sizes, strict=True) for _ in range(size)]
        self._low, self._high = torch.tensor(bounds, dtype=torch.float32, device=device).view(-1, 2).T.contiguous()
        self._limits = torch.stack((self._low, self._high))  # as asked for; curricula may narrow what is drawn
        center = [PARAMETERS[name].nominal for name, size in zip(self._shapes, self._sizes, strict=True) for _ in range(size)]
        nominal = torch.tensor(center, device=device)
        possible = (self._low <= nominal) & (nominal <= self._high)
        self._mildest = torch.where(possible, nominal, 0.5 * (self._low + self._high))  # a range without nominal says it is not the truth
        # the columns of what the critic is told: nominal, or one of the drawn numbers
        told, source, factor, at = [], [], [], dict(zip(self._shapes, _starts(self._sizes), strict=True))
        for name in TOLD:
            parameter = PARAMETERS[name]
            for i in range(parameter.size(num_joints)):
                told.append(parameter.nominal * float(parameter.told or 0.0))
                source.append(at[name] + i if name in at else -1)
                factor.append(float(parameter.told or 0.0))
        self.nominal_told = torch.tensor(told, device=device)
        drawn = [i for i, column in enumerate(source) if column >= 0]
        self._told, self._source = torch.tensor(drawn, device=device), torch.tensor([source[i] for i in drawn], device=device)
        self._factor = torch.tensor([factor[i] for i in drawn], device=device)

    def sample(self, u: Tensor, severity: Tensor | None = None) -> Tensor:
        """Flat values [n, width] from uniform numbers [n, draws], drawn towards the mildest where ``severity`` [n, 1] is below 1: nominal,
        or the middle of a range that does not hold it."""
        values = torch.lerp(self._low, self._high, u[:, : self.width])
        values = values if severity is None else torch.lerp(self._mildest, values, severity)
        if self._dead:
            happens = u[:, -2:-1] < (self._dead if severity is None else self._dead * severity)
            which = self._joints == (u[:, -1:] * len(self._joints)).to(torch.int64)
            self.named(values)["motor_strength"].masked_fill_(happens & which, 0.0)
        return values

    @property
    def names(self) -> set[str]:
        return set(self._shapes)

    def columns(self, names: Sequence[str]) -> Tensor:
        """Which flat values belong to ``names``, [width] bool."""
        pairs = zip(self._shapes, self._sizes, strict=True)
        return torch.tensor([name in names for name, size in pairs for _ in range(size)], device=self._low.device)

    def widen(self, columns: Tensor, level: Tensor) -> None:
        """Draw the values of ``columns`` from the share ``level`` [] (0..1) of their ranges about the mildest value."""
        low, high = torch.lerp(self._mildest.expand_as(self._limits), self._limits, level)
        torch.where(columns, low, self._low, out=self._low)
        torch.where(columns, high, self._high, out=self._high)

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of ``flat`` [n, width] by parameter, as :meth:`sim.Simulator.set_parameters` takes them."""
        parts = flat.split(self._sizes, dim=-1) if self._sizes else ()
        return {name: part.view(len(flat), *shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def told(self, flat: Tensor) -> Tensor:
        """What the critic is told, [n, K]."""
        result = self.nominal_told.expand(len(flat), -1).clone()
        if len(self._told):
            result[:, self._told] = flat[:, self._source] * self._factor
        return result


def _starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes))]
