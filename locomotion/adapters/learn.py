"""Our algorithms on an environment of one's own, from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium

from locomotion.adapters.gymnasium_environment import PREFIX
from locomotion.adapters.vector_environment import VECTOR
from locomotion.config import compose
from locomotion.runs.start import resume, start
from locomotion.runs.train import Run, View
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError

Own = str | Callable[[], gymnasium.Env] | gymnasium.vector.VectorEnv


class _Silent:
    def iteration(self, iteration: int, iterations: int, figures: dict[str, float]) -> None: ...


def learn(env: Own, *overrides: str, view: View | None = None, say: Callable[[str], None] = print) -> tuple[Run, Path]:
    """Train on ``env`` as ``locomotion train`` does; ``overrides`` are its words: ``"algorithm=ppo_gymnasium"``, ``"run=runs/mine"``.

    ``env`` is a name that Gymnasium knows, a class or function that makes a single environment (of which there are
    ``algorithm.num_envs``, and a run can be resumed), or a vector environment that is there already (as many as it has; it is
    trained on and closed, and a run of it can be neither resumed nor scored). Returns the run when done, and its folder.

    Raises:
        InputError: a setting that is wrong, or an environment that cannot be learned on.
    """
    words = [f"env={_named(env)}", *overrides]
    if isinstance(env, gymnasium.vector.VectorEnv):
        words += [f"algorithm.num_envs={env.num_envs}", "score_every=0"]
    config, own = compose("train", words), view or _Silent()
    if config["resume"] is not None:
        given = {word.partition("=")[0]: config[word.partition("=")[0]] for word in overrides}
        return resume(config["resume"], given, lambda _: own, say)
    return start(check(TrainSettings, config), lambda _: own, say)


def _named(env: Own) -> str:
    """The setting ``env``; what is an object gets a name at Gymnasium's, of its class or function."""
    if isinstance(env, str):
        return PREFIX + env
    vector = isinstance(env, gymnasium.vector.VectorEnv)
    if not vector and (isinstance(env, gymnasium.Env) or not callable(env)):
        remedy = "Give its class, or lambda: MyEnv(...): there are algorithm.num_envs of it."
        raise InputError("env", env, "a name, what makes a single environment, or a vector environment", remedy)
    name = type(env.unwrapped).__name__ if vector else getattr(env, "__qualname__", type(env).__name__)
    identity = f"own/{''.join(c if c.isalnum() else '-' for c in name).strip('-')}-v0"
    gymnasium.registry.pop(identity, None)  # the newest of that name counts
    made: Any = {"vector_entry_point": lambda num_envs: env} if vector else {"entry_point": env}
    gymnasium.register(identity, **made)
    return (VECTOR if vector else PREFIX) + identity
