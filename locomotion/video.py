"""Watch a robot: a window where there is a screen, a video file elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from deploy import contract
from robots import Robot
from robots.errors import InputError

PHYSICS_DT = 0.002  # s
WIDTH, HEIGHT, FPS = 720, 480, 25


def rollout(policy: contract.LoadedPolicy, robot: Robot, command: Sequence[float], duration: float) -> list[np.ndarray]:
    """Positions (qpos) of a robot that follows ``command`` from standing, one every control step."""
    frames: list[np.ndarray] = []
    _simulate(policy, robot, command, duration, lambda qpos: frames.append(qpos))
    return frames


def window(policy: contract.LoadedPolicy, robot: Robot, command: Sequence[float], duration: float) -> None:
    """Show the robot in MuJoCo's viewer, in real time. Raises InputError where there is no screen."""
    import sys

    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("output", None, "the path of a video, since there is no screen", "Add output=walk.mp4.")
    import mujoco
    import mujoco.viewer

    model = _scene(robot)
    data = mujoco.MjData(model)
    with mujoco.viewer.launch_passive(model, data) as viewer:
        start = time.monotonic()

        def show(qpos: np.ndarray) -> None:
            nonlocal start
            data.qpos[:] = qpos
            mujoco.mj_kinematics(model, data)
            viewer.sync()
            start += policy.contract.control_dt
            time.sleep(max(0.0, start - time.monotonic()))

        _simulate(policy, robot, command, duration, show)


def write(path: Path, robot: Robot, frames: Sequence[np.ndarray], frame_dt: float, progress: Callable[[float], None]) -> str | None:
    """Render ``frames`` (qpos, ``frame_dt`` seconds apart) to an MP4. Returns why not, where nothing can render."""
    import imageio_ffmpeg
    import mujoco

    model = _scene(robot)
    data = mujoco.MjData(model)
    try:
        renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
    except Exception as error:  # each GL backend raises types of its own
        return f"no video: nothing here can render ({type(error).__name__}: {error}); install libegl1 (Debian) or set MUJOCO_GL"
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation, camera.azimuth = 1.7, -14.0, 125.0
    stride = max(1, round(1.0 / (FPS * frame_dt)))
    chosen = frames[::stride]
    temporary = path.with_name(f".{path.name}")
    stream = imageio_ffmpeg.write_frames(
        str(temporary), (WIDTH, HEIGHT), fps=round(1.0 / (stride * frame_dt)), codec="libx264", quality=6, macro_block_size=8,
        ffmpeg_log_level="error", output_params=["-f", "mp4", "-movflags", "+faststart"],
    )  # fmt: skip
    stream.send(None)
    try:
        for i, qpos in enumerate(chosen):
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            target = np.array([qpos[0], qpos[1], 0.22])
            camera.lookat[:] = target if i == 0 else camera.lookat + 0.15 * (target - camera.lookat)
            renderer.update_scene(data, camera)
            stream.send(np.ascontiguousarray(renderer.render()))
            progress((i + 1) / len(chosen))
    finally:
        stream.close()
        renderer.close()
    temporary.replace(path)
    return None


def _scene(robot: Robot):  # -> mujoco.MjModel
    from sim.mujoco_batch import build_model

    model = build_model(robot, PHYSICS_DT)
    model.vis.global_.offwidth, model.vis.global_.offheight = WIDTH, HEIGHT
    return model


def _simulate(
    policy: contract.LoadedPolicy, robot: Robot, command: Sequence[float], duration: float, show: Callable[[np.ndarray], None]
) -> None:
    import torch

    import sim

    if len(command) != 3:
        raise InputError("command", list(command), "three numbers [forward, left, yaw]", 'For example command="[0.5,0,0]".')
    if not duration > 0:
        raise InputError("duration", duration, "seconds above 0", "For example duration=10.")
    clipped = policy.clip_command(np.asarray(command, dtype=np.float64))
    if not np.allclose(clipped, command, atol=1e-6):
        print(f"warning: command {list(command)} is outside the trained range: clamped to {clipped.tolist()}")
    simulator = sim.make("mujoco", robot, 1, PHYSICS_DT, threads=1)
    pose = torch.tensor(robot.default_joint_pos, dtype=torch.float32)[None]
    base_pos, base_quat = torch.tensor([[0.0, 0.0, robot.standing_height]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    rest = torch.zeros(1, 3)
    simulator.reset(torch.tensor([0]), sim.InitialState(base_pos, base_quat, rest, rest, pose, torch.zeros_like(pose)))
    signals = simulator.signals
    policy.reset(1)
    dt = policy.contract.control_dt
    for _ in range(round(duration / dt)):
        measured = {name: getattr(signals, name).numpy() for name in policy.inputs if name != "command"}
        target, _ = policy.step({**measured, "command": clipped[None]})
        simulator.step(torch.from_numpy(target), round(dt / PHYSICS_DT))
        joint = signals.joint_pos[0].numpy()
        show(np.concatenate([signals.base_pos[0].numpy(), signals.base_quat[0].numpy(), joint]).astype(np.float64))
