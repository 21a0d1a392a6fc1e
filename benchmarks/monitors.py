"""False alarms of the safety layer's monitors: a policy walks and rests under rough conditions, and nothing may be found but falls.

    python -m benchmarks.monitors policy.onnx [minutes]

Prints the largest value that each monitor saw, as a share of its threshold, and all that was found. Falls are no false alarms; a robot
that is told to go easy on warm motors walks on, and that is counted by itself.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from deploy.hil.simulated_robot import Conditions, SimulatedRobot
from deploy.interface import SimulatedTime
from deploy.limits import Limits
from deploy.monitors import BY_NAME, Response
from deploy.operator import ScriptedOperator
from deploy.policy import RobotPolicy
from deploy.runtime import Runtime
from deploy.states import TABLE, State
from deploy.supervisor import Supervisor
from locomotion.evaluation.rollout import load_policy

FALLS = ("tilt", "base_ang_vel")
ENDS = ("transition", "refused", "stop", "settled")  # of themselves, and of a run whose time is over
SECONDS = 60.0  # of a run
ROUGH = {
    "clean": Conditions(),
    "noise": Conditions(noise=1.0),
    "push": Conditions(noise=1.0, push=0.6),
    "ice": Conditions(noise=1.0, friction=0.2),
    "payload": Conditions(noise=1.0, payload=5.0),
    "delay": Conditions(noise=1.0, delay=0.02),
    "all": Conditions(noise=1.0, push=0.6, friction=0.5, payload=3.0, delay=0.01),
}


def run(policy: RobotPolicy, conditions: Conditions, seconds: float, seed: int) -> tuple[Supervisor, dict[str, float]]:
    """The supervisor of a run with random commands, and the largest share of its threshold that each monitor saw."""
    clock, limits = SimulatedTime(), Limits()
    robot, contract = policy.robot, policy.contract
    supervisor = Supervisor(robot, contract.control_dt, limits)
    commands = np.random.default_rng(seed).uniform(*contract.command_range.T, (int(seconds / 3.0) + 1, len(contract.command_names)))
    commands[3::5] = 0.0  # who rests sets out again
    script = ScriptedOperator([[3.0 * i, command.tolist()] for i, command in enumerate(commands)], contract)
    worst: defaultdict[str, float] = defaultdict(float)

    def operator(time: float, state: State):
        for name in TABLE[state].monitors:
            monitor = BY_NAME[name]
            worst[name] = max(worst[name], monitor.value(supervisor.window) / getattr(limits, monitor.limit))
        return script(time, state)

    Runtime(policy, SimulatedRobot(robot, clock, conditions), supervisor, clock).run(seconds, operator)
    return supervisor, worst


def main() -> None:
    policy = load_policy(Path(sys.argv[1]))
    minutes, alarms, derated = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0, 0, 0
    for name, conditions in ROUGH.items():
        worst: defaultdict[str, float] = defaultdict(float)
        for seed in range(max(1, round(60.0 * minutes / SECONDS))):
            supervisor, seen = run(policy, Conditions(**{**vars(conditions), "seed": seed}), SECONDS, seed)
            for monitor, value in seen.items():
                worst[monitor] = max(worst[monitor], value)
            for event in supervisor.events:
                if event.kind not in ENDS and event.detail != "over":
                    mild = event.detail.startswith(Response.DERATE)
                    derated, alarms = derated + mild, alarms + (event.kind not in FALLS and not mild)
                    print(f"{name:8} seed {seed} {event.time:6.1f} s  {event.kind}: {event.detail}")
        print(f"{name:8} " + " ".join(f"{key} {value:.2f}" for key, value in sorted(worst.items()) if value > 0.005))
    print(f"{alarms} false alarms and {derated} deratings in {minutes * len(ROUGH):g} minutes")


if __name__ == "__main__":
    main()
