"""The default engine: MuJoCo on the CPU, all environments stepped by C threads over ``mujoco.batch.Batch``."""

from __future__ import annotations

import os
import warnings
from typing import Any

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch, SimulationError

from robots import Robot
from robots.model import add_ground, build_spec
from sim.simulator import InitialState, Signals, Tensor, rotate_inverse

GRAVITY = 9.81  # m/s^2
MAX_DELAY = 0.04  # s, the longest action delay that the control's history can hold
DIVERGED = [mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC]


def build_model(robot: Robot, physics_dt: float) -> mujoco.MjModel:
    """The robot on flat ground, with the sensors that :class:`Signals` needs laid out one kind after the other."""
    spec = build_spec(robot, max_delay_steps=round(MAX_DELAY / physics_dt))
    add_ground(spec, robot)
    spec.option.timestep = physics_dt
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    contact, geom = mujoco.mjtSensor.mjSENS_CONTACT, mujoco.mjtObj.mjOBJ_GEOM
    found, force, net = 1 << mujoco.mjtConDataField.mjCONDATA_FOUND.value, 1 << mujoco.mjtConDataField.mjCONDATA_FORCE.value, 3
    for foot in robot.feet:  # net force of the ground (first) on the foot (second), world frame
        spec.add_sensor(
            name=f"{foot}_force", type=contact, objtype=geom, objname="ground", reftype=geom, refname=foot, intprm=[force, net, 1]
        )
    for kind, name in ((mujoco.mjtSensor.mjSENS_FRAMEPOS, "pos"), (mujoco.mjtSensor.mjSENS_FRAMELINVEL, "vel")):
        for foot in robot.feet:
            spec.add_sensor(name=f"{foot}_{name}", type=kind, objtype=geom, objname=foot)
    for foot in robot.feet:
        spec.add_sensor(name=f"{foot}_found", type=contact, objtype=geom, objname=foot, intprm=[found, 0, 1])
    spec.add_sensor(name="ground_found", type=contact, objtype=geom, objname="ground", intprm=[found, 0, 1])
    return spec.compile()


class MujocoSimulator:
    """See :class:`sim.simulator.Simulator`. ``threads`` = 0 uses every CPU; results do not depend on it."""

    def __init__(self, robot: Robot, num_envs: int, physics_dt: float, threads: int = 0) -> None:
        self.robot, self.num_envs, self.physics_dt = robot, num_envs, physics_dt
        self.model = build_model(robot, physics_dt)
        self._batch = Batch(self.model, num_envs, threads or len(os.sched_getaffinity(0)))
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos_columns = _columns([int(joint.qposadr[0]) for joint in joints])
        self._qvel_columns = _columns([int(joint.dofadr[0]) for joint in joints])
        self._base = self.model.body(robot.base_body).id
        self._feet = [self.model.geom(foot).id for foot in robot.feet]
        # numpy views of the batch's live state and outputs
        self._qpos, self._qvel, self._ctrl = (self._batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self._sensordata, self._force = _read_only(self._batch.bind("sensordata")), _read_only(self._batch.bind("actuator_force"))
        self._target = torch.from_numpy(self._ctrl)
        self._gravity = torch.tensor([0.0, 0.0, -1.0]).repeat(num_envs, 1)  # [N, 3] unit vector, world
        self._allocate_signals()
        self._expand_parameters()
        self.faults = torch.zeros(num_envs, dtype=torch.bool)
        self._batch.forward()
        self._refresh()

    def reset(self, ids: Tensor, state: InitialState) -> None:
        rows = ids.numpy()
        self._batch.reset(rows, stage=mujoco.mjtStage.mjSTAGE_NONE.value)
        self._qpos[rows, :3], self._qpos[rows, 3:7] = state.base_pos.numpy(), state.base_quat.numpy()
        self._qvel[rows, :3], self._qvel[rows, 3:6] = state.base_lin_vel.numpy(), state.base_ang_vel.numpy()
        joint_pos = state.joint_pos.numpy()
        self._qpos[rows[:, None], self._qpos_index] = joint_pos
        self._qvel[rows[:, None], self._qvel_index] = state.joint_vel.numpy()
        self._ctrl[rows] = joint_pos
        self._history_values[rows] = joint_pos[:, :, None]
        self._forward(rows)
        self.faults[ids] = False
        self._refresh()

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        self._target.copy_(joint_pos_target)
        self.faults.zero_()
        try:
            self._batch.step(nstep=substeps)
        except SimulationError as error:
            self.faults[torch.from_numpy(np.asarray(error.ids, dtype=np.int64))] = True
        diverged = self._warnings.any(axis=1)
        if diverged.any():  # MuJoCo has put these back to the model's default state by itself
            self.faults |= torch.from_numpy(diverged)
            self._batch.warning[diverged] = 0
        self._refresh()

    def push(self, ids: Tensor, velocity: Tensor) -> None:
        self._qvel[ids.numpy(), :2] += velocity.numpy()
        self._refresh()

    def randomize(self, ids: Tensor, values: dict[str, Tensor]) -> None:
        rows = ids.numpy()
        new = {name: value.numpy().astype(np.float64) for name, value in values.items()}
        if "friction" in new:
            self._friction[rows[:, None], self._feet, 0] = new["friction"][:, None]
        if "base_mass_offset" in new:
            nominal = self.model.body_mass[self._base]
            mass = nominal + new["base_mass_offset"]
            self._mass[rows, self._base] = mass
            self._inertia[rows, self._base] = self.model.body_inertia[self._base] * (mass / nominal)[:, None]
        if "base_com_offset" in new:
            self._com[rows, self._base] = self.model.body_ipos[self._base] + new["base_com_offset"]
        if new.keys() & {"kp_scale", "kd_scale", "motor_strength"}:
            ones = np.ones((len(rows), self.robot.num_joints))
            strength = new.get("motor_strength", ones)
            kp = self.robot.kp * new.get("kp_scale", ones) * strength
            self._gain[rows, :, 0], self._bias[rows, :, 1] = kp, -kp
            self._bias[rows, :, 2] = -self.robot.kd * new.get("kd_scale", ones) * strength
            limit = self.robot.effort_limit * strength
            self._force_range[rows] = np.stack([-limit, limit], axis=-1)
        if "action_delay" in new:
            self._delay[rows] = new["action_delay"][:, None]
        if "ground_slope" in new:
            # a slope of the ground is a tilt of gravity over a level plane
            x, y = np.tan(new["ground_slope"]).T
            direction = np.stack([-x, -y, -np.ones_like(x)], axis=-1)
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            self._opt_gravity[rows] = GRAVITY * direction
            self._gravity[ids] = torch.from_numpy(direction).float()
        if new.keys() & {"base_mass_offset", "base_com_offset"}:
            self._batch.set_const(rows)

    def state_dict(self) -> dict[str, Any]:
        arrays = {name: self._batch.expand(name) for name in self._expanded} | {"state": self._batch.state}
        return {
            "gravity": self._gravity.clone(),
            "faults": self.faults.clone(),
            "sensordata": self._sensordata.clone(),
            "actuator_force": self._force.clone(),
            **{name: torch.from_numpy(np.ascontiguousarray(array)).clone() for name, array in arrays.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self._expanded:
            self._batch.expand(name)[...] = state[name].numpy()
        self._batch.set_const()
        self._batch.state[...] = state["state"].numpy()
        self._gravity.copy_(state["gravity"])
        self.faults.copy_(state["faults"])
        self._read_state()
        self._read_outputs(state["sensordata"], state["actuator_force"])

    def close(self) -> None:
        """Nothing to release: the batch goes with this object."""

    def mj_model_data(self, env: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Environment ``env`` as a model and forwarded data, to render it."""
        model, data = self._batch.get_model(env), self._batch.get_data(env)
        mujoco.mj_forward(model, data)
        return model, data

    def _allocate_signals(self) -> None:
        n, f = self.num_envs, len(self._feet)
        self.signals = Signals.zeros(n, self.robot.num_joints, f)
        self._sensors = torch.zeros(n, self.model.nsensordata)
        kinds = self._sensors[:, : 9 * f].view(n, 3, f, 3)
        self.signals.foot_contact_force, self.signals.foot_pos, self.signals.foot_vel = kinds.unbind(1)
        self._num_foot_columns = 9 * f
        self._world = torch.zeros(n, 2, 3)  # base velocity and gravity in the world frame
        self._qpos_tensor, self._qvel_tensor = torch.from_numpy(self._qpos), torch.from_numpy(self._qvel)  # float64, live
        self._qpos32, self._qvel32 = torch.zeros(n, self.model.nq), torch.zeros(n, self.model.nv)
        self.signals.base_pos, self.signals.base_quat = self._qpos32[:, :3], self._qpos32[:, 3:7]
        self.signals.base_ang_vel = self._qvel32[:, 3:6]
        self.signals.joint_pos, self.signals.joint_vel = self._qpos32[:, self._qpos_columns], self._qvel32[:, self._qvel_columns]
        self._qpos_index = np.arange(self.model.nq)[self._qpos_columns]
        self._qvel_index = np.arange(self.model.nv)[self._qvel_columns]
        warning = self._batch.warning
        self._warnings = warning[:, DIVERGED[0] : DIVERGED[-1] + 1, 1]
        # control history: per actuator [user, cursor, times (n), values (n)]
        samples = int(self.model.actuator_history[0, 0])
        history = self._batch.bind("history").reshape(n, self.robot.num_joints, 2 + 2 * samples)
        self._history_values = history[:, :, 2 + samples :]

    def _expand_parameters(self) -> None:
        self._expanded = (
            "geom_friction", "body_mass", "body_inertia", "body_ipos", "actuator_gainprm", "actuator_biasprm",
            "actuator_forcerange", "actuator_delay", "opt.gravity",
        )  # fmt: skip
        arrays = [self._batch.expand(name) for name in self._expanded]
        self._friction, self._mass, self._inertia, self._com, self._gain, self._bias, self._force_range = arrays[:7]
        self._delay, self._opt_gravity = arrays[7:]
        self._opt_gravity[:] = (0.0, 0.0, -GRAVITY)

    def _forward(self, rows: np.ndarray) -> None:
        try:
            self._batch.forward(rows)
        except SimulationError as error:
            self.faults[torch.from_numpy(np.asarray(error.ids, dtype=np.int64))] = True

    def _refresh(self) -> None:
        self._read_state()
        self._read_outputs(self._sensordata, self._force)

    def _read_state(self) -> None:
        # two conversions to float32; base_pos, base_quat, base_ang_vel and consecutive joints are views of the results
        signals = self.signals
        self._qpos32.copy_(self._qpos_tensor)
        self._qvel32.copy_(self._qvel_tensor)
        if not isinstance(self._qpos_columns, slice):
            signals.joint_pos = self._qpos32[:, self._qpos_columns]
        if not isinstance(self._qvel_columns, slice):
            signals.joint_vel = self._qvel32[:, self._qvel_columns]
        self._world[:, 0] = self._qvel32[:, :3]
        self._world[:, 1] = self._gravity
        signals.base_lin_vel, signals.projected_gravity = rotate_inverse(signals.base_quat, self._world).unbind(1)

    def _read_outputs(self, sensordata: Tensor, force: Tensor) -> None:
        self._sensors.copy_(sensordata)
        self.signals.joint_torque.copy_(force)
        counts = self._sensors[:, self._num_foot_columns :]
        torch.sub(counts[:, -1], counts[:, :-1].sum(dim=1), out=self.signals.body_contacts)


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
