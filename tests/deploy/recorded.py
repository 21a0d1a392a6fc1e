"""A run whose every step is recorded, by what the loop shows of itself: its robot, its policy and its operator."""

from __future__ import annotations

import numpy as np

from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import SimulatedTime
from deploy.log import Recorder
from deploy.operator import ScriptedOperator
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.supervisor import Limits, Supervisor


class Recorded:
    """Robot, operator and policy of ``runtime`` with a recorder between."""

    def __init__(self, runtime, recorder, operator):
        self.runtime, self.recorder, self.operator = runtime, recorder, operator
        self.interface, self._step = runtime.interface, runtime.policy.step
        runtime.interface, runtime.policy.step = self, self.infer
        self.command = self.state = self.policy = None
        self.seen = []  # time, sample and what the robot heard, of each step

    def infer(self, signals):
        target, action = self._step(signals)
        self.policy = {name: value[0] for name, value in signals.items()}, action[0], target[0].astype(float)
        return target, action

    def __call__(self, time, state):
        wanted, self.command = self.operator(time, state)
        return wanted, self.command

    def read(self):
        self.state = self.interface.read()
        return self.state

    def write(self, motor):
        self.interface.write(motor)
        inputs, action, asked = self.policy or (None, None, None)
        now, state = self.runtime.clock.now(), self.runtime.supervisor.state
        self.recorder.record(now, self.state, self.command, motor, state, (0.0, np.nan, 1e-4), inputs, action, asked)
        self.seen.append((now, self.state, motor))
        self.policy = self.command = None  # the damping at the end has neither

    def close(self):
        self.interface.close()


def run(bundle, go2, path, seconds, script=((0.0, (0.3, 0.0, 0.0)),), **settings):
    """A run in simulated time: its closed recorder, its runtime, and what was seen of it."""
    policy, clock, limits = RobotPolicy(load(bundle), go2), SimulatedTime(), Limits()
    runtime = Runtime(policy, SimulatedRobot(policy.robot, clock), Supervisor(policy.robot, policy.contract.control_dt, limits), clock)
    recorder = Recorder(path, policy.robot, policy.contract, limits, **settings)
    between = Recorded(runtime, recorder, ScriptedOperator(script, policy.contract))
    runtime.run(seconds, between)
    for event in runtime.supervisor.events:
        recorder.event(event.time, event.state, event.kind, event.detail)
    recorder.close()
    return recorder, runtime, between.seen
