"""Robots in Bullet that one process steps, one world each: all that they take and give lies in arrays, which others may share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from robots.actuator import Curve, motor_torque
from sim.parameters import MAX_ACTION_DELAY, PARAMETERS
from sim.pybullet_model import BulletRobot
from sim.pybullet_world import MASSES, SURFACE, World, load_bullet
from sim.signals import initial_shapes, signal_shapes, width

Arrays = dict[str, np.ndarray]  # [rows, ...] each


@dataclass(frozen=True)
class Setup:
    """What makes a batch, wherever it is. Per-joint figures [J]."""

    robot: BulletRobot
    kp: np.ndarray  # N m/rad
    kd: np.ndarray  # N m s/rad
    effort_limit: np.ndarray  # N m
    curve: Curve | None
    physics_dt: float  # s
    self_collision: bool

    def layout(self, rows: int) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of every array of ``rows`` robots."""
        j, f = len(self.robot.joint_names), len(self.robot.feet)
        delays = 1 + max(1, round(MAX_ACTION_DELAY / self.physics_dt))
        return {
            "mask": ("?", (rows,)), "target": ("f4", (rows, j)), "initial": ("f4", (rows, width(initial_shapes(j)))),
            "velocity": ("f4", (rows, 2)), "signals": ("f4", (rows, width(signal_shapes(j, f)))), "vectors": ("f4", (rows, 3, 3)),
            # what goes on from step to step, beside Bullet's own state
            "values": ("f4", (rows, sum(parameter.size(j) for parameter in PARAMETERS.values()))),
            "applied": ("f8", (rows, 6)), "torque": ("f8", (rows, j)), "history": ("f8", (rows, delays, j)), "cursor": ("i8", (rows,)),
        }  # fmt: skip


CARRIED = ("values", "applied", "torque", "history", "cursor")


def named(values: np.ndarray, num_joints: int) -> Arrays:
    """Views of packed parameters [rows, P] by name."""
    views, start = {}, 0
    for name, parameter in PARAMETERS.items():
        size = parameter.size(num_joints)
        shape = tuple(num_joints if part == "J" else int(part) for part in parameter.shape)
        views[name] = values[:, start : start + size].reshape(len(values), *shape)
        start += size
    return views


class Batch:
    """The robots of ``arrays``. Public methods are the commands that :mod:`sim.pybullet_workers` passes on."""

    def __init__(self, setup: Setup, arrays: Arrays) -> None:
        self._setup, self._bullet = setup, load_bullet()
        self._mask, self._target, self._initial, self._velocity, self._signals, self._vectors = (
            arrays[name] for name in ("mask", "target", "initial", "velocity", "signals", "vectors")
        )
        self._packed, self._applied, self._torque, self._history, self._cursor = (arrays[name] for name in CARRIED)
        n, j = self._torque.shape
        self._values, self._every = named(self._packed, j), np.arange(n)
        self._given = self._packed.copy()  # the parameters that the worlds have
        marks = named(np.arange(self._packed.shape[1])[None], j)
        self._mass_columns, self._surface_columns = (np.concatenate([marks[name].ravel() for name in names]) for names in (MASSES, SURFACE))
        self._worlds = [self._new(i) for i in range(n)]
        self._q, self._dq = np.zeros((n, j)), np.zeros((n, j))

    def do(self, command: str, *given: int) -> None:
        """Run a command by its name, as a :class:`~sim.pybullet_workers.Crew` does."""
        getattr(self, command)(*given)

    def refresh(self) -> None:
        """Read all signals."""
        self._read_joints(self._every)
        self._read(self._every)

    def reset(self) -> None:
        """Robots of the mask begin from their initial state."""
        self._give()
        rows, j = np.flatnonzero(self._mask), self._torque.shape[1]
        for i in rows.tolist():
            if not np.isfinite(self._signals[i]).all():
                self._worlds[i].load(self._row(i))
            self._worlds[i].place(self._initial[i])
        self._torque[rows] = self._applied[rows] = 0.0
        # motors rest at first, whatever the zero of their encoders is
        at_rest = self._initial[rows, 7 : 7 + j].astype(np.float64) + self._values["joint_zero_offset"][rows]
        self._history[rows] = at_rest[:, None]
        self._read_joints(rows)
        self._read(rows)

    def step(self, substeps: int) -> None:
        """``substeps`` physics steps of all, with motors that follow the targets."""
        self._give()
        law, delay, size = self._law(), self._delay(), self._history.shape[1]
        forces = [row.tolist() if row.any() else None for row in self._applied]
        for _ in range(substeps):
            self._cursor[:] = (self._cursor + 1) % size
            self._history[self._every, self._cursor] = self._target
            self._torque[:] = law(self._history[self._every, (self._cursor - delay) % size])
            for world, torque, pressed in zip(self._worlds, self._torque.tolist(), forces, strict=True):
                world.step(torque, pressed)
            self._read_joints(self._every)
        self._read(self._every)

    def push(self) -> None:
        """Add the velocities to the bases of the mask."""
        rows = np.flatnonzero(self._mask)
        for i in rows.tolist():
            self._worlds[i].push(*self._velocity[i].tolist())
        self._read(rows)

    def save(self) -> list[bytes]:
        """Bullet's own state of every robot."""
        return [world.save() for world in self._worlds]

    def restore(self, snapshots: list[bytes]) -> None:
        """The states of :meth:`save`, under the parameters that the arrays have by now."""
        self._give()
        for world, snapshot in zip(self._worlds, snapshots, strict=True):
            world.restore(snapshot)
        self._read_joints(self._every)

    def close(self) -> None:
        for world in self._worlds:
            world.close()
        self._worlds = []

    def _new(self, row: int) -> World:
        return World(self._bullet, self._setup.robot, self._setup.physics_dt, self._setup.self_collision, self._row(row))

    def _row(self, row: int) -> Mapping[str, np.ndarray]:
        return {name: value[row] for name, value in self._values.items()}

    def _give(self) -> None:
        """Tell the worlds the parameters that have changed."""
        changed = self._packed != self._given
        heavier = changed[:, self._mass_columns].any(axis=1)
        for i in np.flatnonzero(heavier).tolist():
            self._worlds[i].reload(self._row(i))
        for i in np.flatnonzero(changed[:, self._surface_columns].any(axis=1) & ~heavier).tolist():
            self._worlds[i].set_surface(self._row(i))
        self._given[:] = self._packed

    def _law(self) -> Callable[[np.ndarray], np.ndarray]:
        """Torque [n, J] of the targets [n, J] that have arrived, under the present gains."""
        setup, value = self._setup, {name: x.astype(np.float64) for name, x in self._values.items() if x.ndim == 2}
        strength, offset = value["motor_strength"], value["joint_zero_offset"]
        kp, kd = setup.kp * value["kp_scale"] * strength, setup.kd * value["kd_scale"] * strength
        full = setup.effort_limit * strength  # where the torque-speed curve begins
        limit = full * value["effort_limit_scale"]
        return lambda target: motor_torque(target, self._q + offset, self._dq, kp, kd, full, curve=setup.curve).clip(-limit, limit)

    def _delay(self) -> np.ndarray:
        """Physics steps [n] from a target to its effect, rounded up."""
        held, jitter = (self._values[name].astype(np.float64) for name in ("action_delay", "action_jitter"))
        seconds = np.minimum(held + jitter, max(MAX_ACTION_DELAY, float(held.max())))
        return np.ceil(seconds / self._setup.physics_dt - 1e-5).astype(np.int64).clip(0, self._history.shape[1] - 1)

    def _read_joints(self, rows: np.ndarray) -> None:
        if len(rows):
            states: Any = [self._worlds[i].joints() for i in rows.tolist()]
            self._q[rows], self._dq[rows] = np.array(states).transpose(1, 0, 2)

    def _read(self, rows: np.ndarray) -> None:
        """Signals but those in the base's frame, which follow from the vectors in the world's."""
        q, dq, torque = (array.tolist() for array in (self._q, self._dq, self._torque))
        linear = slice(7 + self._q.shape[1], 10 + self._q.shape[1])
        for i in rows.tolist():
            row, angular = self._worlds[i].read(q[i], dq[i], torque[i])
            self._signals[i, : len(row)] = row
            self._vectors[i, 1] = angular
        self._vectors[rows, 0] = self._signals[rows, linear]
