"""Checks to the last bit: the same again, neighbours, nominal values, a continuation. They count numbers that differ."""

from __future__ import annotations

import numpy as np
import torch

from sim.conformance.bench import Bench, everywhere, set_parameters
from sim.parameters import PARAMETERS, nominal_values
from sim.simulator import Simulator

STEPS, SUBSTEPS, DT = 20, 4, 0.005


def same_again(bench: Bench) -> float:
    """Two simulators, the same calls, on the ground."""
    with bench.simulator(3, DT) as one, bench.simulator(3, DT) as other:
        return _different(_played(bench, one, 0), _played(bench, other, 0))


def neighbours(bench: Bench) -> float:
    """A robot moves the same whatever the others do, and stays as it is when they begin anew."""
    runs, moved = [], 0.0
    for seed in (0, 1):
        with bench.simulator(3, DT) as simulator:
            runs.append(_played(bench, simulator, seed, alike=0)[:, 0])
            mask = torch.tensor([False, True, True], device=simulator.device)
            simulator.reset(mask, bench.standing(simulator, 1.0))
            moved += _different(simulator.signals.packed[0], runs[-1][-1])
    return _different(*runs) + moved


def nominal(bench: Bench) -> float:
    """Nominal values are no change, and after random ones and resets nothing is left of those."""
    with bench.simulator(2, DT) as fresh, bench.simulator(2, DT) as told, bench.simulator(2, DT) as used:
        values = {name: value for name, value in nominal_values(2, bench.joints, fresh.device).items() if name in fresh.supports}
        told.set_parameters(everywhere(told), values)
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            random = {name: _random(name, value, generator) for name, value in values.items()}
            mask = (torch.rand(2, generator=generator) < 0.7).to(used.device)
            used.set_parameters(mask, random)
            used.wrench(mask, torch.ones(2, 6, device=used.device))
            used.reset(mask, bench.standing(used, 1.0))
            used.step(bench.target(used, 0.1), 1)
        used.set_parameters(everywhere(used), values)
        plain = _played(bench, fresh, 0)
        return _different(plain, _played(bench, told, 0)) + _different(plain, _played(bench, used, 0))


def _random(name: str, value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Like ``value``, from a part of the parameter's bounds around its nominal value."""
    low, high = PARAMETERS[name].bounds
    low, high = max(low, PARAMETERS[name].nominal - 0.3), min(high, PARAMETERS[name].nominal + 0.3)
    return (low + (high - low) * torch.rand(value.shape, generator=generator)).to(value.device)


def continuation(bench: Bench) -> float:
    """Another simulator goes on from the state of one, under the same randomized physics."""
    with bench.simulator(3, DT) as one, bench.simulator(3, DT) as other:
        some = {name: 0.9 for name in ("kp_scale", "friction", "motor_strength") if name in one.supports}
        set_parameters(one, **some | ({"action_delay": 0.01} if "action_delay" in one.supports else {}))
        _played(bench, one, 0)
        other.load_state_dict(one.state_dict())
        return _different(*(_played(bench, simulator, 1, begin=False) for simulator in (one, other)))


def _played(bench: Bench, simulator: Simulator, seed: int, alike: int | None = None, begin: bool = True) -> torch.Tensor:
    """Signals [T, N, W] under random targets; those of the robot ``alike`` do not depend on the seed."""
    n, generator = simulator.num_envs, np.random.default_rng(seed)
    if begin:
        simulator.reset(everywhere(simulator), bench.standing(simulator))
    same, seen = np.random.default_rng(99), []
    for _ in range(STEPS):
        change = generator.uniform(-0.2, 0.2, (n, bench.joints))
        if alike is not None:
            change[alike] = same.uniform(-0.2, 0.2, bench.joints)
        simulator.step(bench.target(simulator, change), SUBSTEPS)
        seen.append(simulator.signals.packed.clone())
    return torch.stack(seen)


def _different(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one != other).sum())
