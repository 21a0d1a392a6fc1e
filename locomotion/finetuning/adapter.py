"""What moves of a policy that learns on a robot: an addition to its mean action, in the few directions in which its features vary most."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from locomotion.finetuning.base import Base
from locomotion.finetuning.batch import Batch, joined
from locomotion.finetuning.exploring import Noise
from locomotion.models.actor_critic import Actor


class Adapter(nn.Module):
    """An addition to the mean action, ``features`` [S, K] of the base's last hidden layer."""

    shift: Tensor
    basis: Tensor

    def __init__(self, hidden: Tensor, actions: int, directions: int) -> None:
        """From what the base's last hidden layer said [S, H] on the robot: its principal directions, each of variance 1."""
        super().__init__()
        shift = hidden.mean(dim=0)
        _, scale, axes = torch.linalg.svd(hidden - shift, full_matrices=False)
        k = min(directions, int((scale > 1e-4 * scale[0]).sum()))
        self.register_buffer("shift", shift)
        self.register_buffer("basis", axes[:k].T * (len(hidden) ** 0.5 / scale[:k]))  # [H, K]
        self.weight = nn.Parameter(torch.zeros(actions, k + 1))  # the last column is the bias

    def features(self, hidden: Tensor) -> Tensor:
        """[S, K + 1], the last of them 1."""
        found = (hidden - self.shift) @ self.basis
        return torch.cat([found, torch.ones_like(found[:, :1])], dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.weight)

    @torch.no_grad()
    def folded(self, actor: Actor) -> None:
        """Into ``actor``, a copy of the base."""
        change, last = self.weight[:, :-1] @ self.basis.T, actor.network[-1]
        last.weight += change
        last.bias += self.weight[:, -1] - change @ self.shift


def hidden_of(actor: Actor, observation: Tensor) -> Tensor:
    """[S, H] what the last layer of a plain network sees."""
    *layers, _ = actor.network
    return nn.Sequential(*layers)(actor.features(observation))


class Adapted:
    """A base with an adapter, and the walks that it is to learn from: what all learners have in common."""

    def __init__(self, base: Base, noise: Noise, directions: int) -> None:
        self.base, self.noise, self.directions = base, noise, directions
        self.std = torch.full((base.robot.num_joints,), noise.std)
        self.adapter: Adapter | None = None
        self.batches = list[Batch]()

    def take(self, batch: Batch) -> None:
        """What the robot did, whoever walked."""
        self.batches.append(batch)

    def find_directions(self) -> None:
        """From all that was seen so far."""
        hidden = hidden_of(self.base.actor, joined(self.batches).observation).detach()
        self.adapter = Adapter(hidden, self.std.numel(), self.directions)

    def candidate(self) -> Actor:
        """The base with the adapter folded into its last layer."""
        actor = self.base.new_actor()
        if self.adapter is not None:
            self.adapter.folded(actor)
        return actor.eval()

    @property
    def moved(self) -> bool:
        """Whether there is anything that is not the base."""
        return self.adapter is not None and bool(self.adapter.weight.any())

    @property
    def policy(self) -> Tensor:
        """Where the policy is, a copy."""
        assert self.adapter is not None
        return self.adapter.weight.detach().clone()

    @torch.no_grad()
    def go_back(self, there: Tensor, share: float = 0.0) -> None:
        """To where ``share`` of the way from ``there`` to the present is left; all the way back from a present that is no number."""
        assert self.adapter is not None
        way = share * (self.adapter.weight - there)
        self.adapter.weight.copy_(there + way if share and way.isfinite().all() else there)

    def kept(self) -> dict[str, Any]:
        """To go on from, bit for bit."""
        adapter = None if self.adapter is None else self.adapter.state_dict()
        return {"adapter": adapter, "batches": [vars(batch) for batch in self.batches]}

    def load_kept(self, state: dict[str, Any]) -> None:
        if state["adapter"] is None:
            self.adapter = None
        else:
            shift, basis = state["adapter"]["shift"], state["adapter"]["basis"]
            self.adapter = Adapter(torch.randn(2 * basis.shape[1], len(shift)), self.std.numel(), basis.shape[1])
            self.adapter.load_state_dict(state["adapter"])
        self.batches = [Batch(**batch) for batch in state["batches"]]
