"""The engine's side: makes a task of isaacgymenvs and steps it when asked. Run by path, under the engine's own Python (3.6 to 3.8).

Isaac Gym's bindings are built for these versions alone, and refuse to be imported after torch. So this file knows nothing of the toolkit,
keeps to what Python 3.7 understands, and shares one file of memory with the process that learns. Commands come as single bytes, answers go
as lines of JSON, through two pipes whose numbers are the arguments.
"""

import json
import mmap
import os
import sys
import traceback

FIELDS = (("action", "num_acts", "f4"), ("obs", "num_obs", "f4"), ("states", "num_states", "f4"), ("reward", None, "f4"),
          ("reset", None, "i8"), ("progress", None, "i8"), ("time_outs", None, "i8"))  # fmt: skip
STEP, RESET, SEED, EPISODE, QUIT = b"s", b"r", b"d", b"e", b"q"


def offsets(sizes):
    """Where each field begins, its shape and its kind; and the length of all. ``sizes`` has num_envs and the widths."""
    found, at = {}, 0
    for name, width, kind in FIELDS:
        shape = [sizes["num_envs"]] + ([sizes[width]] if width else [])
        found[name] = (at, shape, kind)
        count = 1
        for size in shape:
            count *= size
        at += (count * int(kind[1]) + 63) // 64 * 64
    return found, at


def make(words):
    """The task, stepped on the first GPU where there is one."""
    import isaacgym  # noqa: F401  # pyright: ignore[reportMissingImports]  # before torch
    import isaacgymenvs  # pyright: ignore[reportMissingImports]
    import torch

    device = words["device"] or ("cuda:0" if torch.cuda.is_available() else "cpu")
    return isaacgymenvs.make(
        seed=words["seed"], task=words["task"], num_envs=words["num_envs"], sim_device=device, rl_device=device,
        graphics_device_id=-1, headless=True, force_render=False,
    )  # fmt: skip


def describe(task):
    """What the other side has to know."""
    env, sim = task.cfg["env"], task.cfg["sim"]
    steps = int(env.get("controlFrequencyInv", 1)) * int(env.get("control", {}).get("decimation", 1))  # of VecTask, of AnymalTerrain itself
    clip = float(task.clip_actions)
    return {
        "num_envs": int(task.num_envs), "num_obs": int(task.num_obs), "num_states": int(task.num_states), "num_acts": int(task.num_acts),
        "clip_actions": clip if clip < 1e9 else 1e9, "max_episode_length": int(task.max_episode_length),
        "step_seconds": float(sim["dt"]) * steps, "dof_names": [str(name) for name in getattr(task, "dof_names", [])],
    }  # fmt: skip


def share(memory, sizes):
    """Tensors over one file of memory, by name."""
    import numpy as np
    import torch

    layout, length = offsets(sizes)
    os.ftruncate(memory, length)
    memory = mmap.mmap(memory, length)
    kinds = {"f4": np.float32, "i8": np.int64}
    arrays = {}
    for name, (at, shape, kind) in layout.items():
        count = int(np.prod(shape))
        arrays[name] = torch.from_numpy(np.frombuffer(memory, kinds[kind], count, at).reshape(shape)) if count else None
    return arrays


def put(arrays, task, answer):
    """What a step has returned, for the other side."""
    import torch

    seen, reward, reset, extras = answer
    arrays["obs"].copy_(seen["obs"])
    if arrays["states"] is not None:
        arrays["states"].copy_(seen["states"])
    arrays["reward"].copy_(reward)
    arrays["reset"].copy_(reset)
    arrays["progress"].copy_(task.progress_buf)
    arrays["time_outs"].copy_(extras.get("time_outs", torch.zeros_like(reset)))


def serve(commands, answers, words):
    """Make, and answer until told to stop or nobody is there."""
    task = make(words)
    import torch

    sizes = describe(task)
    arrays = share(words["memory"], sizes)
    answers(sizes)
    extras = {}
    while True:
        command = commands.read(1)
        if command in (b"", QUIT):
            return
        if command == SEED:
            torch.manual_seed(int(commands.read(20)))
        elif command == RESET:
            task.reset_idx(torch.arange(task.num_envs, device=task.progress_buf.device))
        elif command == STEP:
            answer = task.step(arrays["action"].to(getattr(task, "rl_device", "cpu")))
            put(arrays, task, answer)
            extras = answer[3]
        episode = extras.get("episode", {}) if command == EPISODE else {}
        answers({name: float(value) for name, value in episode.items()})


def main():
    read, write = int(sys.argv[1]), int(sys.argv[2])
    words = json.loads(sys.argv[3])
    with os.fdopen(read, "rb", 0) as commands, os.fdopen(write, "wb", 0) as out:

        def answers(message):
            out.write((json.dumps(message) + "\n").encode())

        try:
            serve(commands, answers, words)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            answers({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose gymnasium.py is not the library
    main()
