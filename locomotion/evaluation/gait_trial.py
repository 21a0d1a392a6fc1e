"""The protocol behind the gait figures: a bundle walks, stands and stops in MuJoCo, on the nominal robot.

Walking: each command for 8 s, the first 2 s unscored, perfect sensors, every signal at every physics step. Standing: zero command
for 60 s with sensor noise and joint bias. Stopping: from 0.8 m/s, at eight instants of the stride, with perfect sensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from deploy.policy import RobotPolicy
from locomotion.evaluation import gait
from locomotion.evaluation.rollout import Actor, BundleActor, World, channels, has_fallen, make_simulator, rollout
from locomotion.task.frame import CONTACT_FORCE
from locomotion.task.randomization import NOMINAL, RandomizationSettings
from robots import Robot
from robots.robot import GRAVITY
from sim import Signals

WALKS = {
    "forward 0.5": (0.5, 0.0, 0.0),
    "forward 0.8": (0.8, 0.0, 0.0),
    "backward 0.5": (-0.5, 0.0, 0.0),
    "left 0.3": (0.0, 0.3, 0.0),
    "forward 0.5, yaw 0.6": (0.5, 0.0, 0.6),
    "stand": (0.0, 0.0, 0.0),
}  # m/s, m/s, rad/s
TRACED = ("forward 0.5", "forward 0.8")
WALK_SECONDS, UNSCORED_SECONDS, TRACE_SECONDS = 8.0, 2.0, 1.5
STANDING_ROBOTS, STANDING_SECONDS, SETTLED_SECONDS = 8, 60.0, 1.0
STOP_SPEED, STOP_AFTER, STOP_APART, STOP_SECONDS, STOPPED = 0.8, 3.0, 0.06, 3.0, 0.05  # m/s, s, s, s, m/s
# what MuJoCo's signals say of the start of the last physics step, not of its end
OLD = ("joint_torque", "foot_contact_force", "foot_pos", "foot_vel", "foot_contacts", "ground_contacts")
SEED = 0

Progress = Callable[[float], object]


def measure(
    policy: RobotPolicy, randomization: RandomizationSettings, progress: Progress = lambda share: None, actuator: str | None = None
) -> dict[str, Any]:
    """Gait figures of a policy bundle bound to its robot, as plain numbers; None where there is no such figure.

    Of ``randomization`` only the sensors' errors and the joints' zero offsets are taken.
    """
    offsets = {name: limits for name, limits in randomization.parameters.items() if name == "joint_zero_offset"}
    sensors = randomization.model_copy(update={"parameters": offsets, "events": {}, "dead_joint": 0.0, "graded": False})
    walking, traces = walk(policy, lambda share: progress(0.4 * share), actuator)
    standing = stand(policy, sensors, lambda share: progress(0.4 + 0.5 * share), actuator)
    standing |= stop(policy, actuator)
    progress(1.0)
    return {"feet": list(policy.robot.feet), "walking": walking, "standing": standing, "traces": traces}


def align(packed: torch.Tensor, num_joints: int, num_feet: int) -> Signals:
    """Signals of successive physics steps in MuJoCo, [T + 1, N, W] packed, each row of one instant: [T, N, W]."""
    result, later = Signals(packed[:-1].clone(), num_joints, num_feet), Signals(packed[1:], num_joints, num_feet)
    for name in OLD:
        getattr(result, name).copy_(getattr(later, name))
    return result


def record(actor: Actor, world: World, command: torch.Tensor, seconds: float, every: int | None, progress: Progress) -> torch.Tensor:
    """Packed signals [T, N, W] after every ``every`` physics steps (None: once a control step)."""
    rows, total = [], seconds / (world.simulator.physics_dt * every if every else world.control_dt)
    for _ in rollout(actor, world, command, seconds, every):
        rows.append(world.simulator.signals.packed.clone())
        progress(min(1.0, len(rows) / total))
    return torch.stack(rows)


def walk(policy: RobotPolicy, progress: Progress, actuator: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of each command by name, and the feet's and the base's height over a few strides."""
    actor, world, command = _begin(policy, list(WALKS.values()), NOMINAL, actuator)
    packed = record(actor, world, command, WALK_SECONDS, 1, progress)
    robot, dt = policy.robot, world.simulator.physics_dt
    signals = align(packed[round(UNSCORED_SECONDS / dt) :], robot.num_joints, len(robot.feet))
    radius = world.simulator.foot_radius.double().numpy()
    figures = walking_figures(
        signals, np.array(list(WALKS.values())), radius, world.simulator.hip_pos[:, :2].numpy(), GRAVITY * world.mass.numpy(), dt
    )
    world.simulator.close()
    upright = _upright(packed, robot)
    walking = {}
    for i, (name, asked) in enumerate(WALKS.items()):
        # after a fall the figures would be those of a robot lying down
        own = {key: _plain(value[i]) if upright[i] else None for key, value in figures.items()}
        walking[name] = {"command": list(asked), "fell": not bool(upright[i]), **own}
    chosen = {name: i for i, name in enumerate(WALKS) if name in TRACED}
    return walking, {name: _trace(signals, radius, i, dt) for name, i in chosen.items() if upright[i]}


def walking_figures(
    s: Signals, command: np.ndarray, foot_radius: np.ndarray, hips: np.ndarray, weight: np.ndarray, dt: float
) -> dict[str, np.ndarray]:
    """Figures [N, ...] of aligned signals [T, N]; ``command`` [N, 3], ``foot_radius`` [F] m, ``hips`` [F, 2 or 3] m, ``weight`` [N] N."""

    def array(name: str) -> np.ndarray:
        return getattr(s, name).double().numpy()

    force, foot_pos, foot_vel, base_pos, quat = (
        array(name) for name in ("foot_contact_force", "foot_pos", "foot_vel", "base_pos", "base_quat")
    )
    contact = force[..., 2] > CONTACT_FORCE
    velocity = gait.heading_frame(array("base_lin_vel_world"), quat)
    ahead = gait.heading_frame(foot_pos - base_pos[:, :, None], quat[:, :, None])[..., 0] - hips[:, 0]
    cost, cost_net = gait.cost_of_transport(array("joint_torque"), array("joint_vel"), velocity[..., :2], weight)
    moving = np.concatenate([velocity[..., :2], array("base_ang_vel")[..., 2:]], axis=-1)
    return {
        "apex": gait.swing_apex(foot_pos[..., 2] - foot_radius, contact, dt),
        "touchdown": gait.touchdown_fall(foot_vel, contact, dt),
        "slide": gait.touchdown_slide(foot_vel, contact, dt),
        "peak_force": gait.peak_force(force[..., 2], contact, weight, dt),
        "duty": gait.duty_factor(contact),
        "frequency": gait.stride_frequency(contact, dt),
        "height": base_pos[..., 2].mean(axis=0),
        "height_swing": gait.peak_to_peak(base_pos[..., 2], dt),
        "sway": gait.sway(velocity[..., 1], dt),
        "bias": gait.bias(moving, command),
        "cost": cost,
        "cost_net": cost_net,
        "foothold": gait.foothold(ahead, contact, dt),
    }


def stand(policy: RobotPolicy, sensors: RandomizationSettings, progress: Progress, actuator: str | None = None) -> dict[str, Any]:
    """What robots do that are told to stand for a minute, after a second to settle."""
    actor, world, command = _begin(policy, [(0.0, 0.0, 0.0)] * STANDING_ROBOTS, sensors, actuator)
    record(actor, world, command, SETTLED_SECONDS, None, lambda share: None)
    packed = record(actor, world, command, STANDING_SECONDS, None, progress)
    world.simulator.close()
    s = Signals(packed, policy.robot.num_joints, len(policy.robot.feet))
    contact = s.foot_contact_force[..., 2].numpy() > CONTACT_FORCE
    return {
        "robots": STANDING_ROBOTS,
        "seconds": STANDING_SECONDS,
        "fell": float(1.0 - _upright(packed, policy.robot).mean()),
        "steps": _plain(gait.steps_taken(contact, world.control_dt).sum(axis=0)),  # [F], of all robots
        "drift": _plain(gait.drift(s.base_pos.double().numpy()).max()),  # m, of the worst robot
        "joint_speed": _plain(gait.rms(s.joint_vel.double().numpy()).mean()),  # rad/s
    }


def stop(policy: RobotPolicy, actuator: str | None = None) -> dict[str, Any]:
    """How long robots take to stand still after a stop; one after the other stops, so that every phase of a stride is met."""
    n = STANDING_ROBOTS
    actor, world, command = _begin(policy, [(STOP_SPEED, 0.0, 0.0)] * n, NOMINAL, actuator)
    rest = channels([(0.0, 0.0, 0.0)] * n, policy.contract.command_names, policy.contract.command_rest)
    record(actor, world, command, STOP_AFTER, None, lambda share: None)
    wait = max(1, round(STOP_APART / world.control_dt))  # control steps
    packed = []
    for i in range(n):
        command[i] = rest[i]
        packed.append(record(actor, world, command, wait * world.control_dt, None, lambda share: None))
    packed.append(record(actor, world, command, STOP_SECONDS, None, lambda share: None))
    world.simulator.close()
    rows, length = torch.cat(packed), round(STOP_SECONDS / world.control_dt)
    own = torch.stack([rows[i * wait : i * wait + length, i] for i in range(n)], dim=1)  # each from its own stop on
    s = Signals(own, policy.robot.num_joints, len(policy.robot.feet))
    contact = s.foot_contact_force[..., 2].numpy() > CONTACT_FORCE
    seconds = gait.settling_time(s.base_lin_vel[..., :2].norm(dim=-1).numpy(), contact, world.control_dt, STOPPED)
    seconds[~_upright(rows, policy.robot)] = np.inf
    return {"settling": _plain(np.median(seconds)), "settling_worst": _plain(seconds.max())}


def _begin(
    policy: RobotPolicy, rows: list[tuple[float, float, float]], condition: RandomizationSettings, actuator: str | None
) -> tuple[Actor, World, torch.Tensor]:
    contract = policy.contract
    simulator = make_simulator(policy.robot, len(rows), contract.control_dt, actuator, firm=True)
    world, actor = World(simulator, condition, contract.control_dt, SEED), BundleActor(policy)
    actor.reset(len(rows))
    return actor, world, channels(rows, contract.command_names, contract.command_rest)


def _upright(packed: torch.Tensor, robot: Robot) -> np.ndarray:
    """[N] whether a robot never fell."""
    return ~has_fallen(Signals(packed, robot.num_joints, len(robot.feet)), robot).any(dim=0).numpy()


def _trace(s: Signals, foot_radius: np.ndarray, i: int, dt: float) -> dict[str, Any]:
    """Heights (m) and contacts of robot ``i`` over the first strides."""
    part = slice(0, round(TRACE_SECONDS / dt), 2)  # every 4 ms is smooth to the eye
    sole = s.foot_pos[part, i, :, 2].double().numpy() - foot_radius
    return {
        "dt": 2 * dt,
        "sole_height": np.round(sole.T, 4).tolist(),  # [F][T]
        "contact": (s.foot_contact_force[part, i, :, 2] > CONTACT_FORCE).T.int().tolist(),
        "base_height": np.round(s.base_pos[part, i, 2].double().numpy(), 4).tolist(),
    }


def _plain(value: Any) -> Any:
    """Numbers for JSON, which knows no NaN."""
    if np.ndim(value):
        return [_plain(one) for one in value]
    return round(float(value), 5) if np.isfinite(value) else None
