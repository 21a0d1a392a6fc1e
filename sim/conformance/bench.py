"""What every check stands on: robots in an engine, and the same robot as rigid bodies of which answers are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import mujoco
import numpy as np
import torch

import sim
from robots import Robot
from sim.mujoco_model import build_model
from sim.parameters import nominal_values
from sim.signals import InitialState, Signals
from sim.simulator import Simulator

DT = 0.001  # s, physics step of the checks
HIGH = 2.0  # m, where a robot falls without meeting the ground
WEIGHTLESS: dict[str, Any] = {"gravity_scale": 0.0}
SMOOTH: dict[str, Any] = {"joint_friction_scale": 0.0, "joint_damping_scale": 0.0}  # joints without friction
UNDAMPED: dict[str, Any] = {**WEIGHTLESS, **SMOOTH, "kd_scale": 0.0}
LIMP: dict[str, Any] = {**SMOOTH, "motor_strength": 0.0}
Array = np.ndarray
Edit = Callable[[mujoco.MjModel, Robot], None]


class NotApplicable(Exception):
    """What a check looks at is not there in this robot."""


class Bench:
    """A robot in an engine; ``make`` builds its simulators."""

    def __init__(self, engine: str, robot: Robot, make: Callable[..., Simulator] = sim.make) -> None:
        self.engine, self.robot, self._make = engine, robot, make

    @property
    def joints(self) -> int:
        return self.robot.num_joints

    @cached_property
    def supports(self) -> frozenset[str]:
        """What the engine can, and "cpu" where it runs on one."""
        with self.simulator() as simulator:
            return simulator.supports | ({"cpu"} if simulator.device.type == "cpu" else set())

    def reference(self, edit: Edit | None = None, exact: bool = False) -> Reference:
        """The rigid bodies that the engine is known to make of the robot; ``exact``: the robot's own."""
        approximation = None if exact else APPROXIMATED.get(self.engine)
        return Reference(self.robot, *(change for change in (edit, approximation) if change))

    @contextmanager
    def simulator(self, num_envs: int = 1, dt: float = DT, **values: Any) -> Iterator[Simulator]:
        """Robots with the parameters ``values``: numbers, or arrays that broadcast to [num_envs, ...]; at rest in the air."""
        simulator = self._make(self.engine, self.robot, num_envs, dt, threads=1)
        try:
            set_parameters(simulator, **values)
            simulator.reset(everywhere(simulator), self.standing(simulator, HIGH))
            yield simulator
        finally:
            simulator.close()

    def standing(self, simulator: Simulator, height: float | None = None, pose: Array | None = None) -> InitialState:
        """At rest, the base at ``height`` (m; None: standing) in ``pose`` [J] (rad; None: the default)."""
        chosen = torch.tensor(
            self.robot.default_joint_pos if pose is None else np.array(pose), dtype=torch.float32, device=simulator.device
        )
        at = self.robot.standing_height if height is None else height
        return InitialState.standing(simulator.num_envs, chosen, at, device=simulator.device)

    def target(self, simulator: Simulator, change: Array | float = 0.0) -> torch.Tensor:
        """The default pose and ``change`` (rad) as targets [N, J]."""
        pose = np.broadcast_to(np.array(self.robot.default_joint_pos) + change, (simulator.num_envs, self.joints))
        return torch.tensor(pose, dtype=torch.float32, device=simulator.device)

    def settled(self, simulator: Simulator, state: InitialState, seconds: float = 1.0) -> torch.Tensor:
        """Let the robots hold ``state`` until they rest; the target [N, J] that they go on holding."""
        simulator.reset(everywhere(simulator), state)
        target = state.joint_pos.clone()
        run(simulator, target, seconds)
        return target


def everywhere(simulator: Simulator) -> torch.Tensor:
    return torch.ones(simulator.num_envs, dtype=torch.bool, device=simulator.device)


def set_parameters(simulator: Simulator, **values: Any) -> None:
    """Set ``values`` everywhere: what broadcasts to [N, ...], or a function of the robot that gives it."""
    given = nominal_values(simulator.num_envs, simulator.robot.num_joints, simulator.device)
    for name, value in values.items():
        number = value(simulator.robot) if callable(value) else value
        given[name][:] = torch.as_tensor(np.array(number), dtype=torch.float32, device=simulator.device)
    simulator.set_parameters(everywhere(simulator), {name: given[name] for name in values})


def run(simulator: Simulator, target: torch.Tensor, seconds: float, control_dt: float = 0.02) -> None:
    """Hold ``target`` for ``seconds``."""
    substeps = max(1, round(control_dt / simulator.physics_dt))
    for _ in range(round(seconds / (substeps * simulator.physics_dt))):
        simulator.step(target, substeps)


def numbers(tensor: torch.Tensor) -> Array:
    """float64, on the host."""
    return tensor.detach().double().cpu().numpy()


def velocity(signals: Signals) -> Array:
    """Generalized velocity [N, 6 + J]: base in the world (m/s), base turning in its own frame (rad/s), joints (rad/s)."""
    return numbers(torch.cat([signals.base_lin_vel_world, signals.base_ang_vel, signals.joint_vel], dim=-1))


class Reference:
    """The robot as rigid bodies at one state. ``edits`` change its masses beforehand."""

    def __init__(self, robot: Robot, *edits: Edit) -> None:
        self.robot, self.model = robot, build_model(robot, DT, payload=True)
        for edit in edits:
            edit(self.model, robot)
        self.data = mujoco.MjData(self.model)
        mujoco.mj_setConst(self.model, self.data)
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._positions = [*range(7), *(int(joint.qposadr[0]) for joint in joints)]
        self._dofs = [*range(6), *(int(joint.dofadr[0]) for joint in joints)]
        self.put(np.array([0.0, 0.0, HIGH, 1.0, 0.0, 0.0, 0.0, *robot.default_joint_pos]), np.zeros(6 + robot.num_joints))

    def put(self, position: Array, speed: Array) -> Reference:
        """Base position, quaternion and joints [7 + J]; generalized velocity [6 + J]."""
        self.data.qpos[self._positions], self.data.qvel[self._dofs] = position, speed
        mujoco.mj_forward(self.model, self.data)
        return self

    def see(self, signals: Signals, env: int = 0) -> Reference:
        """The state of environment ``env``."""
        position = torch.cat([signals.base_pos, signals.base_quat, signals.joint_pos], dim=-1)
        return self.put(numbers(position)[env], velocity(signals)[env])

    @property
    def mass_matrix(self) -> Array:
        """[6 + J, 6 + J] kg, kg m, kg m^2, rotors included."""
        matrix = np.zeros((self.model.nv, self.model.nv))
        mujoco.mj_fullM(self.model, self.data, matrix)
        return matrix[np.ix_(self._dofs, self._dofs)]

    @property
    def kinetic_energy(self) -> float:
        """J, rotors included."""
        mujoco.mj_energyVel(self.model, self.data)
        return float(self.data.energy[1])

    @property
    def momentum(self) -> Array:
        """[3] kg m/s, world."""
        mujoco.mj_subtreeVel(self.model, self.data)
        return self.data.subtree_linvel[0] * self.model.body_mass.sum()

    @property
    def feet(self) -> tuple[Array, Array]:
        """Positions [F, 3] (m) and velocities [F, 3] (m/s) of the feet's centres, world."""
        values = [np.array([self.data.sensor(f"{foot}_{what}").data for foot in self.robot.feet]) for what in ("pos", "vel")]
        return values[0], values[1]

    def of_joints(self, field: str) -> Array:
        """A field of the joints' degrees of freedom, [J]."""
        return getattr(self.model, field)[self._dofs[6:]]


def rotors_in_links(model: mujoco.MjModel, robot: Robot) -> None:
    """What engine pybullet does for want of rotors: each one's inertia is added to its link, about the joint's axis."""
    for name in robot.joint_names:
        joint = model.joint(name)
        body, dof, rotation = int(joint.bodyid[0]), int(joint.dofadr[0]), np.zeros(9)
        mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
        model.body_inertia[body] += model.dof_armature[dof] * np.square(rotation.reshape(3, 3).T @ model.jnt_axis[joint.id])
        model.dof_armature[dof] = 0.0


APPROXIMATED: dict[str, Edit] = {"pybullet": rotors_in_links}
