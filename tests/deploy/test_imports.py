"""The robot's own computer has numpy, onnxruntime and a yaml reader, and nothing else of ours."""

import subprocess
import sys

import pytest

BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        training = {"torch", "mujoco", "hydra", "omegaconf", "onnx", "onnxscript", "gymnasium", "rich", "matplotlib", "pybullet"}
        if name.split(".")[0] in training:
            raise ImportError(f"{name} is not on the robot")
sys.meta_path.insert(0, Blocker())
"""


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", BLOCKER + code, *arguments], capture_output=True, text=True)


def test_deploy_runs_a_policy_without_the_training_libraries(bundle):
    code = """
import numpy as np, robots
import deploy, deploy.contract, deploy.interface, deploy.operator, deploy.runtime, deploy.summary, deploy.supervisor
policy = deploy.contract.load(sys.argv[1], robots.load("unitree_go2"))
signals = {"base_ang_vel": np.zeros((1, 3)), "projected_gravity": np.array([[0, 0, -1.0]]), "command": np.zeros((1, 3)),
           "joint_pos": policy.contract.default_joint_pos[None], "joint_vel": np.zeros((1, 12))}
target, _ = policy.step({name: value.astype(np.float32) for name, value in signals.items()})
assert target.shape == (1, 12) and np.isfinite(target).all()
"""
    result = run(code, str(bundle))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["deploy.hil.simulated_robot", "locomotion.train"])
def test_the_blocker_blocks(module):
    assert "is not on the robot" in run(f"import {module}").stderr
