"""Domain randomization: physics and sensor biases drawn for every episode, sensor noise for every step."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from locomotion.schema import NotNegative, Range, Settings
from locomotion.task.observations import TOLD
from robots.errors import InputError, nearest
from sim import PARAMETERS

MEASURED = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel")  # by sensors, in the order of the policy's inputs


class SensorSpread(Settings):
    """Half-widths of a uniform error, by sensor."""

    base_ang_vel: NotNegative = 0.0  # rad/s
    projected_gravity: NotNegative = 0.0
    joint_pos: NotNegative = 0.0  # rad
    joint_vel: NotNegative = 0.0  # rad/s


class RandomizationSettings(Settings):
    """Ranges by physical parameter (see :data:`sim.PARAMETERS`), sensor errors, and what happens to the robot now and then."""

    parameters: dict[str, Range] = Field(default_factory=dict)
    noise: SensorSpread = SensorSpread()  # drawn anew every step
    bias: SensorSpread = SensorSpread()  # held for an episode
    events: dict[str, dict[str, Any]] = Field(default_factory=dict)
    graded: bool = False  # every episode draws how severe it is, 0..1, and scales all of this towards the nominal robot

    @model_validator(mode="after")
    def _within_physics(self) -> RandomizationSettings:
        for name, limits in self.parameters.items():
            field = f"randomization.parameters.{name}"
            if name not in PARAMETERS:
                raise InputError(field, list(limits), "the name of a physical parameter", nearest(name, PARAMETERS))
            low, high = PARAMETERS[name].bounds
            if limits[0] < low or limits[1] > high:
                raise InputError(
                    field, list(limits), f"a range within [{low}, {high}] {PARAMETERS[name].unit}", PARAMETERS[name].text + "."
                )
        return self


NOMINAL = RandomizationSettings()  # the nominal robot on level ground, perfect sensors, no pushes


def sensor_scale(spread: SensorSpread, num_joints: int, device: torch.device) -> Tensor:
    """Half-width of each measured number, in the order of MEASURED, [6 + 2 J]."""
    sizes = {"base_ang_vel": 3, "projected_gravity": 3, "joint_pos": num_joints, "joint_vel": num_joints}
    return torch.cat([torch.full((sizes[name],), float(getattr(spread, name)), device=device) for name in MEASURED])


class PhysicsSampler:
    """Values of the randomized parameters from uniform numbers, and what the critic is told of them."""

    def __init__(self, ranges: dict[str, Range], num_joints: int, device: torch.device) -> None:
        self._shapes = {
            name: tuple(num_joints if part == "J" else int(part) for part in PARAMETERS[name].shape)
            for name in PARAMETERS
            if name in ranges
        }
        self._sizes = [PARAMETERS[name].size(num_joints) for name in self._shapes]
        self.draws = sum(self._sizes)
        bounds = [ranges[name] for name, size in zip(self._shapes, self._sizes, strict=True) for _ in range(size)]
        self._low, self._high = torch.tensor(bounds, dtype=torch.float32, device=device).view(-1, 2).T
        center = [PARAMETERS[name].nominal for name, size in zip(self._shapes, self._sizes, strict=True) for _ in range(size)]
        self._nominal = torch.tensor(center, device=device).clamp(self._low, self._high)
        # the columns of what the critic is told: nominal, or one of the drawn numbers
        nominal, source, factor, at = [], [], [], dict(zip(self._shapes, _starts(self._sizes), strict=True))
        for name in TOLD:
            parameter = PARAMETERS[name]
            for i in range(parameter.size(num_joints)):
                nominal.append(parameter.nominal * float(parameter.told or 0.0))
                source.append(at[name] + i if name in at else -1)
                factor.append(float(parameter.told or 0.0))
        self.nominal_told = torch.tensor(nominal, device=device)
        drawn = [i for i, column in enumerate(source) if column >= 0]
        self._told, self._source = torch.tensor(drawn, device=device), torch.tensor([source[i] for i in drawn], device=device)
        self._factor = torch.tensor([factor[i] for i in drawn], device=device)

    def sample(self, u: Tensor, severity: Tensor | None = None) -> Tensor:
        """Flat values [n, draws] from uniform numbers of the same shape, drawn towards nominal where ``severity`` [n, 1] is below 1."""
        values = torch.lerp(self._low, self._high, u)
        return values if severity is None else torch.lerp(self._nominal, values, severity)

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """``flat`` [n, draws] by parameter, as :meth:`sim.Simulator.set_parameters` takes them."""
        parts = flat.split(self._sizes, dim=-1) if self._sizes else ()
        return {name: part.reshape(len(flat), *shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def told(self, flat: Tensor) -> Tensor:
        """What the critic is told, [n, K]."""
        result = self.nominal_told.expand(len(flat), -1).clone()
        if len(self._told):
            result[:, self._told] = flat[:, self._source] * self._factor
        return result


def _starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes))]
