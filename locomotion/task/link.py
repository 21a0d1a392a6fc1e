"""The way of a command from the policy to the motors: its delay varies from step to step, and now and then it does not arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sim import Simulator

if TYPE_CHECKING:
    from locomotion.task.randomization import RandomizationSettings


class Link:
    """Of N robots. What is switched off costs nothing. :attr:`target` [N, J] is what the motors heard last."""

    def __init__(self, settings: RandomizationSettings, simulator: Simulator, ahead: int = 1) -> None:
        n, j, self._device = simulator.num_envs, simulator.robot.num_joints, simulator.device
        self._simulator, self._dropped, self.ahead = simulator, settings.dropped.commands, ahead
        self._jitter = settings.parameters.get("action_jitter")
        self.on = bool(self._jitter or self._dropped)
        self._u = torch.zeros(ahead if self.on else 0, 2, n, device=self._device)
        self.target = torch.zeros(n if self._dropped else 0, j, device=self._device)
        self._every = torch.ones(n, dtype=torch.bool, device=self._device)

    def draw(self, generator: torch.Generator | None) -> None:
        """Jitter and losses of the next ``ahead`` steps."""
        if self.on:
            torch.rand(self._u.shape, device=self._device, generator=generator, out=self._u)

    def begin(self, mask: Tensor, joint_pos: Tensor) -> None:
        """Episodes begin where ``mask`` [N] is true, with motors that hold ``joint_pos`` [N, J]."""
        if self._dropped:
            torch.where(mask[:, None], joint_pos, self.target, out=self.target)

    def send(self, target: Tensor, step: int, severity: Tensor | None = None) -> Tensor:
        """What the motors hear of ``target`` [N, J]; ``step`` counts from the last :meth:`draw`, ``severity`` [N, 1] scales jitter."""
        if not self.on:
            return target
        jitter, lost = self._u[step % self.ahead]
        if self._jitter:
            low, high = self._jitter
            delay = jitter * (high - low) + low
            delay = delay if severity is None else delay * severity[:, 0]
            self._simulator.set_parameters(self._every, {"action_jitter": delay})
        if self._dropped:
            target = torch.where((lost < self._dropped)[:, None], self.target, target, out=self.target)
        return target

    def state_dict(self) -> dict[str, Any]:
        return {"u": self._u.clone(), "target": self.target.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._u.copy_(state["u"])
        self.target.copy_(state["target"])
