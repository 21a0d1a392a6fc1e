"""Exploration behind the deployment's own doors: the policy's module with noise on its action, decoded and filtered as ever.

Noise is a first-order autoregression: as smooth as motors like it, and what it does to a walk lasts long enough to be seen in a reward.
Given the step before, an action is Gaussian about ``mean + rho (action - mean of the step before)``, which is what its probability is of
(Korenkevych et al., "Autoregressive policies for continuous control deep reinforcement learning", 2019): nothing is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from deploy.contract import Contract
from deploy.policy import LoadedPolicy
from locomotion.models.actor_critic import Actor
from locomotion.models.policy import Policy


@dataclass(frozen=True)
class Noise:
    """``std`` of an action, [A] or one number, with correlation time ``seconds`` (0: white)."""

    std: float
    seconds: float
    control_dt: float

    @property
    def rho(self) -> float:
        """Correlation of one step's noise with the next one's."""
        return math.exp(-self.control_dt / self.seconds) if self.seconds > 0.0 else 0.0

    @property
    def innovation(self) -> float:
        """Standard deviation of what is new in a step."""
        return self.std * math.sqrt(1.0 - self.rho**2)

    def sequence(self, steps: int, size: int, seed: int) -> Tensor:
        """[steps, size], stationary, begun at zero so that a walk does not begin with a jump."""
        white = torch.randn(steps, size, generator=torch.Generator().manual_seed(seed))
        noise, now = torch.zeros_like(white), torch.zeros(size)
        for t in range(steps):
            now = self.rho * now + self.innovation * white[t]
            noise[t] = now
        return noise

    def off(self, action: Tensor, mean: Tensor, first: Tensor) -> Tensor:
        """[T, A] what was new in each of T steps: its deviation less ``rho`` times the one before; ``first`` [T] where a walk begins."""
        deviation = action - mean
        before = torch.cat([torch.zeros_like(deviation[:1]), deviation[:-1]])
        return deviation - self.rho * torch.where(first[:, None], 0.0, before)


@dataclass
class Record:
    """What the policy saw and asked for, step by step: observations [D], means and actions [A], memory after the step [M]."""

    observation: list[Tensor] = field(default_factory=list)
    mean: list[Tensor] = field(default_factory=list)
    action: list[Tensor] = field(default_factory=list)
    memory: list[Tensor] = field(default_factory=list)
    taken_over: int | None = None  # at which step another actor did

    @property
    def own(self) -> int:
        """Steps of the actor that began."""
        return len(self.mean) if self.taken_over is None else self.taken_over


class ExploringPolicy(LoadedPolicy):
    """Runs ``policy``'s modules where a bundle would run: the same contract, the same inputs and outputs, one robot.

    :meth:`begin` says which actor walks next and with what noise [T, A]; the runtime's reset starts it. Its records are kept in order.
    """

    def __init__(self, contract: Contract, policy: Policy) -> None:
        self.contract, self.inputs = contract, contract.inputs
        self._policy, self._actor, self._noise = policy, policy.actor, torch.zeros(0)
        self.records: list[Record] = []
        self.reset()

    def begin(self, actor: Actor, noise: Tensor) -> None:
        """The next walk's."""
        self._actor, self._noise = actor, noise

    def take_over(self, actor: Actor) -> None:
        """``actor`` goes on with the walk, without noise: what the robot did to get there was not its own."""
        self._actor, self._noise = actor, torch.zeros(0)
        self.records[-1].taken_over = len(self.records[-1].mean)

    def reset(self, batch: int = 1) -> None:
        self.state = torch.zeros(batch, self._policy.memory_size)
        self.records.append(Record())

    def rehearse(self, actor: Actor) -> None:
        """One step that is kept nowhere: what a first step needs is in memory before the robot waits for it."""
        golden = self.contract.golden_vectors[0].inputs
        other = ExploringPolicy(self.contract, self._policy)
        other.begin(actor, torch.zeros(1))
        other.step({name: golden[name][:1] for name in self.inputs})

    @torch.inference_mode()
    def step(self, signals: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        policy, record = self._policy, self.records[-1]
        inputs = {name: torch.from_numpy(np.asarray(signals[name], dtype=np.float32)) for name in self.inputs}
        observation = policy.encoder(inputs, self.state)
        mean, t = self._actor(observation), len(record.mean)
        action = mean + self._noise[t] if t < len(self._noise) else mean
        target, offset = policy.decoder(action, inputs["joint_pos"], inputs["joint_vel"], self.state)
        self.state = policy.encoder.remember(inputs, action, self.state, offset)
        kept = (record.observation, record.mean, record.action, record.memory)
        for rows, value in zip(kept, (observation, mean, action, self.state), strict=True):
            rows.append(value[0].clone())
        return target.numpy(), action.numpy()
