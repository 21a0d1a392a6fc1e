"""Checks of robots on the ground: its forces, its friction, how it throws back."""

from __future__ import annotations

import numpy as np
import torch

from robots.robot import GRAVITY
from sim.conformance.bench import Bench, NotApplicable, everywhere, numbers, run
from sim.signals import InitialState
from sim.simulator import Simulator

CONTACT_DT = 0.002  # s
FRICTION = 0.3
UNDER, OVER = 0.7, 1.4  # of the largest friction
FALL, IMPACT = 1.0, 0.3  # s; m/s that a foot's speed changes by in one step only where it lands


def resting_forces(bench: Bench) -> float:
    """Forces on the feet of a robot that stands, beside its weight; relative. Nothing else touches."""
    with bench.simulator(dt=CONTACT_DT) as simulator:
        bench.settled(simulator, bench.standing(simulator), 2.0)
        s, weight = simulator.signals, GRAVITY * simulator.total_mass
        only_feet = bool((s.ground_contacts == s.foot_contacts.sum(dim=-1)).all())
        off = numbers(s.foot_contact_force.sum(dim=1))[0] - [0.0, 0.0, weight]
        return float(np.abs(off).max() / weight) if only_feet else np.inf


def _lying(bench: Bench, simulator: Simulator) -> InitialState:
    return bench.standing(simulator, 0.5 * bench.robot.standing_height, bench.robot.lie_joint_pos)


def sliding(bench: Bench) -> float:
    """A lying robot pushed to 1 m/s: v^2 / (2 mu g) until it rests; relative, of two frictions."""
    frictions, speed = np.array([0.1, 0.2]), 1.0
    with bench.simulator(2, CONTACT_DT, friction=frictions) as simulator:
        target = bench.settled(simulator, _lying(bench, simulator))
        start = numbers(simulator.signals.base_pos)[:, 0].copy()
        simulator.push(everywhere(simulator), torch.tensor([[speed, 0.0]], device=simulator.device).repeat(2, 1))
        run(simulator, target, 1.4)
        gone = numbers(simulator.signals.base_pos)[:, 0] - start
        return float(np.abs(gone * 2.0 * frictions * GRAVITY / speed**2 - 1.0).max())


def friction_limit(bench: Bench) -> float:
    """A lying robot is pressed along the ground: beyond mu m g it goes by what is over; relative to mu g."""
    with bench.simulator(dt=CONTACT_DT, friction=FRICTION) as simulator:
        speeds = _pressed(bench, simulator, OVER)
        return float(abs((speeds[1] - speeds[0]) / 0.2 / (FRICTION * GRAVITY) - (OVER - 1.0)))


def grip(bench: Bench) -> float:
    """The same below mu m g: the speed at which it creeps; m/s."""
    with bench.simulator(dt=CONTACT_DT, friction=FRICTION) as simulator:
        return float(abs(_pressed(bench, simulator, UNDER)[1]))


def _pressed(bench: Bench, simulator: Simulator, share: float) -> tuple[float, float]:
    """Forward speed (m/s) 0.1 and 0.3 s after a force of ``share`` of the largest friction."""
    target = bench.settled(simulator, _lying(bench, simulator))
    force = torch.zeros(1, 6, device=simulator.device)
    force[0, 0] = share * FRICTION * GRAVITY * simulator.total_mass
    simulator.wrench(everywhere(simulator), force)
    speeds = []
    for seconds in (0.1, 0.2):
        run(simulator, target, seconds)
        speeds.append(float(simulator.signals.base_lin_vel_world[0, 0]))
    return speeds[0], speeds[1]


def rebound(bench: Bench) -> float:
    """A tilted robot lands on one foot: what restitution adds to the foot's speed in that step, over the speed before it; beside the
    restitution."""
    if any(len(shapes) > 1 for shapes in bench.robot.foot_geoms):
        raise NotApplicable("its feet land on several shapes")
    given = np.array([0.0, 0.3, 0.8])
    with bench.simulator(3, restitution=given) as simulator:
        state = bench.standing(simulator, 1.5 * bench.robot.standing_height)
        state.base_quat[:] = torch.nn.functional.normalize(torch.tensor([1.0, 0.1, 0.1, 0.0], device=simulator.device), dim=0)
        simulator.reset(everywhere(simulator), state)
        for _ in range(round(FALL / simulator.physics_dt)):
            before = numbers(simulator.signals.foot_vel)[..., 2].copy()
            simulator.step(state.joint_pos, 1)
            change = numbers(simulator.signals.foot_vel)[..., 2] - before
            foot = int(change[0].argmax())
            if change[0, foot] > IMPACT:
                return float(np.abs((change[:, foot] - change[0, foot]) / -before[0, foot] - given).max())
    return np.inf
