"""The runtime, its policy and its clock, its guard, and its operator."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from deploy.hil.faults.fault import Hooks, Side, on
from deploy.states import State

if TYPE_CHECKING:
    from deploy.hil.bench import Bench


@on(Side.RUNTIME)
def hung(bench: Bench, seconds: float = 1000.0) -> Hooks:
    """The runtime does nothing, once, for so long: a swap to disk; or for ever."""
    return Hooks(runtime=_once(lambda: bench.hang(seconds)))


@on(Side.RUNTIME)
def killed(bench: Bench) -> Hooks:
    """The runtime is gone, without a word: SIGKILL."""
    return Hooks(runtime=lambda: bench.kill())


@on(Side.PROCESS)
def stopped(bench: Bench, seconds: float = 1000.0) -> Hooks:
    """The runtime's process is stopped: SIGSTOP, and SIGCONT after so many seconds."""
    return Hooks(runtime=_once(lambda: bench.suspend(seconds)))


@on(Side.PROCESS)
def guard_killed(bench: Bench) -> Hooks:
    """The guard's process is gone, without a word: SIGKILL."""
    return Hooks(runtime=_once(lambda: bench.signal_guard(signal.SIGKILL)))


@on(Side.PROCESS)
def guard_stopped(bench: Bench) -> Hooks:
    """The guard's process stands still: SIGSTOP."""
    return Hooks(runtime=_once(lambda: bench.signal_guard(signal.SIGSTOP)))


@on(Side.PROCESS)
def guard_terminated(bench: Bench) -> Hooks:
    """Somebody ends the guard's process: SIGTERM."""
    return Hooks(runtime=_once(lambda: bench.signal_guard(signal.SIGTERM)))


def _once(act: Callable[[], None]) -> Callable[[], None]:
    done: list[bool] = []

    def runtime() -> None:
        if not done:
            done.append(True)
            act()

    return runtime


@on(Side.RUNTIME)
def slow(bench: Bench, seconds: float = 0.03) -> Hooks:
    """Each step of the runtime takes so much longer."""
    return Hooks(runtime=lambda: bench.hang(seconds))


@on(Side.RUNTIME)
def clock_jump(bench: Bench, seconds: float = 1.0) -> Hooks:
    """The computer's clock jumps ahead."""

    def begin() -> None:
        bench.clock.ahead += seconds

    return Hooks(begin=begin)


@on(Side.RUNTIME)
def policy_not_a_number(bench: Bench, joint: int = 3) -> Hooks:
    """The policy's target for one joint is NaN."""
    return Hooks(target=lambda target: np.where(np.arange(len(target)) == joint, np.nan, target))


@on(Side.RUNTIME)
def policy_wild(bench: Bench, amplitude: float = 1.0) -> Hooks:
    """The policy's targets jump up and down by so many rad, each step."""
    signs = iter([1.0, -1.0] * 10_000)
    pose = bench.robot.default_joint_pos
    return Hooks(target=lambda target: (pose + next(signs) * amplitude * np.resize([1.0, -1.0, 1.0], len(pose))).astype(target.dtype))


@on(Side.RUNTIME)
def policy_far(bench: Bench, target: float = 100.0) -> Hooks:
    """The policy asks for the same absurd target for every joint, rad."""
    return Hooks(target=lambda asked: np.full_like(asked, target))


@on(Side.RUNTIME)
def policy_stuck(bench: Bench) -> Hooks:
    """The policy says the same again and again."""
    kept: list[np.ndarray] = []

    def target(asked: np.ndarray) -> np.ndarray:
        kept.append(asked) if not kept else None
        return kept[0]

    return Hooks(target=target)


@on(Side.RUNTIME)
def policy_misshapen(bench: Bench) -> Hooks:
    """The policy's targets lack a joint."""
    return Hooks(target=lambda asked: asked[:-1])


@on(Side.RUNTIME)
def policy_raises(bench: Bench) -> Hooks:
    """The policy raises."""

    def target(asked: np.ndarray) -> np.ndarray:
        raise RuntimeError("of the policy")

    return Hooks(target=target)


@on(Side.RUNTIME)
def operator_gone(bench: Bench) -> Hooks:
    """The operator's device has gone silent, its last word in force."""
    return Hooks(intent=lambda intent: intent._replace(age=bench.world.now() - bench.start))


@on(Side.RUNTIME)
def operator_command(bench: Bench, value: float = math.nan) -> Hooks:
    """Each channel of the operator's command is this number."""
    return Hooks(intent=lambda intent: intent._replace(command=np.full_like(intent.command, value)))


@on(Side.RUNTIME)
def operator_insists(bench: Bench) -> Hooks:
    """The operator asks to walk at every step."""
    return Hooks(intent=lambda intent: intent._replace(state=State.WALK))
