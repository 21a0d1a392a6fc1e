"""A run whose log is kept, and what passed between the loop and the robot."""

from __future__ import annotations

from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import SimulatedTime
from deploy.log import Recorder
from deploy.operator import ScriptedOperator
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.supervisor import Limits, Supervisor


class Between:
    """A robot's interface, and what was read and written through it."""

    def __init__(self, interface, clock):
        self.interface, self.clock = interface, clock
        self.state, self.seen = None, []  # time, sample and what the robot heard, of each step

    def read(self):
        state = self.interface.read()
        if self.seen and self.seen[-1][1] is None:  # damping is written before the robot is looked at
            self.seen[-1] = (self.clock.now(), state, self.seen[-1][2])
        else:
            self.state = state
        return state

    def write(self, motor):
        self.interface.write(motor)
        self.seen.append((self.clock.now(), self.state, motor))
        self.state = None

    def close(self):
        self.interface.close()


def run(bundle, go2, path, seconds, script=((0.0, (0.3, 0.0, 0.0)),), **settings):
    """A run in simulated time: its closed recorder, its runtime, and what was seen of it."""
    policy, clock, limits = RobotPolicy(load(bundle), go2), SimulatedTime(), Limits()
    between = Between(SimulatedRobot(policy.robot, clock), clock)
    recorder = Recorder(path, policy.robot, policy.contract, limits, **settings)
    supervisor = Supervisor(policy.robot, policy.contract.control_dt, limits)
    runtime = Runtime(policy, between, supervisor, clock, recorder)
    runtime.run(seconds, ScriptedOperator(script, policy.contract))
    return recorder, runtime, [seen for seen in between.seen if seen[1] is not None]
