"""Watch a robot: a window where there is a screen, a video file elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.policy import RobotPolicy
from locomotion.evaluation.rollout import BundleActor, World, make_simulator
from locomotion.evaluation.rollout import rollout as simulate
from locomotion.files import write_atomically
from robots import Robot
from robots.errors import InputError

WIDTH, HEIGHT, FPS = 720, 480, 25
DISTANCE = 5.5  # from camera to robot, in standing heights


def rollout(
    policy: RobotPolicy, command: Sequence[float], duration: float, engine: str = "mujoco", actuator: str | None = None,
    device: str | None = None,
) -> list[np.ndarray]:  # fmt: skip
    """Positions (qpos) of a robot that follows ``command``, one every control step of the policy.

    It begins as the policy's protocol does: standing, or let fall in some pose.

    ``policy`` is a policy bundle bound to its robot; ``command`` has its channels, ``duration`` is in s.
    """
    return list(_frames(policy, command, duration, engine, actuator, device))


def positions(robot: Robot, motion: np.ndarray) -> list[np.ndarray]:
    """Positions (qpos) of ``motion`` [T, 7 + J]: the base's position and quaternion, and the joints in the robot's order."""
    model = _scene(robot)
    columns = [*range(7), *(int(model.joint(name).qposadr[0]) for name in robot.joint_names)]
    frames = np.tile(model.qpos0, (len(motion), 1))
    frames[:, columns] = motion
    return list(frames)


def window(
    policy: RobotPolicy, command: Sequence[float], duration: float, engine: str = "mujoco", actuator: str | None = None,
    device: str | None = None,
) -> None:  # fmt: skip
    """Show the robot in MuJoCo's viewer, in real time. Raises InputError where there is no screen."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError("output", None, "the path of a video, since there is no screen", "Add output=walk.mp4.")
    import mujoco
    import mujoco.viewer

    frames = _frames(policy, command, duration, engine, actuator, device)
    model = _scene(policy.robot)
    data = mujoco.MjData(model)
    with mujoco.viewer.launch_passive(model, data) as viewer:
        start = time.monotonic()
        for qpos in frames:
            if not viewer.is_running():
                return
            data.qpos[:] = qpos
            mujoco.mj_kinematics(model, data)
            viewer.sync()
            start += policy.contract.control_dt
            time.sleep(max(0.0, start - time.monotonic()))


def write(
    path: Path, robot: Robot, frames: Sequence[np.ndarray], frame_dt: float, progress: Callable[[float], object] = lambda share: None
) -> str | None:
    """Render ``frames`` (qpos, ``frame_dt`` seconds apart) to an MP4, whole or not at all.

    Returns why there is no video, where nothing here can render or the file cannot be written: what was worth a video is worth
    keeping without one.
    """
    if not len(frames):
        return "no video: there is no frame"
    try:
        import mujoco

        model = _scene(robot)
        renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
    except Exception as error:  # each GL backend raises types of its own
        return f"no video: nothing here can render ({type(error).__name__}: {error}); install libegl1 (Debian), or mend MUJOCO_GL"
    stride = max(1, round(1.0 / (FPS * frame_dt)))
    pictures = _render(renderer, model, robot, frames[::stride], progress)
    try:
        write_atomically(path, lambda stream: _encode(Path(stream.name), pictures, 1.0 / (stride * frame_dt)))
    except OSError as error:
        return f"no video: {path} cannot be written: {error.strerror or error}"
    finally:
        renderer.close()
    return None


def _encode(path: Path, pictures: Iterator[np.ndarray], fps: float) -> None:
    """Write an H.264 file. Raises OSError with the encoder's own words where it fails, as on a full disk."""
    import imageio_ffmpeg

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}",
        "-r", f"{fps:.6g}", "-i", "-", "-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "23", "-f", "mp4",
        "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        assert encoder.stderr is not None
        try:
            for image in pictures:
                encoder.stdin.write(image.tobytes())
            encoder.stdin.close()
        except BrokenPipeError:
            pass  # the encoder has ended, and says why
        said = encoder.stderr.read().decode(errors="replace").strip()
        failed = encoder.wait() != 0
    if failed:
        raise OSError(None, said.splitlines()[-1] if said else "the encoder failed")


def _render(
    renderer: Any, model: Any, robot: Robot, frames: Sequence[np.ndarray], progress: Callable[[float], object]
) -> Iterator[np.ndarray]:
    """Pictures [HEIGHT, WIDTH, 3] uint8 from a camera that follows the robot."""
    import mujoco

    data, camera = mujoco.MjData(model), mujoco.MjvCamera()
    camera.distance, camera.elevation, camera.azimuth = DISTANCE * robot.standing_height, -14.0, 125.0
    for i, qpos in enumerate(frames):
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        target = np.array([qpos[0], qpos[1], 0.7 * robot.standing_height])
        camera.lookat[:] = target if i == 0 else camera.lookat + 0.15 * (target - camera.lookat)
        renderer.update_scene(data, camera)
        yield np.ascontiguousarray(renderer.render())
        progress((i + 1) / len(frames))


def _scene(robot: Robot) -> Any:
    from sim.mujoco_model import build_model

    model = build_model(robot, 0.002)
    model.vis.global_.offwidth, model.vis.global_.offheight = WIDTH, HEIGHT
    return model


def _frames(
    policy: RobotPolicy, command: Sequence[float], duration: float, engine: str, actuator: str | None, device: str | None
) -> Iterator[np.ndarray]:
    """Positions one by one, so that a window can show them as they come."""
    import torch

    from locomotion.evaluation import protocols
    from locomotion.task.randomization import NOMINAL

    robot, dt, names = policy.robot, policy.contract.control_dt, policy.contract.command_names
    if len(command) != len(names):
        raise InputError("command", list(command), f"{len(names)} numbers [{', '.join(names)}]", 'For example command="[0.5,0,0]".')
    if not duration > 0:
        raise InputError("duration", duration, "seconds above 0", "For example duration=10.")
    clipped = policy.clip_command(np.asarray(command, dtype=np.float64))
    if not np.allclose(clipped, command, atol=1e-6):
        print(f"warning: command {list(command)} is outside the trained range: clamped to {clipped.tolist()}")
    model = _scene(robot)
    columns = [int(model.joint(name).qposadr[0]) for name in robot.joint_names]
    asks = policy.contract.protocol
    simulator = make_simulator(robot, 1, dt, actuator, engine, threads=1, self_collision=protocols.lies(asks), device=device)
    world, actor = World(simulator, NOMINAL, dt, 0, protocols.start_of(asks)), BundleActor(policy)
    actor.reset(1)
    qpos, signals = np.array(model.qpos0), simulator.signals
    for _ in simulate(actor, world, torch.tensor([clipped.tolist()]), duration):
        qpos[:3], qpos[3:7], qpos[columns] = (
            part[0].numpy(force=True) for part in (signals.base_pos, signals.base_quat, signals.joint_pos)
        )
        yield qpos.copy()
