"""A task of isaacgymenvs (a ``VecTask``) as an environment that our algorithms learn on. It has not been run on the real engine.

What such a task returns from ``step``: ``obs_dict["obs"]`` [N, O] and ``["states"]`` [N, S] (for critics), clipped; rewards [N];
``reset_buf`` [N], 1 where an episode has ended; ``extras["time_outs"]`` [N]. It restarts its episodes by itself, in one of two ways:

- late (Anymal, Ant, Humanoid): observations with ``reset_buf`` = 1 are the true last ones; the next step restarts the episode whatever the
  action, and gives the first observations. ``progress_buf``, the steps of an episode, is above 0 at its end.
- at once (AnymalTerrain): observations with ``reset_buf`` = 1 are the next episode's first ones, ``progress_buf`` is 0, and the true last
  observations are lost. Those before the last action stand for them, as in rl_games and rsl_rl, which bootstrap a time-out so.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from locomotion.environment import ActionSpace, Ended, NotFiniteError, Observations, Spaces, Transition
from robots.errors import InputError

PREFIX = "isaacgym:"  # of the setting ``env``


class VecTask(Protocol):
    """What is asked of a task. Its tensors may be written over by its next step."""

    num_envs: int
    num_obs: int
    num_states: int
    num_acts: int
    clip_actions: float
    max_episode_length: int
    progress_buf: Tensor  # [N] int64

    def step(self, actions: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Any]]: ...

    def reset_idx(self, env_ids: Tensor) -> object: ...


class IsaacGymEnvironment:
    """``task``, called ``identity``, as an :class:`~locomotion.environment.Environment`; all tensors on ``device``.

    ``score`` is the mean return of the episodes that ended since the last :meth:`statistics`. A time-out is what ``time_outs`` says, or
    an end after ``max_episode_length`` - 1 steps, which is the rule of ``VecTask`` before a restart at once hides it.
    """

    def __init__(self, task: VecTask, identity: str, step_seconds: float, device: torch.device | str = "cpu") -> None:
        self._task, self.identity, self.step_seconds = task, identity, step_seconds
        self.num_envs, self.device = task.num_envs, torch.device(device)
        bound = torch.full((task.num_acts,), min(1.0, float(task.clip_actions)), device=self.device)  # what rl_games clips to, too
        self.spaces = Spaces({"actor": task.num_obs, "critic": task.num_states or task.num_obs}, ActionSpace(-bound, bound), None)
        self._last_score: float | None = None
        self.reset()

    @property
    def observations(self) -> Observations:
        return dict(self._observations)

    def seed(self, seed: int) -> None:
        """Begin the random numbers anew; where physics run on a GPU, PhysX does not repeat itself all the same."""
        own = getattr(self._task, "seed", None)
        if callable(own):
            own(seed)
        else:
            torch.manual_seed(seed)  # whose global generator tasks draw from

    def reset(self) -> Observations:
        """Start an episode everywhere, and take the step under no action that gives its first observations."""
        self._task.reset_idx(torch.arange(self.num_envs, device=self._task.progress_buf.device))
        seen, _, reset, _ = self._task.step(torch.zeros(self.num_envs, self.spaces.action.size, device=self.device))
        self._observations = self._groups(seen)
        self._pending = (reset != 0).to(self.device) & (self._progress() > 0)  # episodes that the next step restarts
        self._return, self._length = torch.zeros(2, self.num_envs, device=self.device)
        self._finished = torch.zeros(3, device=self.device)  # return, length, number of the episodes that ended
        self._bad, self._stuck = torch.zeros(2, dtype=torch.bool, device=self.device)
        self._forget()
        return self.observations

    def step(self, action: Tensor) -> Transition:
        bounds, before, before_progress = self.spaces.action, self._observations, self._progress()
        assert isinstance(bounds, ActionSpace)
        self._bad = self._bad | ~torch.isfinite(action).all()
        seen, reward, reset, extras = self._task.step(torch.minimum(torch.maximum(action, bounds.low), bounds.high))
        done, progress = (reset != 0).to(self.device), self._progress()
        at_once = done & (progress == 0) & ~self._pending
        self._stuck = self._stuck | (self._pending & (progress > before_progress)).any()
        steps = torch.where(at_once, before_progress + 1, progress)
        over = extras.get("time_outs")
        late = steps >= self._task.max_episode_length - 1
        truncated = done & (late if over is None else late | (over != 0).to(self.device))
        self._pending = done & ~at_once
        self._observations = self._groups(seen)
        last = {name: torch.where(at_once[:, None], before[name], new) for name, new in self._observations.items()}
        self._record(reward.to(self.device, torch.float32, copy=True), done, last)
        return Transition(self.observations, done & ~truncated, truncated)

    def rewards(self) -> Tensor:
        reward = torch.stack(self._rewards) if self._rewards else torch.zeros(0, self.num_envs, device=self.device)
        self._forget()
        if self._bad:
            raise NotFiniteError("action", "not finite", "numbers", "Learning has diverged: lower its rate.")
        if self._stuck:
            allowed = "a task that restarts its episodes in step(), as those of VecTask do"
            raise InputError(
                "env", PREFIX + self.identity, allowed, "One that waits for reset_done(), such as HumanoidAMP, is not known here."
            )
        if not bool(torch.isfinite(reward).all()):
            raise NotFiniteError("reward", float(reward[~reward.isfinite()][0]), "a number", f"{self.identity} gave it.")
        return reward

    def ended(self) -> Ended:
        if not self._done:
            nothing = torch.zeros(0, dtype=torch.int64, device=self.device)
            return Ended(nothing, nothing, {name: value[:0] for name, value in self._observations.items()})
        steps, rows = torch.stack(self._done).nonzero().unbind(dim=-1)
        return Ended(steps, rows, {name: torch.stack([last[name] for last in self._last])[steps, rows] for name in self._observations})

    def statistics(self) -> dict[str, float]:
        returns, length, count = self._finished.tolist()
        self._finished = torch.zeros_like(self._finished)
        figures = {"episodes": count}
        if count:
            self._last_score = returns / count
            figures |= {"episode/length": length / count}
        if self._last_score is None:  # no episode has ended yet
            return figures
        return figures | {"score": self._last_score, "episode/return": self._last_score}

    def policy(self, actor: nn.Module) -> nn.Module:
        """``actor`` itself: what is around it stays in the task."""
        return actor

    def state_dict(self) -> dict[str, Any]:
        """Not the simulation's state: the engine cannot be put back into one. A resumed run begins new episodes."""
        return {"identity": self.identity, "num_envs": self.num_envs, "last_score": self._last_score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["identity"] != self.identity or state["num_envs"] != self.num_envs:
            there = f"{state['num_envs']} of {state['identity']}"
            raise InputError("resume", there, f"a checkpoint of {self.num_envs} environments of {self.identity}", "Start a new run.")
        self._last_score = state["last_score"]
        self.reset()

    def close(self) -> None:
        own = getattr(self._task, "close", None)
        if callable(own):
            own()

    def _progress(self) -> Tensor:
        """[N] int64, kept: the task writes its own over."""
        return self._task.progress_buf.to(self.device, torch.int64, copy=True)

    def _groups(self, seen: dict[str, Tensor]) -> Observations:
        actor = seen["obs"].to(self.device, torch.float32, copy=True)
        return {"actor": actor, "critic": seen["states"].to(self.device, torch.float32, copy=True) if self._task.num_states else actor}

    def _record(self, reward: Tensor, done: Tensor, last: Observations) -> None:
        self._rewards.append(reward)
        self._done.append(done)
        self._last.append(last)
        self._return, self._length = self._return + reward, self._length + 1.0
        ended = torch.stack([self._return, self._length, torch.ones_like(self._length)])
        self._finished = self._finished + torch.where(done, ended, 0.0).sum(dim=1)
        self._return, self._length = torch.where(done, 0.0, self._return), torch.where(done, 0.0, self._length)

    def _forget(self) -> None:
        """There are no steps that nobody has asked about."""
        self._rewards: list[Tensor] = []
        self._done: list[Tensor] = []
        self._last: list[Observations] = []
