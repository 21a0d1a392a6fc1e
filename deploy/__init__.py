"""Run a policy on a robot, behind a safety layer. Needs numpy, onnxruntime and a yaml reader; no torch, mujoco or hydra."""
