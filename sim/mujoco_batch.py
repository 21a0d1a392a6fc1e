"""The default engine: MuJoCo on the CPU, all environments stepped by C threads over ``mujoco.batch.Batch``."""

from __future__ import annotations

import os
import warnings
from itertools import pairwise
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from robots import InputError, Robot
from robots.model import GROUND, KD, KP, RESISTANCE, foot_radius, hip_positions, total_mass
from robots.robot import GRAVITY
from sim.actuation import DC_MOTOR, EARLY, PD, LearnedActuator, Network
from sim.mujoco_model import PAYLOAD, build_model
from sim.parameters import MAX_ACTION_DELAY, PARAMETERS, nominal_values
from sim.signals import InitialState, Signals, Tensor, rotate_inverse
from sim.terrain import Terrain

DIVERGED = [mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC]
MASS = {"base_mass_offset", "base_com_offset", "payload_mass", "payload_pos", "link_mass_scale", "inertia_scale", "armature_scale"}
GAINS = {"kp_scale", "kd_scale", "motor_strength", "effort_limit_scale"}
LIGHTEST = 0.2  # share of its mass that a base keeps, whatever is taken off
FEW = 4  # rows that are read alone are at most one in so many
DEAD = 1e-9  # strength of a motor that gives no torque, as a divisor
DOFS = {"armature_scale": "dof_armature", "joint_friction_scale": "dof_frictionloss", "joint_damping_scale": "dof_damping"}
EXPANDED = (
    "geom_friction", "body_mass", "body_inertia", "body_ipos", *DOFS.values(), "actuator_gainprm", "actuator_biasprm",
    "actuator_forcerange", "actuator_delay", "opt.gravity",
)  # fmt: skip


mujoco.set_mju_user_warning(lambda message: None)  # faults are counted and told; MuJoCo would also write MUJOCO_LOG.TXT where one stands


class MujocoSimulator:
    """See :class:`sim.simulator.Simulator`. ``threads`` = 0 uses every CPU; results do not depend on it."""

    engine = "mujoco"
    device = torch.device("cpu")
    supports = frozenset({*PARAMETERS, "terrain", "resume"} - {"restitution"})

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        physics_dt: float,
        threads: int = 0,
        terrain: Terrain | None = None,
        firm: bool = False,
        actuator: str = PD,
        self_collision: bool = False,
        network: Network | None = None,
        held: bool = False,
    ) -> None:
        self.robot, self.num_envs, self.physics_dt = robot, num_envs, physics_dt
        self.terrain = terrain or Terrain()
        self._actuator = actuator
        self._learned = LearnedActuator(network, robot, num_envs, physics_dt) if network else None
        self.model = build_model(robot, physics_dt, terrain, firm, actuator, True, self_collision, held)
        self.foot_radius = torch.tensor(foot_radius(self.model, robot), dtype=torch.float32)
        self.hip_pos = torch.tensor(hip_positions(self.model, robot), dtype=torch.float32)
        self.total_mass = total_mass(self.model)
        self._batch = Batch(self.model, num_envs, threads or cpu_count())
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos_columns = _columns([int(joint.qposadr[0]) for joint in joints])
        self._qvel_columns = _columns([int(joint.dofadr[0]) for joint in joints])
        self._base, self._ground = self.model.body(robot.base_body).id, self.model.geom(GROUND).id
        self._payload, self._dofs = self.model.body(PAYLOAD).id, np.array([int(joint.dofadr[0]) for joint in joints])
        # which links each joint moves: its body, and what is welded to that, [J, bodies]
        moved = np.array([self.model.body_weldid == self.model.jnt_bodyid[joint.id] for joint in joints])
        self._carrier = np.where(moved.any(axis=0), moved.argmax(axis=0), -1)  # [bodies] joint, -1 for base and ground
        self.values = nominal_values(num_envs, robot.num_joints)  # what set_parameters() was told last
        self._values = {name: value.numpy() for name, value in self.values.items()}  # the same memory: numpy is quicker on few rows
        self._expanded = {name: self._batch.expand(name) for name in EXPANDED}
        self._expanded["geom_friction"][:, self._ground, 0] = self._values["friction"]  # rounded as when it is told
        self._expanded["opt.gravity"][:] = (0.0, 0.0, -GRAVITY)
        self._gravity = torch.tensor([0.0, 0.0, -1.0]).repeat(num_envs, 1)  # [N, 3] unit vector, world
        self._gravity_rows = self._gravity.numpy()  # the same memory
        self._bind()
        self.faults = torch.zeros(num_envs, dtype=torch.bool)
        self._batch.forward()
        self._read_all()

    @property
    def signals(self) -> Signals:
        if self._stale is not None:
            self._read_rows(self._stale)
        return self._signals

    def reset(self, mask: Tensor, state: InitialState) -> None:
        rows = mask.nonzero().squeeze(-1).numpy()
        if not len(rows):
            return
        j, chosen = self.robot.num_joints, state.packed.numpy()[rows].astype(np.float64)
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self._qpos[rows, :7], self._qvel[rows, :6] = chosen[:, :7], chosen[:, 7 + j : 13 + j]
        joint_pos = chosen[:, 7 : 7 + j]
        self._qpos[rows[:, None], self._qpos_index] = joint_pos
        self._qvel[rows[:, None], self._qvel_index] = chosen[:, 13 + j :]
        self._ctrl[rows] = joint_pos
        if self._learned:
            read = state.joint_pos[rows] + self.values["joint_zero_offset"][rows]
            self._learned.reset(torch.from_numpy(rows), read, state.joint_vel[rows])
        self._history_values[rows] = joint_pos[:, :, None]
        try:
            self._batch.forward(rows)
        except SimulationError as error:
            self._fail(error)
        self._touch(rows)

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        self.faults.zero_()
        try:
            self.raw_step(joint_pos_target, substeps)
        except SimulationError as error:
            self._fail(error)
        if self._batch.warning.any() and self._warnings.any():  # the former, all in one piece, is quicker
            # MuJoCo has put these back to the model's default state by itself
            diverged = self._warnings.any(axis=1)
            self.faults |= torch.from_numpy(diverged)
            self._batch.warning[diverged] = 0
        self._read_all()

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        rows = mask.nonzero().squeeze(-1).numpy()
        if len(rows):
            self._qvel[rows, :2] += velocity.numpy()[rows]
            self._touch(rows)

    def wrench(self, mask: Tensor, force_torque: Tensor) -> None:
        rows = mask.nonzero().squeeze(-1).numpy()
        if len(rows):
            self._applied[rows, self._base] = force_torque.numpy()[rows]

    def set_parameters(self, mask: Tensor, values: dict[str, Tensor]) -> None:
        rows, names = mask.nonzero().squeeze(-1).numpy(), values.keys()
        if not len(rows):
            return
        for name, value in values.items():
            self._values[name][rows] = value.numpy()[rows]
        if "friction" in names:
            self._expanded["geom_friction"][rows, self._ground, 0] = self._values["friction"][rows]
        for name in names & DOFS.keys():
            field = DOFS[name]
            self._expanded[field][rows[:, None], self._dofs] = getattr(self.model, field)[self._dofs] * self._values[name][rows]
        if names & MASS:
            self._set_mass(rows)
        if names & GAINS:
            self._set_gains(rows)
        if names & {"action_delay", "action_jitter"}:
            held, jitter = (self._values[name][rows].astype(np.float64) for name in ("action_delay", "action_jitter"))
            if held.max() > MAX_ACTION_DELAY + 1e-6:
                raise InputError("action_delay", float(held.max()), f"seconds up to {MAX_ACTION_DELAY}", "Lower it.")
            delay = np.minimum(held + jitter, max(MAX_ACTION_DELAY, held.max()))
            if self._learned:  # before the network, and not between it and the motor
                self._learned.delay(torch.from_numpy(rows), torch.from_numpy(delay))
            else:
                self._expanded["actuator_delay"][rows] = np.maximum(delay - EARLY, 0.0)[:, None]
        if names & {"ground_slope", "gravity_scale"}:
            # a slope of the ground is a tilt of gravity over a level plane
            x, y = np.tan(self._values["ground_slope"][rows].astype(np.float64)).T
            direction = np.stack([-x, -y, -np.ones_like(x)], axis=-1)
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            self._expanded["opt.gravity"][rows] = GRAVITY * (self._values["gravity_scale"][rows, None] * direction)
            self._gravity_rows[rows] = direction
            self._touch(rows)

    def state_dict(self) -> dict[str, Any]:
        arrays = {**self._expanded, "state": self._batch.state}
        return {
            "values": {name: value.clone() for name, value in self.values.items()},
            "gravity": self._gravity.clone(),
            "faults": self.faults.clone(),
            "signals": self.signals.packed.clone(),
            "actuator": self._learned.state_dict() if self._learned else None,
            **{name: torch.from_numpy(np.ascontiguousarray(array)).clone() for name, array in arrays.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, array in self._expanded.items():
            array[...] = state[name].numpy()
        self._batch.set_const()
        self._batch.state[...] = state["state"].numpy()
        for name, value in self.values.items():
            value.copy_(state["values"][name])
        self._gravity.copy_(state["gravity"])
        self.faults.copy_(state["faults"])
        self._signals.packed.copy_(state["signals"])
        if self._learned:
            self._learned.load_state_dict(state["actuator"])
        self._stale = None

    def close(self) -> None:
        """Nothing to release: the batch goes with this object."""

    def raw_step(self, joint_pos_target: Tensor, substeps: int) -> None:
        """Physics alone, without reading the signals: the limit that benchmarks compare with."""
        if self._learned is None:
            # an encoder that reads too much: its motor's loop stops short by as much
            torch.sub(joint_pos_target, self.values["joint_zero_offset"], out=self._target)
            self._batch.step(nstep=substeps)
            return
        for _ in range(substeps):
            q, dq = self._qpos_tensor[:, self._qpos_columns].float(), self._qvel_tensor[:, self._qvel_columns].float()
            read = self._learned.target(joint_pos_target, q + self.values["joint_zero_offset"], dq)
            torch.sub(read, self.values["joint_zero_offset"], out=self._target)
            self._batch.step(nstep=1)

    def mj_model_data(self, env: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Environment ``env`` as a model and forwarded data, to render it."""
        model, data = self._batch.get_model(env), self._batch.get_data(env)
        mujoco.mj_forward(model, data)
        return model, data

    def _set_mass(self, rows: np.ndarray) -> None:
        value = {name: self._values[name][rows] for name in MASS}
        links = np.concatenate([value["link_mass_scale"], np.ones((len(rows), 1), np.float32)], axis=1)  # the last is of no joint
        factor = links[:, self._carrier].astype(np.float64)  # [rows, bodies]
        nominal = self.model.body_mass[self._base]
        base_mass = np.maximum(nominal + value["base_mass_offset"], LIGHTEST * nominal)
        factor[:, self._base] = base_mass / self.model.body_mass[self._base]
        mass, inertia, ipos = (self._expanded[name] for name in ("body_mass", "body_inertia", "body_ipos"))
        mass[rows] = self.model.body_mass * factor
        mass[rows, self._base] = base_mass
        inertia[rows] = self.model.body_inertia * (factor * value["inertia_scale"][:, None])[..., None]
        ipos[rows, self._base] = self.model.body_ipos[self._base] + value["base_com_offset"]
        mass[rows, self._payload], ipos[rows, self._payload] = value["payload_mass"], value["payload_pos"]
        self._batch.set_const(rows)

    def _set_gains(self, rows: np.ndarray) -> None:
        kp_scale, kd_scale, strength = (self._values[name][rows] for name in ("kp_scale", "kd_scale", "motor_strength"))
        kp, limit = self.robot.kp * kp_scale * strength, self.robot.effort_limit * strength * self._values["effort_limit_scale"][rows]
        kd, gain = self.robot.kd * kd_scale * strength, self._expanded["actuator_gainprm"]
        if self._actuator == DC_MOTOR:
            # the stall torque goes with the inverse of the resistance, the no-load speed stays
            gain[rows, :, RESISTANCE] = self.model.actuator_gainprm[:, RESISTANCE] / np.maximum(strength, DEAD)
            gain[rows, :, KP], gain[rows, :, KD] = kp, kd
        else:
            gain[rows, :, 0] = kp
            bias = self._expanded["actuator_biasprm"]
            bias[rows, :, 1], bias[rows, :, 2] = -kp, -kd
        self._expanded["actuator_forcerange"][rows] = np.stack([-limit, limit], axis=-1)

    def _bind(self) -> None:
        n, j, f = self.num_envs, self.robot.num_joints, len(self.robot.feet)
        # numpy views of the batch's live state, and tensors over its outputs
        self._qpos, self._qvel, self._ctrl = (self._batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self._sensors, self._force = _read_only(self._batch.bind("sensordata")), _read_only(self._batch.bind("actuator_force"))
        self._applied = self._batch.bind("xfrc_applied")
        self._target = torch.from_numpy(self._ctrl)
        self._qpos_tensor, self._qvel_tensor = torch.from_numpy(self._qpos), torch.from_numpy(self._qvel)
        self._qpos_index = np.arange(self.model.nq)[self._qpos_columns]
        self._qvel_index = np.arange(self.model.nv)[self._qvel_columns]
        self._warnings = self._batch.warning[:, DIVERGED[0] : DIVERGED[-1] + 1, 1]
        # control history: per actuator [user, cursor, times (n), values (n)]
        samples = int(self.model.actuator_history[0, 0])
        history = self._batch.bind("history").reshape(n, j, 2 + 2 * samples)
        self._history_values = history[:, :, 2 + samples :]
        self._signals = Signals.zeros(n, j, f)
        # read by rows, as the engine has them, and turned in one go: from row to column number by number is several times as slow
        self._rows = Signals(torch.zeros(self._signals.packed.shape), j, f)
        self._stale: np.ndarray | None = None  # rows that have changed since they were read
        # the packed row: base and joint positions | base and joint velocities | torques | sensors | derived
        edges = np.cumsum([0, 7 + j, 6 + j, j, 10 * f + 1, 6]).tolist()
        self._blocks = [slice(a, b) for a, b in pairwise(edges)]
        self._sources = (self._qpos_tensor, self._qvel_tensor, self._force, self._sensors, self._gravity)

    def _touch(self, rows: np.ndarray) -> None:
        self._stale = rows if self._stale is None else np.union1d(self._stale, rows)

    def _read_all(self) -> None:
        self._read(self._rows, *self._sources)
        self._signals.packed.T.copy_(self._rows.packed.T)
        self._stale = None

    def _read_rows(self, rows: np.ndarray) -> None:
        """Few rows alone: the same arithmetic on less."""
        if FEW * len(rows) > self.num_envs:
            self._read_all()
            return
        index = torch.from_numpy(rows)
        some = self._signals.rows(index)
        self._read(some, *(source[index] for source in self._sources))
        self._signals.packed.index_copy_(0, index, some.packed)
        self._stale = None

    def _read(self, signals: Signals, qpos: Tensor, qvel: Tensor, force: Tensor, sensors: Tensor, gravity: Tensor) -> None:
        """Fill ``signals`` [n] from the batch's state and outputs [n, ...]."""
        packed, (pos, vel, torque, measured, derived) = signals.packed, self._blocks
        if isinstance(self._qpos_columns, slice) and isinstance(self._qvel_columns, slice):
            packed[:, pos].copy_(qpos)
            packed[:, vel].copy_(qvel)
        else:
            self._scatter_state(packed, qpos, qvel)
        packed[:, torque].copy_(force)
        packed[:, measured].copy_(sensors)
        world = torch.stack((signals.base_lin_vel_world, gravity), dim=1)
        packed[:, derived] = rotate_inverse(signals.base_quat, world).view(-1, 6)

    def _scatter_state(self, packed: Tensor, qpos: Tensor, qvel: Tensor) -> None:
        """The state of a robot whose joints do not stand one after the other in the model."""
        j = self.robot.num_joints
        packed[:, :7], packed[:, 7 : 7 + j] = qpos[:, :7], qpos[:, self._qpos_columns]
        packed[:, 7 + j : 13 + j], packed[:, 13 + j : 13 + 2 * j] = qvel[:, :6], qvel[:, self._qvel_columns]

    def _fail(self, error: SimulationError) -> None:
        self.faults[torch.from_numpy(np.asarray(error.ids, dtype=np.int64))] = True


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_only(array: np.ndarray) -> Tensor:
    """A tensor over an output of the batch, which nobody here writes to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def _columns(indices: list[int]) -> slice | list[int]:
    """A slice where the indices are consecutive (a view instead of a copy), else the indices."""
    if indices == list(range(indices[0], indices[0] + len(indices))):
        return slice(indices[0], indices[0] + len(indices))
    return indices
