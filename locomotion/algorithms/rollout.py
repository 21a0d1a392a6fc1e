"""Steps of all environments under a policy that does not change meanwhile, kept in place; and what a critic makes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from locomotion.algorithms.returns import following_values
from locomotion.environment import DiscreteActions, Ended, Environment
from locomotion.models.actor_critic import Actor, Critic
from locomotion.models.flat import make_minibatches
from locomotion.models.recurrent import Memory


class Evaluated(NamedTuple):
    """A rollout by a critic: what it saw [T * N, C], normalised, and [T, N] of each step."""

    critic: Tensor
    reward: Tensor
    value: Tensor
    next_value: Tensor  # of the state that a step led to: see returns.following_values
    terminated: Tensor  # bool
    done: Tensor  # bool: terminated or truncated
    last: Tensor  # [N, C] what it sees after the last step, normalised
    ended: Ended  # where episodes ended ...
    final: Tensor  # [K, C] ... and what it saw then, normalised


class Rollout:
    """T steps of N environments: ``actor`` [T, N, D], ``critic`` [T, N, C], ``action`` [T, N, W], the actor's ``output`` [T, N, P]."""

    def __init__(self, env: Environment, actor: Actor, steps: int, group: str = "actor") -> None:
        self.env, self.policy, self.group, self.steps = env, actor, group, steps
        groups, n, device = env.spaces.groups, env.num_envs, env.device
        self.choices = isinstance(env.spaces.action, DiscreteActions)
        self.memory = Memory(n, actor.memory_size, device) if actor.memory_size else None
        self.seen = groups[group]  # width of what the actor sees, its memory aside
        columns = 1 if self.choices else env.spaces.action.size
        beside = actor.memory_size + 1 if self.memory else 0
        widths = {"actor": self.seen + beside, "critic": groups["critic"], "action": columns, "output": actor.output_size}
        self.actor, self.critic, self.action, self.output = (torch.zeros(steps, n, width, device=device) for width in widths.values())
        self.terminated, self.truncated = torch.zeros(2, steps, n, dtype=torch.bool, device=device)

    def collect(self, generator: torch.Generator) -> None:
        """Act with the present policy, exploration included."""
        policy, memory = self.policy, self.memory
        act: Any = policy.frozen()
        noise = policy.noise(self.output.shape, generator)
        observations = self.env.observations
        for t in range(self.steps):
            seen, self.critic[t] = observations[self.group], observations["critic"]
            self.actor[t] = seen if memory is None else memory.beside(seen)
            output = act(self.actor[t])
            remembered: Any = None
            if memory is not None:
                output, remembered = output
            self.output[t] = output
            action = self.action[t] = policy.act(output, noise[t])
            observations, terminated, truncated = self.env.step(action[:, 0].long() if self.choices else action)
            self.terminated[t], self.truncated[t] = terminated, truncated
            if memory is not None:
                memory.keep(remembered, terminated | truncated)

    def evaluate(self, critic: Critic) -> Evaluated:
        """Rewards and values of the steps collected."""
        ended = self.env.ended()
        reward = self.env.rewards()
        seen = critic.normalizer(self.critic.flatten(0, 1))
        value = critic.value(seen).view(self.steps, -1)
        last, final = critic.normalizer(self.env.observations["critic"]), critic.normalizer(ended.observations["critic"])
        beyond = [critic.value(x) for x in (last, final)]
        next_value = following_values(value, beyond[0], self.terminated, ended.steps, ended.rows, beyond[1])
        return Evaluated(seen, reward, value, next_value, self.terminated, self.terminated | self.truncated, last, ended, final)

    def learn_normalizers(self, critic: Critic) -> None:
        """Take what was seen into the normalisers: once all is learned that this rollout taught."""
        self.policy.normalizer.update(self.actor[..., : self.seen].flatten(0, 1))
        critic.normalizer.update(self.critic.flatten(0, 1))

    def minibatches(self, epochs: int, count: int, generator: torch.Generator) -> list[Tensor]:
        """Rows of each minibatch: every epoch uses every step once, in an order of its own. With a memory sequences [T, n], else [B]."""
        if self.memory is None:
            return make_minibatches(self.steps * self.env.num_envs, epochs, count, generator, self.env.device)
        first = torch.arange(self.steps, device=self.env.device)[:, None] * self.env.num_envs  # of each step
        return [first + envs for envs in make_minibatches(self.env.num_envs, epochs, count, generator, self.env.device)]

    def state_dict(self) -> dict[str, Any]:
        """What the next rollout goes on from."""
        return {"memory": self.memory and self.memory.state.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.memory:
            self.memory.state.copy_(state["memory"])
