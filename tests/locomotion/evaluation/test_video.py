"""A video is whole or absent, and what is missing for one is a sentence."""

import os
import subprocess
import sys

import numpy as np
import pytest

from locomotion.evaluation import video
from locomotion.evaluation.rollout import load_policy
from robots import InputError
from sim.mujoco_model import build_model

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
{before}
import robots
from locomotion.evaluation import video
frame = np.zeros(19); frame[2:4] = 0.3, 1.0
print(video.write(Path(sys.argv[1]), robots.load("unitree_go2"), [frame] * 30, 0.02))
"""
FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as a full disk: writing fails
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
"""


def run(path, before="", **environment):
    command = [sys.executable, "-c", SCRIPT.format(before=before), str(path)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.strip()


def can_render():
    import mujoco

    try:
        mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    except Exception:
        return False
    return True


def test_no_renderer_is_a_message(tmp_path):
    path = tmp_path / "walk.mp4"
    assert "nothing here can render" in run(path, MUJOCO_GL="disable")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not can_render(), reason="no OpenGL here")
def test_a_video_is_written_whole(go2, tmp_path):
    path, said = tmp_path / "walk.mp4", []
    frame = np.zeros(19)
    frame[2:4] = 0.3, 1.0
    assert video.write(path, go2, [frame] * 20, 0.02, said.append) is None
    assert path.read_bytes()[4:8] == b"ftyp"
    assert said[-1] == 1.0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not can_render(), reason="no OpenGL here")
def test_a_full_disk_is_a_message_and_the_older_video_stays(tmp_path):
    path = tmp_path / "walk.mp4"
    path.write_text("older")
    assert "cannot be written" in run(path, FULL)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_no_frames_and_a_folder_in_the_way(go2, tmp_path):
    assert "no frame" in video.write(tmp_path / "walk.mp4", go2, [], 0.02)


def test_frames_are_positions_of_the_model_by_name(standing_bundle, go2, capsys):
    frames = video.rollout(load_policy(standing_bundle), [9.0, 0.0, 0.0], 0.4)
    assert "clamped" in capsys.readouterr().out
    assert len(frames) == 20
    assert np.linalg.norm(frames[-1][3:7]) == pytest.approx(1.0, abs=1e-5)
    model = build_model(go2, 0.002)
    columns = [model.joint(name).qposadr[0] for name in go2.joint_names]
    assert frames[-1][columns] == pytest.approx(go2.default_joint_pos, abs=0.2)
    assert not np.array_equal(frames[0], frames[-1])


def test_bad_commands_are_errors(standing_bundle):
    policy = load_policy(standing_bundle)
    with pytest.raises(InputError, match="forward, left, yaw"):
        video.rollout(policy, [0.5], 1.0)
    with pytest.raises(InputError, match="duration"):
        video.rollout(policy, [0.5, 0.0, 0.0], 0.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="screens are elsewhere")
def test_a_window_without_a_screen_is_an_error(standing_bundle, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(InputError, match="no screen"):
        video.window(load_policy(standing_bundle), [0.5, 0.0, 0.0], 1.0)
