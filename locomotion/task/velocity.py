"""The task: follow velocity commands on the ground. One implementation for every robot, engine and device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from locomotion.task import rewards
from locomotion.task.actions import ActionDecoder
from locomotion.task.commands import CommandConfig, sample_commands
from locomotion.task.observations import CriticObservation, ObservationEncoder, is_moving
from locomotion.task.randomization import Randomization
from locomotion.task.ranges import Range
from locomotion.task.rewards import GaitConfig, Step
from robots import Robot
from robots.errors import InputError, nearest
from sim import InitialState, Simulator


@dataclass(frozen=True)
class ResetConfig:
    """Half-widths of the uniform spread of the initial state around standing still."""

    base_lin_vel: float  # m/s
    base_ang_vel: float  # rad/s
    joint_pos: float  # rad
    tilt: float  # rad


@dataclass(frozen=True)
class TaskConfig:
    control_dt: float  # s
    substeps: int  # physics steps a control step
    episode_seconds: float
    gait_frequency: float | None  # Hz; None: no gait clock in the observation
    max_tilt: float  # rad; beyond it the robot has fallen
    min_height: float  # share of the standing height; below it the robot has fallen
    command: CommandConfig
    reset: ResetConfig
    gait: GaitConfig
    reward_weights: dict[str, float]
    fall_penalty: float  # taken from the reward of the step that ends in a fall

    def __post_init__(self) -> None:
        for name in self.reward_weights:
            if name not in rewards.TERMS:
                raise InputError("task.reward.weights", name, "the name of a reward term", nearest(name, rewards.TERMS))


@dataclass
class Observations:
    policy: Tensor  # [N, Dp]
    critic: Tensor  # [N, Dc]


@dataclass
class StepResult:
    """One control step. ``truncated`` and ``terminated`` are exclusive; both start a new episode in ``observations``."""

    observations: Observations
    reward: Tensor  # [N]
    terminated: Tensor  # [N] bool: fell
    truncated: Tensor  # [N] bool: time is up
    final_ids: Tensor  # [n] the truncated environments
    final_critic: Tensor  # [n, Dc] their critic observations before the reset, for bootstrapping


class Metrics:
    """Sums over control steps since the last :meth:`pop`, for the live view and the logs."""

    def __init__(self, terms: list[str]) -> None:
        self.names = [*terms, "tracking_score", "yaw_score", "gait"]
        self._sums = torch.zeros(len(self.names))
        self.steps, self.falls, self.timeouts, self.faults = 0, 0, 0, 0

    def add(self, terms: Tensor, lin_vel_error: Tensor, yaw_error: Tensor, gait: Tensor) -> None:
        """``terms`` [K, N] weighted reward terms; the others [N]."""
        scores = torch.stack([torch.exp(-4.0 * lin_vel_error), torch.exp(-4.0 * yaw_error), gait])
        self._sums += torch.cat([terms, scores]).sum(dim=1)
        self.steps += terms.shape[1]

    def pop(self) -> dict[str, float]:
        """Means per step, the fall rate per simulated second excluded: ``falls`` and ``faults`` are counts."""
        mean = (self._sums / max(self.steps, 1)).tolist()
        result = dict(zip([f"reward/{name}" for name in self.names[:-3]] + self.names[-3:], mean, strict=True))
        result |= {"falls": self.falls, "timeouts": self.timeouts, "faults": self.faults}
        self._sums.zero_()
        self.steps = self.falls = self.timeouts = self.faults = 0
        return result


class VelocityTask:
    """N environments. All randomness comes from one generator, carried by :meth:`state_dict`."""

    def __init__(self, config: TaskConfig, simulator: Simulator, randomization: Randomization, seed: int) -> None:
        self.config, self.simulator, self.randomization = config, simulator, randomization
        self.robot: Robot = simulator.robot
        self.num_envs = n = simulator.num_envs
        self.encoder = ObservationEncoder(self.robot, config.gait_frequency, config.control_dt)
        self.decoder = ActionDecoder(self.robot)
        self.critic_observation = CriticObservation(self.robot, self.encoder)
        self.generator = torch.Generator().manual_seed(seed)
        self.max_steps = round(config.episode_seconds / config.control_dt)
        self._weights = torch.tensor([config.reward_weights[name] for name in config.reward_weights])[:, None]
        self._terms = [rewards.TERMS[name] for name in config.reward_weights]
        self.metrics = Metrics(list(config.reward_weights))
        self._abduction = torch.tensor(self.robot.mirror.joint_sign < 0).float()
        self._sole = float(_foot_radius(self.robot))
        j, noise = self.robot.num_joints, randomization.noise
        per_signal = ((3, noise.base_ang_vel), (3, noise.projected_gravity), (j, noise.joint_pos), (j, noise.joint_vel))
        self._noise_scale = torch.cat([torch.full((size,), 2.0 * scale) for size, scale in per_signal])
        # everything that a continuation needs, by name
        self._state = {
            "command": torch.zeros(n, 3),
            "command_steps": torch.zeros(n, dtype=torch.int64),  # until the next command
            "push_steps": torch.zeros(n, dtype=torch.int64),  # until the next push
            "episode_steps": torch.zeros(n, dtype=torch.int64),
            "memory": torch.zeros(n, self.encoder.memory_size),
            "previous_action": torch.zeros(n, j),
            "physics": torch.zeros(n, 8),
            "joint_pos_bias": torch.zeros(n, j),
            "measured": torch.zeros(n, 6 + 2 * j),  # what the sensors said: gyro, gravity, joint positions, velocities
            "policy": torch.zeros(n, self.encoder.size),
            "critic": torch.zeros(n, self.critic_observation.size),
        }

    @property
    def observations(self) -> Observations:
        """Of the present state, noise included."""
        return Observations(self._state["policy"], self._state["critic"])

    def reset(self) -> Observations:
        """Start an episode everywhere, at a random time of its length so that time-outs are spread evenly."""
        self._reset(torch.arange(self.num_envs))
        self._state["episode_steps"] = torch.randint(self.max_steps, (self.num_envs,), generator=self.generator)
        self._observe()
        return self.observations

    def step(self, action: Tensor) -> StepResult:
        """Advance all environments by ``control_dt`` under ``action`` [N, J]."""
        state, simulator = self._state, self.simulator
        joint_pos, joint_vel = state["measured"][:, 6:].chunk(2, dim=-1)
        target = self.decoder(action, joint_pos, joint_vel)
        requested = self.decoder.kp * (self.decoder.unclipped(action) - joint_pos) - self.decoder.kd * joint_vel
        simulator.step(target, self.config.substeps)
        state["memory"] = self.encoder.next_memory(action, state["command"], state["memory"])
        state["episode_steps"] += 1

        reward, terminated = self._reward(action, requested)
        truncated = (state["episode_steps"] >= self.max_steps) & ~terminated
        state["previous_action"] = action
        done = (terminated | truncated).nonzero().squeeze(-1)
        final_ids = truncated.nonzero().squeeze(-1)
        final_critic = self._critic_rows(final_ids)
        self.metrics.falls += len(done) - len(final_ids)
        self.metrics.timeouts += len(final_ids)
        if len(done):
            self._reset(done)
        self._advance_timers()
        self._observe()
        return StepResult(self.observations, reward, terminated, truncated, final_ids, final_critic)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, the simulator's state included."""
        tensors = {name: tensor.clone() for name, tensor in self._state.items()}
        return {"task": tensors, "generator": self.generator.get_state(), "simulator": self.simulator.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = {name: tensor.clone() for name, tensor in state["task"].items()}
        self.generator.set_state(state["generator"])
        self.simulator.load_state_dict(state["simulator"])

    def _reward(self, action: Tensor, requested_torque: Tensor) -> tuple[Tensor, Tensor]:
        """Reward per step [N], negative only where the robot fell, and who has fallen [N]."""
        signals, command, gait_config = self.simulator.signals, self._state["command"], self.config.gait
        moving = is_moving(command).squeeze(-1)
        contact = (signals.foot_contact_force[..., 2] > rewards.CONTACT_FORCE).float()
        phase = self._state["memory"][:, self.robot.num_joints :]
        if not self.encoder.has_clock:
            gait = torch.ones_like(moving)
        else:
            gait = rewards.gait_score(signals.foot_pos[..., 2] - self._sole, contact, phase, moving, gait_config)
        step = Step(
            signals=signals,
            command=command,
            action=action,
            previous_action=self._state["previous_action"],
            requested_torque=requested_torque,
            effort_limit=self.decoder.effort_limit,
            default_joint_pos=self.decoder.default_joint_pos,
            abduction=self._abduction,
            moving=moving,
            lin_vel_error=(signals.base_lin_vel[:, :2] - command[:, :2]).square().sum(dim=-1),
            yaw_error=(signals.base_ang_vel[:, 2] - command[:, 2]).square(),
            contact=contact,
            gait=gait,
            gate=(1.0 - gait_config.gate) + gait_config.gate * gait,
        )
        terms = torch.stack([term(step) for term in self._terms]) * self._weights  # [K, N]
        terminated = (
            (signals.projected_gravity[:, 2] > -math.cos(self.config.max_tilt))
            | (signals.base_pos[:, 2] < self.config.min_height * self.robot.standing_height)
            | self.simulator.faults
        )
        self.metrics.faults += int(self.simulator.faults.sum())
        self.metrics.add(terms, step.lin_vel_error, step.yaw_error, gait)
        # a faulted environment's state means nothing: no reward from it
        reward = torch.where(self.simulator.faults, 0.0, terms.sum(dim=0).clamp(min=0.0)) * self.config.control_dt
        return reward - self.config.fall_penalty * terminated, terminated

    def _reset(self, ids: Tensor) -> None:
        state, spread, n, j = self._state, self.config.reset, len(ids), self.robot.num_joints
        state["physics"][ids] = self.randomization.apply(self.simulator, ids, self.generator)
        u = torch.rand(n, 6 + 2 + j + j, generator=self.generator) * 2.0 - 1.0
        yaw = math.pi * (2.0 * torch.rand(n, generator=self.generator) - 1.0)
        base_pos = torch.zeros(n, 3)
        base_pos[:, 2] = self.robot.standing_height + 0.02
        self.simulator.reset(
            ids,
            InitialState(
                base_pos=base_pos,
                base_quat=_quat_from_euler(spread.tilt * u[:, 6], spread.tilt * u[:, 7], yaw),
                base_lin_vel=spread.base_lin_vel * u[:, :3],
                base_ang_vel=spread.base_ang_vel * u[:, 3:6],
                joint_pos=self.decoder.default_joint_pos + spread.joint_pos * u[:, 8 : 8 + j],
                joint_vel=torch.zeros(n, j),
            ),
        )
        state["memory"][ids] = 0.0
        state["previous_action"][ids] = 0.0
        state["episode_steps"][ids] = 0
        state["joint_pos_bias"][ids] = self.randomization.noise.joint_pos_bias * u[:, 8 + j :]
        self._new_commands(ids)
        state["push_steps"][ids] = self._draw_steps(self.randomization.push_interval, n)

    def _advance_timers(self) -> None:
        state = self._state
        state["command_steps"] -= 1
        state["push_steps"] -= 1
        due = (state["command_steps"] <= 0).nonzero().squeeze(-1)
        if len(due):
            self._new_commands(due)
        push = (state["push_steps"] <= 0).nonzero().squeeze(-1)
        if len(push):
            state["push_steps"][push] = self._draw_steps(self.randomization.push_interval, len(push))
            self.simulator.push(push, self.randomization.push_velocity.sample((len(push), 2), self.generator))

    def _new_commands(self, ids: Tensor) -> None:
        self._state["command"][ids] = sample_commands(self.config.command, len(ids), self.generator)
        self._state["command_steps"][ids] = self._draw_steps(self.config.command.duration, len(ids))

    def _draw_steps(self, seconds: Range, count: int) -> Tensor:
        return (seconds.sample((count,), self.generator) / self.config.control_dt).to(torch.int64).clamp(min=1)

    def _observe(self) -> None:
        """Measure the signals with noise, and encode them."""
        state, signals, j = self._state, self.simulator.signals, self.robot.num_joints
        biased = signals.joint_pos + state["joint_pos_bias"]
        measured = torch.cat([signals.base_ang_vel, signals.projected_gravity, biased, signals.joint_vel], dim=-1)
        measured += (torch.rand(measured.shape, generator=self.generator) - 0.5) * self._noise_scale
        state["measured"] = measured
        gyro, gravity, joint_pos, joint_vel = measured.split([3, 3, j, j], dim=-1)
        state["policy"] = self.encoder(gyro, gravity, joint_pos, joint_vel, state["command"], state["memory"])
        state["critic"] = self.critic_observation(signals, state["command"], state["memory"], state["physics"])

    def _critic_rows(self, ids: Tensor) -> Tensor:
        if not len(ids):
            return torch.zeros(0, self.critic_observation.size)
        state = self._state
        rows = (state["command"][ids], state["memory"][ids], state["physics"][ids])
        return self.critic_observation(self.simulator.signals.rows(ids), *rows)


def _quat_from_euler(roll: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Quaternion w, x, y, z of intrinsic z-y-x rotations, [n, 4]."""
    (cr, cp, cy), (sr, sp, sy) = ([f(0.5 * a) for a in (roll, pitch, yaw)] for f in (torch.cos, torch.sin))
    return torch.stack(
        [cr * cp * cy + sr * sp * sy, sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy], dim=-1
    )


def _foot_radius(robot: Robot) -> float:
    """Height of a foot's centre above its sole, m: the radius of the first foot's sphere."""
    import mujoco

    return float(mujoco.MjModel.from_xml_path(str(robot.model)).geom(robot.feet[0]).size[0])
