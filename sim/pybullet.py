"""PyBullet: the robot built from the compiled MuJoCo model's bodies, joints and primitive shapes, one world each.

Processes of several robots each step side by side (``sim.threads``: 1 is this process alone, 0 one for every CPU); results do not
depend on their number. Bullet has no rotors and no dry friction of joints: a rotor's reflected inertia is added to its link's inertia
about the joint's axis, and dry friction is a velocity motor with that little force. See docs/pybullet.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from robots import InputError, Robot
from robots.model import foot_radius, hip_positions, total_mass
from sim.actuation import DC_MOTOR, PD
from sim.mujoco_batch import cpu_count
from sim.mujoco_model import build_model
from sim.parameters import MAX_ACTION_DELAY, PARAMETERS, check_supported, nominal_values
from sim.pybullet_batch import CARRIED, Batch, Setup, named
from sim.pybullet_model import BulletRobot
from sim.pybullet_workers import Crew, check_size
from sim.pybullet_world import gravity_direction, load_bullet
from sim.signals import InitialState, Signals, Tensor, rotate_inverse
from sim.terrain import Terrain

FEWEST = 8  # robots that are worth a process of their own, where nobody says how many there should be


class PybulletSimulator:
    """See :class:`sim.simulator.Simulator`. On level ground, with all of the parameters' table."""

    engine = "pybullet"
    device = torch.device("cpu")
    supports = frozenset({*PARAMETERS, "resume"})

    def __init__(
        self, robot: Robot, num_envs: int, physics_dt: float, threads: int = 1, actuator: str = PD, self_collision: bool = False
    ) -> None:
        load_bullet()  # here, where a person is told if it is missing
        self.robot, self.num_envs, self.physics_dt = robot, num_envs, physics_dt
        self.terrain = Terrain()
        model = build_model(robot, physics_dt)
        self.foot_radius = torch.tensor(foot_radius(model, robot), dtype=torch.float32)
        self.hip_pos = torch.tensor(hip_positions(model, robot), dtype=torch.float32)
        self.total_mass = total_mass(model)
        curve = robot.torque_speed if actuator == DC_MOTOR else None
        setup = Setup(BulletRobot.of(model, robot), robot.kp, robot.kd, robot.effort_limit, curve, physics_dt, self_collision)
        self.workers = min(threads, num_envs) if threads else max(1, min(cpu_count(), num_envs // FEWEST))
        check_size(num_envs, self.workers)
        self._crew = Crew(setup, num_envs, self.workers) if self.workers > 1 else None
        self._arrays = self._crew.arrays if self._crew else {n: np.zeros(s, kind) for n, (kind, s) in setup.layout(num_envs).items()}
        self.values = {name: torch.from_numpy(view) for name, view in named(self._arrays["values"], robot.num_joints).items()}
        for name, value in nominal_values(num_envs, robot.num_joints).items():
            self.values[name].copy_(value)
        self._inputs = {name: torch.from_numpy(self._arrays[name]) for name in ("mask", "target", "initial", "velocity", "applied")}
        self._vectors = torch.from_numpy(self._arrays["vectors"])  # [N, 3, 3] base velocities and gravity, world frame
        self._vectors[:, 2, 2] = -1.0
        self.signals: Any = Signals(torch.from_numpy(self._arrays["signals"]), robot.num_joints, len(robot.feet))
        self.faults = torch.zeros(num_envs, dtype=torch.bool)
        self._robots: Crew | Batch = self._crew or Batch(setup, self._arrays)
        self._do("refresh")

    def reset(self, mask: Tensor, state: InitialState) -> None:
        self._inputs["mask"].copy_(mask)
        self._inputs["initial"][mask] = state.packed[mask]
        self.faults[mask] = False
        self._do("reset")

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        self._inputs["target"].copy_(joint_pos_target)
        self._do("step", substeps)
        self.faults = ~torch.isfinite(self.signals.packed).all(dim=-1)

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        self._inputs["mask"].copy_(mask)
        self._inputs["velocity"].copy_(velocity)
        self._do("push")

    def wrench(self, mask: Tensor, force_torque: Tensor) -> None:
        self._inputs["applied"][mask] = force_torque[mask].double()

    def set_parameters(self, mask: Tensor, values: dict[str, Tensor]) -> None:
        """They reach Bullet with the next reset or step."""
        check_supported("pybullet", self.supports, set(values))
        for name, value in values.items():
            self.values[name][mask] = value[mask].float()
        if "action_delay" in values and float(self.values["action_delay"].max()) > MAX_ACTION_DELAY + 1e-6:
            longest = float(self.values["action_delay"].max())
            raise InputError("action_delay", longest, f"seconds up to {MAX_ACTION_DELAY}", "Lower it.")
        if "ground_slope" in values:
            self._vectors[:, 2] = torch.from_numpy(gravity_direction(self.values["ground_slope"].numpy()))
            self._turn()

    def state_dict(self) -> dict[str, Any]:
        """Bullet's own snapshots are of about 50 kB a robot."""
        snapshots = self._robots.save()
        return {
            **{name: torch.from_numpy(self._arrays[name].copy()) for name in (*CARRIED, "signals", "vectors")},
            "faults": self.faults.clone(),
            "bullet": torch.frombuffer(bytearray(b"".join(snapshots)), dtype=torch.uint8),
            "sizes": torch.tensor([len(one) for one in snapshots]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in CARRIED:
            self._arrays[name][...] = state[name].numpy()
        self._robots.restore([part.numpy().tobytes() for part in state["bullet"].split(state["sizes"].tolist())])
        for name in ("signals", "vectors"):
            self._arrays[name][...] = state[name].numpy()
        self.faults.copy_(state["faults"])

    def close(self) -> None:
        self._robots.close()

    def _do(self, command: str, *given: int) -> None:
        self._robots.do(command, *given)
        self._turn()

    def _turn(self) -> None:
        """The signals in the base's frame."""
        s = self.signals
        base = rotate_inverse(s.base_quat, self._vectors)
        s.base_lin_vel[:], s.base_ang_vel[:], s.projected_gravity[:] = base.unbind(1)
