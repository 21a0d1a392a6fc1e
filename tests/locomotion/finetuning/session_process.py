"""A small fine-tuning in a process of its own, to be killed: FOLDER CHECKPOINT. Says a line after each run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from deploy.hil.simulated_robot import Conditions
from deploy.limits import Limits
from locomotion.finetuning import base as bases
from locomotion.finetuning.gate import SimulationGate
from locomotion.finetuning.runner import simulated
from locomotion.finetuning.session import Session
from locomotion.finetuning.word import Auto
from tests.locomotion.finetuning.standing import recipe

LIMITS = Limits()
PLANT = Conditions(noise=1.0, payload=1.0)


def session(folder: Path, source: Path, say=print, **changes) -> Session:
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    made = Session(bases.load(str(source)), recipe(**changes), simulated(PLANT), Auto(), folder, 0, LIMITS, say=say)
    made.best_difference = -1.0  # a policy that stands has little to learn: whatever was kept comes to the last test
    return made


PASSED = {name: {"fall_rate": 0.0, "tracking_score": 1.0, "yaw_score": 1.0} for name in ("nominal", "randomized")}


def unlocked(set_: Callable[..., object] = setattr) -> None:
    """Every candidate passes the gate, without a look: for tests of what comes behind it. test_gate.py looks at it."""
    set_(SimulationGate, "figures", lambda self, actor: PASSED)


if __name__ == "__main__":
    torch.set_num_threads(1)
    unlocked()
    session(Path(sys.argv[1]), Path(sys.argv[2]), lambda text: print(text, flush=True)).run()
