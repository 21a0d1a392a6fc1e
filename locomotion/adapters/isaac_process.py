"""A task of isaacgymenvs that lives in a process of its own, under a Python that Isaac Gym has bindings for.

Its observations, rewards and flags come through memory that both processes see: a copy of some hundred kilobytes a step beside physics of
milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import subprocess
import sys
import tempfile
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from locomotion.adapters import isaac_worker
from locomotion.adapters.isaac_environment import PREFIX, IsaacGymEnvironment
from locomotion.environment import BrokenEnvironmentError
from robots.errors import InputError
from sim import channel

PYTHON, DEVICE = "ISAACGYM_PYTHON", "ISAACGYM_DEVICE"  # environment variables: its interpreter, and where its physics run
WHERE = (
    "Isaac Gym Preview 4 is NVIDIA's, at developer.nvidia.com/isaac-gym, isaacgymenvs at github.com/isaac-sim/IsaacGymEnvs; they need a "
    f"Python 3.6 to 3.8 of their own: name it, {PYTHON}=/path/to/python. See docs/isaacgym.md."
)
SHOWN = 300  # characters of what it said last


class Process:
    """A :class:`~locomotion.adapters.isaac_environment.VecTask` over a pipe."""

    def __init__(self, task: str, num_envs: int, seed: int) -> None:
        self._task = task
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        memory = os.memfd_create("isaacgym")  # without a name: whatever ends the two, nothing of it is left
        words = {"task": task, "num_envs": num_envs, "seed": seed, "memory": memory, "device": os.environ.get(DEVICE)}
        try:
            self._start(words, memory)
            sizes = self._answer()
            self._layout = _mapped(memory, sizes)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(memory)
        self.num_envs, self.num_obs, self.num_states, self.num_acts = (
            int(sizes[name]) for name in ("num_envs", "num_obs", "num_states", "num_acts")
        )
        self.clip_actions, self.max_episode_length = float(sizes["clip_actions"]), int(sizes["max_episode_length"])
        self.step_seconds, self.dof_names = float(sizes["step_seconds"]), tuple(sizes["dof_names"])
        self.progress_buf = self._layout["progress"]

    def step(self, actions: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Any]]:
        """As of a ``VecTask``; what it returns is written over by the next step."""
        self._layout["action"].copy_(actions)
        self._ask(isaac_worker.STEP)
        seen = {name: self._layout[name] for name in ("obs", "states") if name in self._layout}
        return seen, self._layout["reward"], self._layout["reset"], {"time_outs": self._layout["time_outs"]}

    def reset_idx(self, env_ids: Tensor) -> None:
        """All of them: nobody asks for some."""
        assert len(env_ids) == self.num_envs
        self._ask(isaac_worker.RESET)

    def seed(self, seed: int) -> None:
        self._ask(isaac_worker.SEED + b"%020d" % seed)

    def episode(self) -> dict[str, float]:
        """What the task itself told last of the episodes that ended, such as its reward terms."""
        return self._ask(isaac_worker.EPISODE)

    def close(self) -> None:
        """End the process; it has five seconds."""
        for stream in (getattr(self, "_commands", None), getattr(self, "_answers", None)):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()  # which it reads as the end
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._log.close()

    def _start(self, words: dict[str, Any], memory: int) -> None:
        python = os.environ.get(PYTHON, sys.executable)
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        self._commands: BinaryIO = os.fdopen(ours_out, "wb", 0)
        self._answers: BinaryIO = os.fdopen(ours_in, "rb", 0)
        command = [python, isaac_worker.__file__, str(theirs_in), str(theirs_out), json.dumps(words)]
        try:
            self._process = subprocess.Popen(
                command, pass_fds=(theirs_in, theirs_out, memory), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                process_group=0,  # Ctrl-C is ours: it ends with us, and as the kernel has it even where it is stopped
            )  # fmt: skip
        except OSError as error:
            raise InputError(PYTHON, python, "a Python interpreter", f"{error.strerror}. {WHERE}") from error
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    def _ask(self, command: bytes) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # its last answer says why, or its log
            self._commands.write(command)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._line()
            answer = json.loads(line) if line.endswith(b"\n") else {"error": f"it ended. It said: {self._said()}"}
        except channel.StandstillError as error:
            answer = {"error": f"it stands still: {error}. It was ended. It said: {self._said()}"}
            self._process.kill()
        if "error" not in answer:
            return answer
        said = str(answer["error"])
        if said.startswith(("ModuleNotFoundError", "ImportError")):
            python = os.environ.get(PYTHON, sys.executable)
            raise InputError("env", PREFIX + self._task, f"isaacgym and isaacgymenvs in {python}", f"{said}. {WHERE}")
        raise BrokenEnvironmentError("env", PREFIX + self._task, "a task that isaacgymenvs makes, resets and steps", f"{said[:SHOWN]}.")

    def _line(self) -> bytes:
        """Its next answer; without an end where the process has ended. Raises StandstillError."""
        line, watch, ready = b"", channel.Watch(self._process.pid), select.poll()
        ready.register(self._answers, select.POLLIN)
        while not line.endswith(b"\n"):
            if not ready.poll(1000.0 * channel.LOOK):
                watch.look()
                continue
            piece = self._answers.read(channel.PIECE)
            if not piece:
                break
            line += piece
        return line

    def _said(self) -> str:
        self._log.seek(0)
        return " ".join(self._log.read().decode(errors="replace").split())[-SHOWN:]


def _mapped(file: int, sizes: dict[str, Any]) -> dict[str, Tensor]:
    """Tensors over the memory that the worker has made, by name."""
    layout, length = isaac_worker.offsets(sizes)
    memory = mmap.mmap(file, length)
    kinds = {"f4": np.float32, "i8": np.int64}
    return {
        name: torch.from_numpy(np.frombuffer(memory, kinds[kind], int(np.prod(shape)), at).reshape(shape))
        for name, (at, shape, kind) in layout.items()
        if np.prod(shape)
    }


def make(task: str, num_envs: int, seed: int) -> IsaacGymEnvironment:
    """The environment of ``env=isaacgym:TASK``; the learner's tensors are on the GPU where torch sees one.

    Raises:
        InputError: the engine is not installed. BrokenEnvironmentError: it raised an error of its own.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    process = Process(task, num_envs, seed)
    try:
        return IsaacGymEnvironment(process, task, process.step_seconds, device)
    except BaseException:
        process.close()
        raise
