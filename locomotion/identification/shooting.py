"""Many short simulations of a log's commands at once: every candidate of the parameters in every window, in one batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from locomotion.identification.footing import Footing
from locomotion.identification.recording import MEASURED, Recording, Windows
from locomotion.identification.unknowns import Unknown, values_of
from sim.actuation import choose
from sim.mujoco_batch import MujocoSimulator
from sim.signals import InitialState, initial_shapes, width

PHYSICS_DT = 0.002  # s
ALOFT = 10.0  # m above the ground, of a base that a stand holds: nothing touches it
EARLIER = 4  # control steps before a window whose commands may still be under way


class Shooting:
    """C candidates at once in W windows of a recording; a simulation begins at the measured state (multiple shooting; Bock 1981)."""

    def __init__(self, recording: Recording, windows: Windows, sought: Sequence[Unknown], candidates: int, threads: int = 0) -> None:
        self.recording, self.windows, self.sought, self.candidates = recording, windows, sought, candidates
        self._count = len(windows.first)
        robot = recording.robot
        law, held = choose(robot, None)[0], recording.held
        self._simulator = MujocoSimulator(robot, candidates * self._count, PHYSICS_DT, threads, actuator=law, held=held)
        self._footing = None if held else Footing(self._simulator.model, robot, windows.begin)
        self._everyone = torch.ones(candidates * self._count, dtype=torch.bool)
        rows = windows.first[:, None] + np.arange(windows.steps + 1)
        self.rows = rows[:, windows.lead + 1 :]  # [W, K] steps of the recording that are compared
        since = recording.sampled[rows] - recording.sampled[windows.first][:, None]  # [W, 1 + steps] s
        self._places = since[:, windows.lead + 1 :] / PHYSICS_DT  # [W, K] in physics steps
        self._ticks = int(np.ceil(self._places.max() - 1e-6))
        # commands under way, from a few steps before each window on
        earlier = windows.first[:, None] + np.arange(-EARLIER, windows.steps + 1)
        self._sent = (recording.heard[earlier] - recording.sampled[windows.first][:, None]) / PHYSICS_DT  # [W, B] physics steps
        self._told = recording.target[earlier]  # [W, B, J]
        self._delay = next((p for p, unknown in enumerate(sought) if unknown.parameter == "action_delay"), None)

    def _set(self, theta: np.ndarray) -> None:
        values = values_of(self.sought, np.repeat(theta, self._count, axis=0), self.recording.robot.num_joints)
        self._simulator.set_parameters(self._everyone, dict(values))

    def run(self, theta: np.ndarray) -> np.ndarray:
        """What would have been measured, [C, W, K, D] in the order of :data:`MEASURED`, of ``theta`` [C, P]; NaN where it diverged."""
        simulator, c, w = self._simulator, self.candidates, self._count
        j = self.recording.robot.num_joints
        self._set(theta)
        targets, which = self._targets(theta)
        simulator.reset(self._everyone, self._initial(targets[which, :, 0]))
        result = np.empty((c, w, self._places.shape[1], 2 * j + 6))
        faults = torch.zeros_like(self._everyone)
        before, whole = self._read(), np.floor(self._places + 1e-6).astype(int)
        share = self._places - whole
        for tick in range(self._ticks + 1):
            # targets of this physics step [C * W, J]
            simulator.step(torch.from_numpy(targets[which, :, min(tick, self._ticks - 1)].reshape(c * w, j)).float(), 1)
            faults |= simulator.faults
            after = self._read()
            at, k = np.nonzero(whole == tick)
            if len(at):
                s = share[at, k][None, :, None]
                result[:, at, k] = (1.0 - s) * before[:, at] + s * after[:, at]
            before = after
        result[faults.view(c, w).numpy()] = np.nan
        return result

    def _initial(self, targets: np.ndarray) -> InitialState:
        """Where every candidate begins, with motors that follow ``targets`` [C, W, J]; its weight is its own."""
        c, w, j = self.candidates, self._count, self.recording.robot.num_joints
        state = InitialState(torch.zeros(c * w, width(initial_shapes(j))), j)
        for name, value in self.windows.begin.items():
            getattr(state, name)[:] = torch.from_numpy(value).repeat(c, 1)
        if self._footing is None:
            state.base_pos[:, 2] = ALOFT
            return state
        state.base_lin_vel_world[:] = torch.from_numpy(self._footing.velocity).repeat(c, 1)
        heights = [self._footing.height(self._simulator.mj_model_data(i * w)[0], targets[i]) for i in range(c)]
        state.base_pos[:, 2] = torch.from_numpy(np.concatenate(heights))
        return state

    def measured(self) -> np.ndarray:
        """[W, K, D]"""
        return np.concatenate([self.recording.measured[name][self.rows] for name in MEASURED], axis=-1)

    def _read(self) -> np.ndarray:
        signals = self._simulator.signals
        read = torch.cat([getattr(signals, name) for name in MEASURED], dim=1)
        return read.view(self.candidates, self._count, -1).double().numpy()

    def _targets(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mean target of each physics step [different delays, W, ticks, J], and each candidate's among them [C].

        A command that arrives within a step acts for its share of it, so that the simulation is differentiable by the delay.
        """
        delays = theta[:, self._delay] if self._delay is not None else np.zeros(len(theta))
        different, which = np.unique(delays, return_inverse=True)
        edges = np.arange(self._ticks + 1)
        result = np.empty((len(different), self._count, self._ticks, self._told.shape[2]))
        for d, delay in enumerate(different):
            arrival = self._sent + delay / PHYSICS_DT
            for w in range(self._count):
                # integral of the target over time, at the edges of the physics steps
                begin = np.append(arrival[w], np.inf)
                held = np.diff(np.clip(begin[None, :], -8.0 * self._ticks, edges[:, None]), axis=1)
                result[d, w] = np.diff(held @ self._told[w], axis=0)
        return result, which
