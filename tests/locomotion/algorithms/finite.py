"""Small environments whose answers are known: a finite problem, and one that only a memory solves."""

import numpy as np
import torch

from locomotion.algorithms.tabular import FiniteProblem
from locomotion.environment import ActionSpace, DiscreteActions, Ended, Spaces, Transition

# A-left: 1, stays; A-right: 3, to B; B-left: 0, to A; B-right: 10, and the end
TWO_STATES = FiniteProblem(
    transition=np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]]),
    reward=np.array([[1.0, 3.0], [0.0, 10.0]]),
    gamma=0.9,
)
V = np.array([300.0, 270.0]) / 19.0


class Base:
    """N environments that start anew by themselves; ``_begin`` and ``_advance`` make a problem of it."""

    device, step_seconds = torch.device("cpu"), 1.0

    def __init__(self, num_envs, width, action, max_steps, seed=0):
        self.num_envs, self.max_steps = num_envs, max_steps
        self.spaces = Spaces({"actor": width, "critic": width}, action, None)
        self.generator = torch.Generator().manual_seed(seed)
        self.age = torch.zeros(num_envs, dtype=torch.int64)
        self.taken = []  # actions, as they came
        self._forget()

    def _forget(self):
        self._rewards, self._ended = [], []

    @property
    def observations(self):
        seen = self._see()
        return {"actor": seen, "critic": seen.clone()}

    def reset(self):
        self._begin(torch.ones(self.num_envs, dtype=torch.bool))
        self._forget()
        return self.observations

    def step(self, action):
        self.taken.append(action.clone())
        reward, terminated = self._advance(action)
        self.age += 1
        truncated = (self.age >= self.max_steps) & ~terminated
        done = terminated | truncated
        rows = done.nonzero().squeeze(-1)
        self._ended.append((torch.full_like(rows, len(self._rewards)), rows, self._see()[rows]))
        self._rewards.append(reward)
        self.age[done] = 0
        self._begin(done)
        return Transition(self.observations, terminated, truncated)

    def rewards(self):
        result = torch.stack(self._rewards)
        self._forget()
        return result

    def ended(self):
        steps, rows, seen = (torch.cat(x) for x in zip(*self._ended, strict=True))
        return Ended(steps, rows, {"actor": seen, "critic": seen})

    def statistics(self):
        return {"score": 0.0}

    def state_dict(self):
        return {"state": self.state.clone(), "age": self.age.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.state, self.age = state["state"].clone(), state["age"].clone()
        self.generator.set_state(state["generator"])
        self._forget()

    def close(self):
        pass


class Finite(Base):
    """A :class:`FiniteProblem`; what is seen is which state it is. An end may be by chance only where it is certain."""

    def __init__(self, problem, num_envs, max_steps, seed=0):
        self.problem = problem
        states, actions = problem.reward.shape
        self.state = torch.zeros(num_envs, dtype=torch.int64)
        self.following = torch.as_tensor(problem.transition.argmax(axis=2))
        self.ends = torch.as_tensor(problem.transition.sum(axis=2) == 0.0)
        self.reward = torch.as_tensor(problem.reward, dtype=torch.float32)
        super().__init__(num_envs, states, DiscreteActions(actions), max_steps, seed)
        self.reset()

    def _begin(self, mask):
        self.state[mask] = torch.randint(len(self.reward), (int(mask.sum()),), generator=self.generator)

    def _see(self):
        return torch.nn.functional.one_hot(self.state, len(self.reward)).float()

    def _advance(self, action):
        assert action.dtype == torch.int64
        assert action.shape == (self.num_envs,)
        reward, ends = self.reward[self.state, action], self.ends[self.state, action]
        self.state = self.following[self.state, action]
        return reward, ends


class Recall(Base):
    """A number is shown in an episode's first step; in its last, the ``max_steps``-th, the action has to be that number."""

    def __init__(self, num_envs, max_steps=4, seed=0):
        self.state = torch.zeros(num_envs)
        super().__init__(num_envs, 2, ActionSpace(-torch.ones(1), torch.ones(1)), max_steps, seed)
        self.reset()

    def _begin(self, mask):
        self.state[mask] = torch.randint(2, (int(mask.sum()),), generator=self.generator).float() * 2.0 - 1.0

    def _see(self):
        first, last = self.age == 0, self.age == self.max_steps - 1
        return torch.stack([torch.where(first, self.state, 0.0), last.float()], dim=-1)

    def _advance(self, action):
        last = self.age == self.max_steps - 1
        return torch.where(last, -(action[:, 0] - self.state).square(), 0.0), last
