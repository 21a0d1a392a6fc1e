"""What rewards, metrics and terminations look at: signals of one step or of a whole rollout, and what derives from them.

Every tensor has leading dimensions [..., N]: [N] for the present step, [T, N] for a rollout. Derived features are computed when
first asked for, and once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from locomotion.task.commands import length, velocity_of
from locomotion.task.gait import Gait, GaitCommand, contact_timing, foot_places, gait_score
from locomotion.task.past import Past, a_step_ago, steps_airborne
from robots import Robot
from robots.errors import InputError
from sim import Signals, Simulator, Terrain

CONTACT_FORCE = 1.0  # N, above which a foot counts as on the ground
STANDING_COMMAND = 0.1  # a velocity command shorter than this (m/s, rad/s) means: stand


class RobotTensors:
    """The figures of a robot that terms need, as float32 tensors on the simulator's device."""

    def __init__(self, robot: Robot, simulator: Simulator) -> None:
        def tensor(value: np.ndarray) -> Tensor:
            return torch.as_tensor(np.array(value), dtype=torch.float32, device=simulator.device)

        self.name, self.standing_height, self.total_mass = robot.name, robot.standing_height, simulator.total_mass
        self.swing_height = robot.swing_height
        self.default_joint_pos, self.action_scale = tensor(robot.default_joint_pos), tensor(robot.action_scale)
        self.kp, self.kd = tensor(robot.kp), tensor(robot.kd)
        self.effort_limit, self.joint_vel_limit = tensor(robot.effort_limit), tensor(robot.joint_vel_limit)
        self.joint_pos_low, self.joint_pos_high = tensor(robot.joint_pos_limit[:, 0]), tensor(robot.joint_pos_limit[:, 1])
        self.foot_radius, self.hips = simulator.foot_radius, simulator.hip_pos[:, :2]
        self.groups = {name: tensor(np.isin(np.arange(robot.num_joints), ids)) for name, ids in robot.joint_groups.items()}
        # hips that abduct: the group of that name, or joints whose mirror image turns the other way
        self.sideways = self.groups.get("abduction", tensor(robot.mirror.joint_sign < 0))
        self.mirror_index = torch.as_tensor(np.array(robot.mirror.joint_index), device=simulator.device)
        self.mirror_sign = tensor(robot.mirror.joint_sign)


@dataclass(frozen=True, eq=False)
class Frame:
    """One step of N robots, or T of them."""

    robot: RobotTensors
    signals: Signals  # after the step
    before: Signals  # before it
    action: Tensor  # [..., N, J]
    previous_action: Tensor  # [..., N, J], zeros at the start of an episode
    command: Tensor  # [..., N, C]
    command_names: tuple[str, ...]
    memory: Mapping[str, Tensor]  # what each observation term carries to the next step, [..., N, width]
    terminated: Tensor  # [..., N] bool
    ended: Tensor  # [..., N] bool, terminated or truncated
    past: Past | None  # before the first of these steps; None for terminations
    gait: Gait | None
    terrain: Terrain
    control_dt: float  # s
    generator: torch.Generator | None = None  # of the task; for terms of the present step alone

    def channel(self, name: str) -> Tensor:
        """One channel of the command, [..., N]."""
        return self.command[..., self.command_names.index(name)]

    @cached_property
    def velocity_command(self) -> Tensor:
        """Forward, left (m/s) and yaw (rad/s) that are asked for, [..., N, 3]; zero where the task has no such channel."""
        return velocity_of(self.command, self.command_names)

    @cached_property
    def moving(self) -> Tensor:
        """1 where the command asks for motion, 0 where it asks to stand, [..., N]."""
        return is_moving(self.velocity_command).squeeze(-1)

    @cached_property
    def standing(self) -> Tensor:
        """1 where the command asks to stand, 0 where it asks for motion, [..., N]."""
        return 1.0 - self.moving

    @cached_property
    def contact(self) -> Tensor:
        """1 where a foot carries load, [..., N, F]."""
        return (self.signals.foot_contact_force[..., 2] > CONTACT_FORCE).float()

    @cached_property
    def body_contacts(self) -> Tensor:
        """Contacts of the ground with anything but a foot, [..., N]."""
        return self.signals.ground_contacts - self.signals.foot_contacts.sum(dim=-1)

    @cached_property
    def sole_height(self) -> Tensor:
        """Height of the soles above the ground, m, [..., N, F]."""
        pos = self.signals.foot_pos
        height = pos[..., 2] - self.robot.foot_radius
        return height if self.terrain.flat else height - self.terrain.height(pos[..., :2])

    @cached_property
    def base_height(self) -> Tensor:
        """Height of the base above the ground, m, [..., N]."""
        pos = self.signals.base_pos
        return pos[..., 2] if self.terrain.flat else pos[..., 2] - self.terrain.height(pos[..., :2])

    @cached_property
    def lin_vel_error(self) -> Tensor:
        """Squared horizontal velocity error, (m/s)^2, [..., N]."""
        return (self.signals.base_lin_vel[..., :2] - self.velocity_command[..., :2]).square().sum(dim=-1)

    @cached_property
    def horizontal_speed(self) -> Tensor:
        """Of the base, m/s, [..., N]."""
        return length(self.signals.base_lin_vel[..., :2])

    @cached_property
    def yaw_error(self) -> Tensor:
        """Squared yaw rate error, (rad/s)^2, [..., N]."""
        return (self.signals.base_ang_vel[..., 2] - self.velocity_command[..., 2]).square()

    @cached_property
    def tilt(self) -> Tensor:
        """Angle of the base from upright, rad, [..., N]."""
        return torch.acos((-self.signals.projected_gravity[..., 2]).clamp(-1.0, 1.0))

    @cached_property
    def uprightness(self) -> Tensor:
        """Cosine of the angle from upright, none beyond the horizontal: 1 upright, 0 from lying on a side to upside down, [..., N]."""
        return (-self.signals.projected_gravity[..., 2]).clamp(0.0, 1.0)

    @cached_property
    def roll(self) -> Tensor:
        """Of the base, rad, right side down positive, [..., N]."""
        gravity = self.signals.projected_gravity
        return torch.atan2(-gravity[..., 1], -gravity[..., 2])

    @cached_property
    def pitch(self) -> Tensor:
        """Of the base, rad, nose down positive, [..., N]."""
        gravity = self.signals.projected_gravity
        return torch.atan2(gravity[..., 0], length(gravity[..., 1:]))

    @cached_property
    def height_error(self) -> Tensor:
        """Height of the base less the robot's standing height and what the command adds, as a share of the former, [..., N]."""
        error = self.base_height / self.robot.standing_height - 1.0
        added = "body_height" in self.command_names
        return error - self.channel("body_height") / self.robot.standing_height if added else error

    @cached_property
    def _known_past(self) -> Past:
        if self.past is None:
            raise InputError("frame", "no past", "a reward or a metric, which see a rollout", "A termination sees the present step alone.")
        return self.past

    @cached_property
    def action_before_previous(self) -> Tensor:
        """[..., N, J], zeros at the start of an episode."""
        past = self._known_past
        return past.action if self.ended.dim() == 1 else a_step_ago(self.previous_action, past.action, self.ended)

    @cached_property
    def airborne(self) -> Tensor:
        """Steps since each foot was on the ground, after the step, [..., N, F]."""
        past = self._known_past
        if self.ended.dim() == 1:
            return steps_airborne(self.contact[None], past.airborne, self.ended[None])[0]
        return steps_airborne(self.contact, past.airborne, self.ended)

    @cached_property
    def flight(self) -> Tensor:
        """How long each foot had been in the air as the step began, s, [..., N, F]."""
        past = self._known_past
        before = past.airborne if self.ended.dim() == 1 else a_step_ago(self.airborne, past.airborne, self.ended)
        return before * self.control_dt

    @cached_property
    def action_change(self) -> Tensor:
        """Squared change of the action from step to step, summed over joints, [..., N]."""
        return (self.action - self.previous_action).square().sum(dim=-1)

    @cached_property
    def pose_error(self) -> Tensor:
        """Joint positions less the default pose, rad, [..., N, J]."""
        return self.signals.joint_pos - self.robot.default_joint_pos

    @cached_property
    def joint_acc(self) -> Tensor:
        """Mean joint acceleration over the step, rad/s^2, [..., N, J]."""
        return (self.signals.joint_vel - self.before.joint_vel) / self.control_dt

    @cached_property
    def requested_torque(self) -> Tensor:
        """What the unclipped target would have asked of the motors as the step began, N m, [..., N, J]."""
        r, before = self.robot, self.before
        target = torch.addcmul(r.default_joint_pos, r.action_scale, self.action)
        return torch.addcmul(r.kp * (target - before.joint_pos), r.kd, before.joint_vel, value=-1.0)

    @cached_property
    def phase(self) -> Tensor:
        """Of the gait's clock, cycles, [..., N, 1]."""
        return self.memory["gait_clock"] if "gait_clock" in self.memory else self.memory["foot_clock"]

    @cached_property
    def gait_command(self) -> GaitCommand:
        """What is asked of the gait."""
        assert self.gait is not None
        return self.gait.asked(self.command)

    @cached_property
    def contact_timing(self) -> Tensor:
        """Share of feet whose contact is what the gait's clock says, [..., N]; 1 where there is no gait."""
        if self.gait is None:
            return torch.ones_like(self.moving)
        return contact_timing(self.contact, self.phase, self.moving, self.gait, self.gait_command)

    @cached_property
    def gait_score(self) -> Tensor:
        """How well the feet follow the gait clock, 0 to 1, [..., N]; 1 where there is no gait."""
        if self.gait is None:
            return torch.ones_like(self.moving)
        misplaced = self.misplaced if self.gait.settings.reach is not None else None
        return gait_score(self.sole_height, self.contact, self.phase, self.moving, self.gait, self.gait_command, misplaced)

    @cached_property
    def misplaced(self) -> Tensor:
        """Squared horizontal distance of the feet from where the gait has them, m^2, [..., N, F]."""
        assert self.gait is not None
        w, x, y, z = self.signals.base_quat.unbind(-1)
        yaw = torch.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        cos, sin = torch.cos(yaw)[..., None], torch.sin(yaw)[..., None]
        dx, dy = (self.signals.foot_pos[..., :2] - self.signals.base_pos[..., None, :2]).unbind(-1)
        places = foot_places(self.phase, self.robot.hips, self.gait, self.gait_command)
        return (cos * dx + sin * dy - places[..., 0]).square() + (cos * dy - sin * dx - places[..., 1]).square()

    @cached_property
    def touchdown(self) -> Tensor:
        """1 where a foot met the ground in this step, [..., N, F]."""
        return self.contact * (self.before.foot_contact_force[..., 2] <= CONTACT_FORCE)

    @cached_property
    def power(self) -> Tensor:
        """Sum of the motors' absolute mechanical powers, W, [..., N]."""
        return (self.signals.joint_torque * self.signals.joint_vel).abs().sum(dim=-1)

    @cached_property
    def gate(self) -> Tensor:
        """The factor by which the gait scales tracking rewards, [..., N]."""
        share = self.gait.settings.gate if self.gait else 0.0
        return (1.0 - share) + share * self.gait_score


def is_moving(velocity: Tensor) -> Tensor:
    """[..., 1] float: 1 where the velocity command [..., 3] asks for motion, 0 where it asks to stand."""
    return (velocity.square().sum(dim=-1, keepdim=True) > STANDING_COMMAND**2).to(velocity.dtype)


TILT_LIMIT = math.radians(30.0)
