"""The robot's own computer has numpy, onnxruntime and a yaml reader, and nothing else of ours."""

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        needs = {"flatbuffers", "google", "packaging", "coloredlogs", "humanfriendly", "sympy", "mpmath"}  # of onnxruntime
        present = {"numpy", "onnxruntime", "yaml", "_yaml", "robots", "deploy"} | needs | set(sys.stdlib_module_names)
        top = name.split(".")[0]
        if top not in present:
            raise ImportError(f"{top} is not on the robot")
sys.meta_path.insert(0, Blocker())
"""
FOLDER = Path(__file__).parents[2] / "deploy"
MODULES = sorted(f"deploy.{path.stem}" for path in FOLDER.glob("*.py") if path.stem != "__init__")


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", BLOCKER + code, *arguments], capture_output=True, text=True, cwd=FOLDER.parent)


@pytest.mark.parametrize("module", MODULES)
def test_each_part_of_deploy_imports_on_the_robot(module):
    result = run(f"import {module}")
    assert result.returncode == 0, result.stderr


def test_deploy_runs_a_policy_without_the_training_libraries(bundle):
    code = """
import numpy as np, robots
from deploy.policy import RobotPolicy, load
policy = RobotPolicy(load(sys.argv[1]), robots.load("unitree_go2"))
signals = {"base_ang_vel": np.zeros((1, 3)), "projected_gravity": np.array([[0, 0, -1.0]]), "command": np.zeros((1, 3)),
           "joint_pos": policy.robot.default_joint_pos[None], "joint_vel": np.zeros((1, 12))}
target, _ = policy.step(signals)
assert target.shape == (1, 12) and np.isfinite(target).all()
assert not {"torch", "mujoco", "onnx", "hydra"} & set(sys.modules)
"""
    result = run(code, str(bundle))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["messages", "codec", "remote", "operator", "checks"])
def test_what_of_the_unitree_part_needs_no_dds_imports_on_any_robot(module):
    result = run(f"import deploy.unitree.{module}")
    assert result.returncode == 0, result.stderr


def test_without_dds_the_unitree_interface_says_what_to_install():
    assert "sim2real-locomotion[unitree]" in run("import deploy.unitree.interface").stderr


@pytest.mark.parametrize("module", ["deploy.hil.simulated_robot", "locomotion.train"])
def test_the_blocker_blocks(module):
    assert "is not on the robot" in run(f"import {module}").stderr
