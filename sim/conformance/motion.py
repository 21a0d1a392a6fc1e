"""Checks of robots in the air: falling, driven joints, the motors' law, energy, symmetry."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from robots.actuator import motor_torque
from robots.robot import GRAVITY
from sim.conformance.bench import DT, HIGH, LIMP, UNDAMPED, WEIGHTLESS, Bench, Edit, NotApplicable, everywhere, numbers, run, velocity
from sim.signals import InitialState

FALL = 0.2  # s
PUSH = 0.3  # share of a motor's limit that drives a joint
SMALL = 0.02  # rad, a step so small that a robot is linear
RESPONSE = (0.01, 0.03, 0.06, 0.1)  # s after it


def free_fall(bench: Bench, gravity_scale: float = 1.0, ground_slope: tuple[float, float] = (0.0, 0.0), **none: float) -> float:
    """Error of the velocity after 0.2 s, g t along gravity, m/s."""
    with bench.simulator(gravity_scale=gravity_scale, ground_slope=ground_slope) as simulator:
        run(simulator, bench.target(simulator), FALL)
        down = np.array([*-np.tan(ground_slope), -1.0])
        expected = gravity_scale * GRAVITY * FALL * down / np.linalg.norm(down)
        return float(np.abs(numbers(simulator.signals.base_lin_vel_world)[0] - expected).max())


def kinematics(bench: Bench) -> float:
    """A robot put anywhere is there; its feet's positions (m) and velocities (m/s), gravity and velocity in its own frame."""
    with bench.simulator(8) as simulator:
        state = InitialState(anyhow(bench, simulator.num_envs, 0).to(simulator.device), bench.joints)
        simulator.reset(everywhere(simulator), state)
        s, reference = simulator.signals, bench.reference()
        errors = [numbers(getattr(s, name) - getattr(state, name)) for name in ("base_pos", "joint_pos", "base_ang_vel", "joint_vel")]
        either = [numbers(state.base_quat - sign * s.base_quat) for sign in (1.0, -1.0)]  # both are the same rotation
        errors.append(np.minimum(*(np.abs(error).max(axis=1) for error in either)))
        for env in range(simulator.num_envs):
            feet, speeds = reference.see(s, env).feet
            rotation = reference.data.body(bench.robot.base_body).xmat.reshape(3, 3)
            errors += [numbers(s.foot_pos)[env] - feet, numbers(s.foot_vel)[env] - speeds]
            errors += [numbers(s.projected_gravity)[env] + rotation[2], numbers(s.base_lin_vel)[env] - velocity(s)[env, :3] @ rotation]
        return float(max(np.abs(error).max() for error in errors))


def anyhow(bench: Bench, num_envs: int, seed: int) -> torch.Tensor:
    """Packed initial states of robots high up, in poses around the default, turned and moving at random."""
    generator = torch.Generator().manual_seed(seed)

    def draw(columns: int, size: float) -> torch.Tensor:
        return size * (2.0 * torch.rand(num_envs, columns, generator=generator) - 1.0)

    position = draw(3, 0.5) + torch.tensor([0.0, 0.0, HIGH])
    quat = torch.nn.functional.normalize(draw(4, 1.0), dim=-1)
    joints = torch.tensor(np.array(bench.robot.default_joint_pos), dtype=torch.float32) + draw(bench.joints, 0.2)
    return torch.cat([position, quat, joints, draw(3, 1.0), draw(3, 1.0), draw(bench.joints, 3.0)], dim=-1)


def driven_joint(bench: Bench, edit: Edit | None = None, exact: bool = False, **values: Any) -> float:
    """Joint j of robot j gets a torque: M dv = tau dt; error relative to its speed."""
    j = bench.joints
    with bench.simulator(j, **UNDAMPED | values) as simulator:
        torque = PUSH * np.diag(bench.robot.effort_limit)
        simulator.step(bench.target(simulator, torque / bench.robot.kp), 1)
        matrix = bench.reference(edit, exact).mass_matrix
        expected = np.linalg.solve(matrix, np.vstack([np.zeros((6, j)), torque])).T * DT
        error = np.abs(velocity(simulator.signals) - expected).max(axis=1)
        return float((error / np.diag(expected[:, 6:])).max())


def response(bench: Bench) -> float:
    """A small step of one target, all motors holding: M dv/dt = kp e - (kd + d) v, by the matrix exponential; share of the step."""
    j, robot = bench.joints, bench.robot
    with bench.simulator(j, 0.0005, **WEIGHTLESS, joint_friction_scale=0.0) as simulator:
        reference = bench.reference()
        inverse = np.linalg.inv(reference.mass_matrix)[6:, 6:]
        damping = robot.kd + reference.of_joints("dof_damping")
        system = np.block([[np.zeros((j, j)), np.eye(j)], [-inverse * robot.kp, -inverse * damping]])
        begin = np.vstack([-SMALL * np.eye(j), np.zeros((j, j))])  # a column a robot: how far off its target
        target, now, worst = bench.target(simulator, SMALL * np.eye(j)), 0.0, 0.0
        for time in RESPONSE:
            simulator.step(target, round((time - now) / simulator.physics_dt))
            now = time
            exact = (torch.linalg.matrix_exp(torch.from_numpy(system * time)).numpy() @ begin)[:j].T
            off = numbers(simulator.signals.joint_pos - target)
            worst = max(worst, float(np.abs(off - exact).max()) / SMALL)
        return worst


def law(bench: Bench, **scale: float) -> float:
    """Torque at random speeds and targets, up to beyond the limit, against :func:`robots.actuator.motor_torque`; share of the limit."""
    robot, n, generator = bench.robot, 8, np.random.default_rng(0)
    values = {name: value * np.ones(bench.joints) for name, value in scale.items()}
    with bench.simulator(n, 0.0005, **values) as simulator:
        state = bench.standing(simulator, HIGH)
        speed = generator.uniform(-1.2, 1.2, (n, bench.joints)) * robot.joint_vel_limit
        reach = generator.uniform(-1.5, 1.5, (n, bench.joints)) * robot.effort_limit / robot.kp
        state.joint_vel[:] = torch.tensor(speed, dtype=torch.float32, device=simulator.device)
        target = bench.target(simulator, reach)
        simulator.reset(everywhere(simulator), state)
        simulator.step(target, 1)
        k = {"kp_scale": 1.0, "kd_scale": 1.0, "motor_strength": 1.0, "effort_limit_scale": 1.0, "joint_zero_offset": 0.0} | scale
        read, strength = numbers(state.joint_pos) + k["joint_zero_offset"], k["motor_strength"]
        gains = (robot.kp * k["kp_scale"] * strength, robot.kd * k["kd_scale"] * strength, robot.effort_limit * strength)
        limit = robot.effort_limit * strength * k["effort_limit_scale"]
        torque = motor_torque(numbers(target), read, numbers(state.joint_vel), *gains, curve=robot.torque_speed).clip(-limit, limit)
        return float((np.abs(numbers(simulator.signals.joint_torque) - torque) / robot.effort_limit).max())


def effort_limit(bench: Bench) -> float:
    """A target out of reach gives just the limit, of both signs; share of it."""
    with bench.simulator(2) as simulator:
        simulator.step(bench.target(simulator, np.array([[10.0], [-10.0]])), 1)
        expected = np.stack([bench.robot.effort_limit, -bench.robot.effort_limit])
        return float(np.abs(numbers(simulator.signals.joint_torque) / expected - 1.0).max())


def delay(bench: Bench, action_delay: tuple[float, ...] = (0.0,), action_jitter: float = 0.0) -> float:
    """Physics steps until a new target reaches the motors, beside the delay's own number."""
    n = len(action_delay)
    given: dict[str, Any] = {"action_delay": np.array(action_delay)} if any(action_delay) else {}
    with bench.simulator(n, **given | ({"action_jitter": action_jitter} if action_jitter else {})) as simulator:
        target = bench.target(simulator, PUSH * bench.robot.effort_limit / bench.robot.kp)
        quiet, moved = np.zeros(n), np.zeros(n, dtype=bool)
        for _ in range(40):
            simulator.step(target, 1)
            moved |= np.abs(numbers(simulator.signals.joint_torque) / bench.robot.effort_limit).max(axis=1) > 0.5 * PUSH
            quiet += ~moved
        return float(np.abs(quiet - np.round((np.array(action_delay) + action_jitter) / DT)).max())


def friction_of_joints(bench: Bench, name: str) -> float:
    """One joint spins at 2 rad/s, no motor has torque: the speed that friction of its own joint takes in 5 ms, error of that."""
    j, spin, steps = bench.joints, 2.0, 5
    reference = bench.reference()
    inverse = np.diag(np.linalg.inv(reference.mass_matrix))[6:]
    if name == "joint_damping_scale":
        expected = spin * (1.0 - np.exp(-inverse * reference.of_joints("dof_damping") * steps * DT))
    else:
        expected = inverse * reference.of_joints("dof_frictionloss") * steps * DT
    some = expected > 1e-6
    if not some.any():
        raise NotApplicable("its joints have none")
    speeds = []
    for scale in (0.0, 1.0):
        own: dict[str, Any] = {name: scale * np.eye(j)}  # of the joint that spins
        with bench.simulator(j, **WEIGHTLESS | LIMP | own) as simulator:
            state = bench.standing(simulator, HIGH)
            state.joint_vel[:] = spin * torch.eye(j, device=simulator.device)
            simulator.reset(everywhere(simulator), state)
            simulator.step(bench.target(simulator), steps)
            speeds.append(np.diag(numbers(simulator.signals.joint_vel)))
    return float(np.abs((speeds[0] - speeds[1]) / expected - 1.0)[some].max())


def passive_swing(bench: Bench) -> float:
    """Legs swing without motors, friction or gravity: change of the robot's energy in 0.1 s, relative to that of the swing."""
    with bench.simulator(**WEIGHTLESS | LIMP) as simulator:
        state = bench.standing(simulator, HIGH)
        state.joint_vel[:] = torch.tensor([1.0, -1.0] * bench.joints, device=simulator.device)[: bench.joints]
        simulator.reset(everywhere(simulator), state)
        reference = bench.reference()
        before = reference.see(simulator.signals).kinetic_energy
        run(simulator, bench.target(simulator), 0.1)
        return abs(reference.see(simulator.signals).kinetic_energy / before - 1.0)


def wrench(bench: Bench) -> float:
    """A force on the base for 20 ms: F t is the momentum of the whole robot, and the force ends with a reset; N s, relative."""
    force, time = 0.3 * GRAVITY * float(bench.reference().model.body_mass.sum()), 0.02
    with bench.simulator(**WEIGHTLESS) as simulator:
        pressed = torch.zeros(1, 6, device=simulator.device)
        pressed[0, :3] = torch.tensor([force, -0.5 * force, 0.25 * force])
        simulator.wrench(everywhere(simulator), pressed)
        run(simulator, bench.target(simulator), time, DT)
        wanted = numbers(pressed[0, :3]) * time
        error = np.abs(bench.reference().see(simulator.signals).momentum - wanted).max() / wanted.max()
        simulator.reset(everywhere(simulator), bench.standing(simulator, HIGH))
        run(simulator, bench.target(simulator), time, DT)
        return max(float(error), float(np.abs(velocity(simulator.signals)).max()))


def torque_on_base(bench: Bench) -> float:
    """A torque on the base for 5 ms, no motor holding: M dv = tau dt; relative."""
    with bench.simulator(3, **WEIGHTLESS | LIMP) as simulator:
        pressed = torch.zeros(3, 6, device=simulator.device)
        pressed[:, 3:] = 2.0 * torch.eye(3, device=simulator.device)
        simulator.wrench(everywhere(simulator), pressed)
        run(simulator, bench.target(simulator), 5 * DT, DT)
        load = np.zeros((3, 6 + bench.joints))
        load[:, 3:6] = 2.0 * np.eye(3)
        expected = np.linalg.solve(bench.reference().mass_matrix, load.T).T * 5 * DT
        return float(np.abs(velocity(simulator.signals) - expected).max() / np.abs(expected[:, 3:6]).max())


def push(bench: Bench) -> float:
    """A push adds to the velocity, at any heading, where it is asked for; m/s."""
    with bench.simulator(2) as simulator:
        state = InitialState(anyhow(bench, 2, 1).to(simulator.device), bench.joints)
        simulator.reset(everywhere(simulator), state)
        added = torch.tensor([[0.5, -0.4]], device=simulator.device).repeat(2, 1)
        simulator.push(torch.tensor([True, False], device=simulator.device), added)
        expected = numbers(state.base_lin_vel_world)
        expected[0, :2] += [0.5, -0.4]
        return float(np.abs(numbers(simulator.signals.base_lin_vel_world) - expected).max())


def mirrored(bench: Bench, packed: torch.Tensor) -> torch.Tensor:
    """Initial states [N, ...] in the robot's left-right mirror."""
    result, mirror = InitialState(packed.clone(), bench.joints), bench.robot.mirror
    index, sign = torch.tensor(np.array(mirror.joint_index)), torch.tensor(np.array(mirror.joint_sign)).float()
    for vectors, change in (
        (result.base_pos, [1.0, -1.0, 1.0]), (result.base_quat, [1.0, -1.0, 1.0, -1.0]),
        (result.base_lin_vel_world, [1.0, -1.0, 1.0]), (result.base_ang_vel, [-1.0, 1.0, -1.0]),
    ):  # fmt: skip
        vectors.mul_(torch.tensor(change))
    for joints in (result.joint_pos, result.joint_vel):
        joints.copy_(joints[:, index] * sign)
    return result.packed


def symmetry(bench: Bench, height: float | None = None, seconds: float = 0.3) -> float:
    """A robot and its mirror image, told the same: how far apart their joints come; rad."""
    with bench.simulator(2, 0.002) as simulator:
        one = bench.standing(simulator, height).packed.cpu()[:1]
        half = InitialState(one, bench.joints)
        generator = torch.Generator().manual_seed(0)
        half.joint_pos += 0.1 * (2.0 * torch.rand(1, bench.joints, generator=generator) - 1.0)
        half.base_lin_vel_world[:] = torch.tensor([0.2, 0.3, 0.0])
        both = InitialState(torch.cat([one, mirrored(bench, one)]).to(simulator.device), bench.joints)
        simulator.reset(everywhere(simulator), both)
        run(simulator, bench.target(simulator), seconds)
        s = simulator.signals
        parts = ("base_pos", "base_quat", "joint_pos", "base_lin_vel_world", "base_ang_vel", "joint_vel")
        now = torch.cat([getattr(s, name) for name in parts], dim=-1).cpu()
        first, second = (InitialState(packed, bench.joints) for packed in (mirrored(bench, now[:1]), now[1:]))
        return float((first.joint_pos - second.joint_pos).abs().max())
