"""What recorded steps come to: rewards, ends of episodes, and figures for people. All on the device until somebody asks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from locomotion.environment import Ended, NotFiniteError
from locomotion.task import terms
from locomotion.task.curriculum import ROLLOUT
from locomotion.task.frame import Frame
from locomotion.task.rewards import Rewards
from locomotion.task.settings import TaskSettings
from robots.errors import InputError

SMOOTHING = 0.9  # of the score that curricula are told, a rollout


class Block(NamedTuple):
    """Of T steps."""

    reward: Tensor  # [T, N]
    costs: Tensor  # [T, N, K]
    finite: Tensor  # [] bool, whether all actions were numbers
    ended: Ended


class Outcome:
    """Blocks of steps, worked out as they are handed over and kept until they are asked for."""

    def __init__(self, settings: TaskSettings, num_envs: int, device: torch.device) -> None:
        self.rewards_function = Rewards(settings.rewards, settings.reward_floor, settings.control_dt, device)
        self._metrics = {name: terms.metric.bind("task.metrics", name, value) for name, value in settings.metrics.items()}
        self._constraints = {name: terms.reward.bind("task.constraints", name, value) for name, value in settings.constraints.items()}
        self._score, self._num_envs, self._device = settings.score, num_envs, device
        self._blocks: list[Block] = []
        # sums over steps and environments: weighted rewards, metrics, how many fell, timed out, faulted; violations, and how many
        sums = len(self.rewards_function.names) + len(self._metrics) + 3 + 2 * len(self._constraints)
        self._sums = torch.zeros(sums, dtype=torch.float64, device=device)
        self._counted = 0
        self.smoothed_score = torch.zeros((), device=device)

    def add(self, frame: Frame, flags: Tensor, finite: Tensor, ended: Ended) -> None:
        """A block of T steps: ``frame`` [T, N], ``flags`` [T, 3, N] terminated, truncated, fault."""
        terminated, truncated, faults = flags.unbind(1)
        valid = ~faults  # a faulted environment's state means nothing: no reward from it
        reward, unweighted = self.rewards_function(frame, valid)
        scores = torch.stack([term(frame) for term in self._metrics.values()])
        counts = torch.stack([terminated.sum(), truncated.sum(), faults.sum()])
        sums = [torch.where(valid, x, 0.0).sum(dim=(1, 2)).double() for x in (unweighted, scores)]
        costs = self._costs(frame, valid)
        violations = torch.cat([costs.sum(dim=(0, 1)), (costs > 0.0).sum(dim=(0, 1))]).double()
        self._sums += torch.cat([sums[0] * self.rewards_function.weights, sums[1], counts.double(), violations])
        self._counted += reward.numel()
        score = sums[1] / reward.numel()
        least = torch.stack([score[list(self._metrics).index(name)] for name in self._score]).min().float()
        self.smoothed_score.copy_(torch.lerp(least, self.smoothed_score, SMOOTHING ** (len(reward) / ROLLOUT)))
        self._blocks.append(Block(reward, costs, finite, ended))

    def _costs(self, frame: Frame, valid: Tensor) -> Tensor:
        """[T, N, K] by how much each constraint is violated."""
        if not self._constraints:
            return valid.new_zeros(*valid.shape, 0, dtype=torch.float32)
        costs = [term(frame) for term in self._constraints.values()]
        for name, cost in zip(self._constraints, costs, strict=True):
            if cost.shape != valid.shape:
                raise InputError(
                    f"task.constraints.{name}", list(cost.shape), f"a tensor {list(valid.shape)}", "Sum over the last dimension."
                )
        return torch.where(valid[..., None], torch.stack(costs, dim=-1).clamp(min=0.0), 0.0)

    def forget(self) -> None:
        """The blocks that nobody has asked for."""
        self._blocks = []

    def rewards(self) -> Tensor:
        """[T, N] of all blocks, which are then done with. Raises NotFiniteError that names what is no number."""
        blocks, self._blocks = self._blocks, []
        if not blocks:
            return torch.zeros(0, self._num_envs, device=self._device)
        result = torch.cat([block.reward for block in blocks])
        if not bool(torch.stack([block.finite for block in blocks]).all()):
            raise NotFiniteError("action", "not finite", "finite numbers", "Learning has diverged: lower its rate.")
        if not bool(torch.isfinite(result).all()):
            bad = [name for name, total in zip(self.rewards_function.names, self._sums.tolist(), strict=False) if not math.isfinite(total)]
            raise NotFiniteError(f"task.rewards.{', '.join(bad)}", "not finite", "finite numbers", "Mend the term, or its weight.")
        return result

    def costs(self) -> Tensor:
        """[T, N, K] of all blocks."""
        none = torch.zeros(0, self._num_envs, len(self._constraints), device=self._device)
        return torch.cat([none, *(block.costs for block in self._blocks)])

    def ended(self, groups: Mapping[str, int]) -> Ended:
        """The ends of episodes in all blocks, their steps counted from the first; ``groups`` are widths of observation groups."""
        steps, rows, offset = [], [], 0
        seen = {name: [torch.zeros(0, width, device=self._device)] for name, width in groups.items()}
        for block in self._blocks:
            steps.append(block.ended.steps + offset)
            rows.append(block.ended.rows)
            offset += len(block.reward)
            for name, value in block.ended.observations.items():
                seen[name].append(value)
        none = [torch.zeros(0, dtype=torch.int64, device=self._device)]
        return Ended(torch.cat(none + steps), torch.cat(none + rows), {name: torch.cat(parts) for name, parts in seen.items()})

    def statistics(self) -> dict[str, float]:
        """Means a step since the last call: weighted rewards, metrics, and the least of those that score; and counts of ends.

        Of constraints the mean violation, and the share of steps with one.
        """
        sums, steps, names = self._sums.tolist(), max(self._counted, 1), self.rewards_function.names
        scores = {name: sums[len(names) + i] / steps for i, name in enumerate(self._metrics)}
        figures = {f"reward/{name}": sums[i] / steps for i, name in enumerate(names)}
        figures |= {f"metric/{name}": value for name, value in scores.items()}
        rest = iter(sums[len(names) + len(scores) :])
        figures |= {name: next(rest) for name in ("falls", "timeouts", "faults")}
        figures |= {f"{kind}/{name}": next(rest) / steps for kind in ("cost", "violated") for name in self._constraints}
        figures["score"] = min(scores[name] for name in self._score)
        self._sums.zero_()
        self._counted = 0
        return figures
