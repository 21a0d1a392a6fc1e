"""MuJoCo on a GPU: the compiled model of the CPU engine through MuJoCo Warp, its arrays shared with torch.

A control step, a reset's forward pass and the constants that follow from masses are one CUDA graph each, started on torch's stream,
and nothing waits for the device. Warp's CPU device runs the same kernels without graphs: slow, for tests. Numbers are float32.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import mujoco
import numpy as np
import torch

from robots import InputError, Robot
from robots.model import GROUND, KD, KP, RESISTANCE, foot_radius, hip_positions, total_mass
from robots.robot import GRAVITY
from sim.actuation import DC_MOTOR, PD
from sim.mujoco_batch import DEAD, DOFS, EXPANDED, GAINS, LIGHTEST, MASS
from sim.mujoco_model import PAYLOAD, build_model
from sim.parameters import MAX_ACTION_DELAY, PARAMETERS, nominal_values
from sim.signals import InitialState, Signals, Tensor, rotate_inverse
from sim.terrain import Terrain

CONTACTS = {"SPHERE": 1, "ELLIPSOID": 1, "CAPSULE": 2}  # the most that a shape has with a plane; any other: 4
MEETINGS = 24  # contacts of a robot with itself for which there is room, where its shapes meet
DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0")  # of masses: what set_const() works out of each robot
STATE = ("qpos", "qvel", "ctrl", "history", "qacc_warmstart", "xfrc_applied")  # all that a step depends on
LARGEST = 1e6  # m, rad and these a second: what float32 cannot go on from; MuJoCo's own bound is for float64
HARDEST = float(mujoco.mjMAXVAL)  # m/s^2, rad/s^2: MuJoCo's own


class WarpSimulator:
    """See :class:`sim.simulator.Simulator`. ``device`` is "cuda", "cuda:1", ... or "cpu"; None: the GPU where there is one, else the CPU.

    ``contacts`` of one robot find room (None: all that its shapes can have with the ground). Where they do not, some are left out,
    :attr:`overflows` counts the robots' control steps in which that happened, and :meth:`close` says so.
    """

    engine = "mujoco_warp"
    supports = frozenset({*PARAMETERS, "resume"} - {"restitution"})

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        physics_dt: float,
        device: str | None = None,
        firm: bool = False,
        actuator: str = PD,
        self_collision: bool = False,
        contacts: int | None = None,
    ) -> None:
        self._wp, self._mjw, self._kernels = load_warp()
        self.device = find_device(device)
        self.robot, self.num_envs, self.physics_dt, self.terrain, self._actuator = robot, num_envs, physics_dt, Terrain(), actuator
        self.model = build_model(robot, physics_dt, None, firm, actuator, payload=True, self_collision=self_collision)
        self.foot_radius = self._tensor(foot_radius(self.model, robot))
        self.hip_pos = self._tensor(hip_positions(self.model, robot))
        self.total_mass = total_mass(self.model)
        self.values = nominal_values(num_envs, robot.num_joints, self.device)  # what set_parameters() was told last
        self.faults = torch.zeros(num_envs, dtype=torch.bool, device=self.device)  # where a physics step came to no state
        self.overflows = torch.zeros((), dtype=torch.int64, device=self.device)  # robots' control steps with contacts left out
        self._graphs: dict[Any, Any] = {}
        self._ground = self.model.geom(GROUND).id
        self._put(contacts or most_contacts(self.model) + MEETINGS * self_collision)
        self._compile()
        self._lay_out()
        self._all = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self._set_fields({"friction", "ground_slope"})
        self._restart(self._all)
        self._forward()
        self._read(self._all)

    @property
    def signals(self) -> Signals:
        if self._stale:
            self._read_state()
        return self._signals

    def reset(self, mask: Tensor, state: InitialState) -> None:
        if self._nobody(mask):
            return
        edge = 7 + self.robot.num_joints
        self._restart(mask)
        for kept, value in (
            (self._qpos, state.packed[:, :edge][:, self._qpos_from]),
            (self._qvel, state.packed[:, edge:][:, self._qvel_from]),
            (self._ctrl, state.joint_pos),
            (self._history_values, state.joint_pos[:, :, None]),
        ):
            _write(mask, value, kept)
        self._forward()
        self._read(mask)

    def step(self, joint_pos_target: Tensor, substeps: int) -> None:
        torch.sub(joint_pos_target, self.values["joint_zero_offset"], out=self._ctrl)
        # float32 would lose count of seconds: a control step begins at zero, and a target is as old as its place in the history says
        self._time.zero_()
        self._history_times.copy_(self._ages[self._cursor])
        self._cursor = (self._cursor + substeps) % len(self._ages)

        self.faults.zero_()
        self._launch(("step", substeps), lambda: self._physics(substeps))
        self._restart(self.faults)  # as MuJoCo itself does
        self._read(self._all)
        _, _, torque, sensors, _ = self._blocks
        self._signals.packed[:, torque.start : sensors.stop].masked_fill_(self.faults[:, None], 0.0)
        self._count_overflows()

    def push(self, mask: Tensor, velocity: Tensor) -> None:
        self._qvel[:, :2] += torch.where(mask[:, None], velocity, 0.0)
        self._stale = True

    def wrench(self, mask: Tensor, force_torque: Tensor) -> None:
        _write(mask, force_torque, self._applied[:, self._base])

    def set_parameters(self, mask: Tensor, values: dict[str, Tensor]) -> None:
        if self._nobody(mask):
            return
        for name, value in values.items():
            _write(mask, value, self.values[name])
        if "action_delay" in values and self.device.type == "cpu":  # elsewhere looking would have to wait; it is cut off there
            check_delay(self.values["action_delay"])
        self._set_fields(set(values))

    def state_dict(self) -> dict[str, Any]:
        return {
            "values": {name: value.clone() for name, value in self.values.items()},
            "faults": self.faults.clone(),
            "overflows": self.overflows.clone(),
            "signals": self.signals.packed.clone(),
            **{name: self._view(name).clone() for name in STATE},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in self.values.items():
            value.copy_(state["values"][name])
        self._set_fields(set(self.values))
        for name in STATE:
            self._view(name).copy_(state[name])
        self._cursor = int(state["history"][0, 1])
        self.faults.copy_(state["faults"])
        self.overflows.copy_(state["overflows"])
        self._signals.packed.copy_(state["signals"])
        self._stale = False

    def close(self) -> None:
        if count := int(self.overflows):
            self.overflows.zero_()
            what = f"in {count} control steps of robots there were more contacts than sim.contacts={self._contacts} has room for"
            print(f"warning: {self.engine}: {what}: some were left out. Raise sim.contacts.", file=sys.stderr)

    # how it works

    def _put(self, contacts: int) -> None:
        """Model and data on the device; every field that is randomized has a row a robot."""
        n, m, rows = self.num_envs, self.model, 3 if self.model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC else 4
        sizes = dict.fromkeys([name for name in (*EXPANDED, *DERIVED) if name != "opt.gravity"], n)
        limits = int(m.jnt_limited.sum()) + int((m.dof_frictionloss > 0).sum())
        self._contacts = contacts
        with self._on_device():
            self._m = self._mjw.put_model(m, batch_sizes=sizes)
            self._m.opt.warn_overflow = 0  # counted here, instead of a line on the terminal from every robot
            if self.device.type == "cuda":  # else the solver goes through all iterations that it may
                self._m.opt.graph_conditional = self._wp.is_conditional_graph_supported()
            self._m.opt.gravity = self._wp.array(np.tile(m.opt.gravity, (n, 1)), dtype=self._wp.vec3)
            self._d = self._mjw.make_data(m, nworld=n, nconmax=contacts, njmax=limits + rows * contacts)
            self._faults = self._wp.from_torch(self.faults)
        self._m.callback.contactfilter = self._align_capsules

    def _lay_out(self) -> None:
        """Tensors over Warp's arrays, and which of their columns belong to which joint, link and foot."""
        n, j, f, robot, model = self.num_envs, self.robot.num_joints, len(self.robot.feet), self.robot, self.model
        joints = [model.joint(name) for name in robot.joint_names]
        dofs = [int(joint.dofadr[0]) for joint in joints]
        self._qpos_to = self._tensor([*range(7), *(int(joint.qposadr[0]) for joint in joints)], torch.int64)
        self._qvel_to, self._dofs = self._tensor([*range(6), *dofs], torch.int64), self._tensor(dofs, torch.int64)
        self._qpos_from, self._qvel_from = self._qpos_to.argsort(), self._qvel_to.argsort()
        self._base, self._payload = model.body(robot.base_body).id, model.body(PAYLOAD).id
        moved = np.array([model.body_weldid == model.jnt_bodyid[joint.id] for joint in joints])  # [J, bodies]
        self._carrier = self._tensor(np.where(moved.any(axis=0), moved.argmax(axis=0), j), torch.int64)  # [bodies] J: no joint's
        self._kp, self._kd, self._limit = (self._tensor(x) for x in (robot.kp, robot.kd, robot.effort_limit))
        fields = [name for name in EXPANDED if name != "opt.gravity"]
        self._fields = {name: self._wp.to_torch(getattr(self._m, name)) for name in fields}
        self._nominal = {name: self._tensor(getattr(model, name)) for name in fields}
        self._gravity_field = self._wp.to_torch(self._m.opt.gravity)
        self._qpos, self._qvel, self._ctrl, history, self._warm, self._applied = (self._view(name) for name in STATE)
        self._time, self._overflow = self._view("time"), self._view("overflow")
        self._force, self._sensors = self._view("actuator_force"), self._view("sensordata")
        self._qpos0 = self._tensor(model.qpos0)
        # control history: per actuator [user, cursor, times (S), values (S)]; the newest is one physics step old, and so on backwards
        samples = int(model.actuator_history[0, 0])
        history = history.view(n, j, 2 + 2 * samples)
        self._history_times, self._history_values = history[:, :, 2 : 2 + samples], history[:, :, 2 + samples :]
        place = torch.arange(samples, device=self.device)
        self._ages = -self.physics_dt * (1 + (place[:, None] - place) % samples)  # [cursor, S] s
        self._cursor = int(history[0, 0, 1])
        self._signals, self._stale = Signals.zeros(n, j, f, self.device), False
        edges = accumulate([0, 7 + j, 6 + j, j, 10 * f + 1, 6])
        self._blocks = [slice(a, b) for a, b in pairwise(edges)]
        self._world = torch.zeros(n, 2, 3, device=self.device)  # base velocity and the direction of gravity in the world frame

    def _compile(self) -> None:
        """Run everything once, so that Warp compiles and loads its kernels here and not in the first step."""
        with self._on_device():
            self._physics(1)
            self._mjw.set_const(self._m, self._d, restore=False)
            self._d.overflow.zero_()
            self._wp.synchronize_device()

    def _physics(self, steps: int) -> None:
        d = self._d
        for _ in range(steps):
            self._mjw.step(self._m, d)
            self._wp.launch(
                self._kernels.watch, dim=self.num_envs, inputs=[LARGEST, HARDEST, d.qpos, d.qvel, d.qacc], outputs=[self._faults]
            )

    def _align_capsules(self, m: Any, d: Any) -> None:
        given = [self._ground, m.geom_type, d.geom_xmat, d.nacon, d.contact.worldid, d.contact.geom]
        self._wp.launch(self._kernels.align_capsules, dim=d.naconmax, inputs=given, outputs=[d.contact.frame])

    def _launch(self, key: Any, work: Callable[[], None]) -> None:
        """Do the work, which is the same every time, on the device: on a GPU as a graph, in order with what torch does there."""
        if self.device.type == "cpu":
            with self._on_device():
                work()
            return
        if key not in self._graphs:
            with self._on_device(), self._wp.ScopedCapture() as capture:
                work()
            self._graphs[key] = capture.graph
        self._wp.capture_launch(self._graphs[key], stream=self._wp.stream_from_torch(torch.cuda.current_stream(self.device)))

    def _forward(self) -> None:
        self._launch("forward", lambda: self._mjw.forward(self._m, self._d))

    def _restart(self, mask: Tensor) -> None:
        """The model's default state, at rest, with nothing pressing, where ``mask`` [N] is true."""
        _write(mask, self._qpos0, self._qpos)
        for tensor in (self._qvel, self._warm, self._ctrl, self._applied, self._history_values):
            tensor.masked_fill_(mask.view(-1, *[1] * (tensor.dim() - 1)), 0.0)

    def _count_overflows(self) -> None:
        kinds = self._mjw.OverflowType
        harmless = int(kinds.ITERATIONS | kinds.LS_ITERATIONS)  # an iteration limit leaves nothing out
        self.overflows += ((self._overflow & ~harmless) != 0).sum()
        self._overflow.zero_()

    def _read(self, mask: Tensor) -> None:
        """All signals, of the robots where ``mask`` [N] is true those that come from forces and sensors."""
        _, _, torque, sensors, _ = self._blocks
        _write(mask, self._force, self._signals.packed[:, torque])
        _write(mask, self._sensors, self._signals.packed[:, sensors])
        self._read_state()

    def _read_state(self) -> None:
        packed, world, (pos, vel, _, _, derived) = self._signals.packed, self._world, self._blocks
        packed[:, pos], packed[:, vel] = self._qpos[:, self._qpos_to], self._qvel[:, self._qvel_to]
        world[:, 0] = self._signals.base_lin_vel_world
        packed[:, derived] = rotate_inverse(self._signals.base_quat, world).view(-1, 6)
        self._stale = False

    def _set_fields(self, names: set[str]) -> None:
        """Fields of the model that follow from the parameters ``names``, of all robots: of most they come out as they were."""
        value, fields, nominal = self.values, self._fields, self._nominal
        if "friction" in names:
            fields["geom_friction"][:, self._ground, 0] = value["friction"]
        for name in names & DOFS.keys():
            fields[DOFS[name]][:, self._dofs] = nominal[DOFS[name]][self._dofs] * value[name]
        if names & MASS:
            self._set_mass()
        if names & GAINS:
            self._set_gains()
        if names & {"action_delay", "action_jitter"}:
            fields["actuator_delay"][:] = (value["action_delay"] + value["action_jitter"]).clamp(max=MAX_ACTION_DELAY)[:, None]
        if names & {"ground_slope", "gravity_scale"}:
            # a slope of the ground is a tilt of gravity over a level plane
            down = torch.cat([-torch.tan(value["ground_slope"]), -torch.ones_like(value["ground_slope"][:, :1])], dim=-1)
            self._world[:, 1] = down / down.norm(dim=-1, keepdim=True)
            self._gravity_field[:] = GRAVITY * value["gravity_scale"][:, None] * self._world[:, 1]
            self._stale = True

    def _set_mass(self) -> None:
        value, fields, nominal = self.values, self._fields, self._nominal
        base, payload, scale = self._base, self._payload, value["link_mass_scale"]
        factor = torch.cat([scale, torch.ones_like(scale[:, :1])], dim=-1)[:, self._carrier]  # [N, bodies]
        whole = nominal["body_mass"][base]
        factor[:, base] = torch.maximum(whole + value["base_mass_offset"], LIGHTEST * whole) / whole
        torch.mul(nominal["body_mass"], factor, out=fields["body_mass"])
        fields["body_inertia"][:] = nominal["body_inertia"] * (factor * value["inertia_scale"][:, None])[..., None]
        fields["body_ipos"][:, base] = nominal["body_ipos"][base] + value["base_com_offset"]
        fields["body_mass"][:, payload], fields["body_ipos"][:, payload] = value["payload_mass"], value["payload_pos"]
        self._launch("set_const", lambda: self._mjw.set_const(self._m, self._d, restore=False))

    def _set_gains(self) -> None:
        value, gain, bias = self.values, self._fields["actuator_gainprm"], self._fields["actuator_biasprm"]
        strength = value["motor_strength"]
        kp, kd = self._kp * value["kp_scale"] * strength, self._kd * value["kd_scale"] * strength
        limit = self._limit * strength * value["effort_limit_scale"]
        if self._actuator == DC_MOTOR:
            # the stall torque goes with the inverse of the resistance, the no-load speed stays
            gain[..., RESISTANCE] = self._nominal["actuator_gainprm"][:, RESISTANCE] / strength.clamp(min=DEAD)
            gain[..., KP], gain[..., KD] = kp, kd
        else:
            gain[..., 0], bias[..., 1], bias[..., 2] = kp, -kp, -kd
        self._fields["actuator_forcerange"][:] = torch.stack([-limit, limit], dim=-1)

    def _nobody(self, mask: Tensor) -> bool:
        """Nothing to do: on the CPU looking is cheaper than doing, elsewhere looking would have to wait for the device."""
        return self.device.type == "cpu" and not bool(mask.any())

    def _on_device(self) -> Any:
        return self._wp.ScopedDevice(str(self.device))

    def _view(self, name: str) -> Tensor:
        """A tensor over an array of the data."""
        return self._wp.to_torch(getattr(self._d, name))

    def _tensor(self, values: Any, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.tensor(np.array(values), dtype=dtype, device=self.device)


def _write(mask: Tensor, value: Tensor, kept: Tensor) -> None:
    """``value`` into ``kept`` [N, ...] where ``mask`` [N] is true."""
    torch.where(mask.view(-1, *[1] * (kept.dim() - 1)), value, kept, out=kept)


def check_delay(held: Tensor) -> None:
    """Raises InputError where one of the delays (s) is longer than the history of targets."""
    if (longest := float(held.max())) > MAX_ACTION_DELAY + 1e-6:
        raise InputError("action_delay", longest, f"seconds up to {MAX_ACTION_DELAY}", "Lower it.")


def most_contacts(model: mujoco.MjModel) -> int:
    """As many contacts as the shapes of one robot can have with the ground at once."""
    ground = model.geom(GROUND).id
    meets = (model.geom_conaffinity & model.geom_contype[ground]) | (model.geom_contype & model.geom_conaffinity[ground])
    kinds = [mujoco.mjtGeom(kind).name.removeprefix("mjGEOM_") for kind in model.geom_type[meets.astype(bool)]]
    return sum(CONTACTS.get(kind, 4) for kind in kinds)


def find_device(name: str | None) -> torch.device:
    """The device of that name (None: a GPU where there is one, else the CPU). Raises InputError where there is no such device."""
    wanted = name or ("cuda" if torch.cuda.is_available() else "cpu")
    field, remedy = "sim.device", "sim.device=cpu tries it without a GPU, slowly; sim=mujoco is the CPU's engine."
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise InputError(field, wanted, "cuda, cuda:0, ... or cpu", remedy) from error
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index  # one of several processes has its own
    if device.type != "cuda" or index >= count:
        there = ", ".join(f"cuda:{i}" for i in range(count)) or "no CUDA device"
        raise InputError(field, wanted, f"a device that torch can use: there is {there}", remedy)
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def load_warp() -> tuple[Any, Any, Any]:
    """Modules ``warp``, ``mujoco_warp`` and our kernels. Raises InputError where Warp is not installed."""
    try:
        warp = importlib.import_module("warp")
        warp.config.log_level = max(warp.config.log_level, warp.LOG_WARNING)  # not a line for every kernel
        return warp, importlib.import_module("mujoco_warp"), importlib.import_module("sim.mujoco_warp_kernels")
    except ImportError as error:
        remedy = "Install it: pip install 'sim2real-locomotion[warp]'."
        raise InputError("sim.engine", "mujoco_warp", "an installed engine", remedy) from error
