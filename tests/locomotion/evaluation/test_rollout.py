"""The loop runs what it says: exact physics steps, commands by name, noise and bias within bounds, events when due, by one seed."""

import pytest
import torch

import sim
from locomotion.evaluation.rollout import World, channels, divide, has_fallen, rollout
from locomotion.task.randomization import NOMINAL, RandomizationSettings, SensorSpread
from robots import InputError
from sim import Signals

INPUTS = ("base_ang_vel", "projected_gravity", "joint_pos", "joint_vel", "command")


class Holding:
    """Holds the default pose and remembers what it saw."""

    inputs = INPUTS

    def __init__(self, robot):
        self.target, self.seen = torch.tensor(robot.default_joint_pos, dtype=torch.float32), []

    def reset(self, batch):
        pass

    def act(self, signals):
        self.seen.append({name: value.clone() for name, value in signals.items()})
        return self.target.repeat(len(signals["command"]), 1), torch.zeros(len(signals["command"]), len(self.target))


def make_world(robot, condition, n=3, dt=0.02, seed=0):
    return World(sim.make("mujoco", robot, n, divide(dt)[1], threads=1), condition, dt, seed)


@pytest.mark.parametrize(("dt", "expected"), [(0.02, 10), (0.005, 3), (0.001, 1), (0.002, 1), (0.003, 2), (0.0125, 7)])
def test_a_control_step_is_a_whole_number_of_physics_steps(dt, expected):
    substeps, physics_dt = divide(dt)
    assert substeps == expected
    assert substeps * physics_dt == pytest.approx(dt, abs=1e-12)
    assert physics_dt <= 0.002 + 1e-12


def test_commands_are_told_by_name():
    command = channels([(0.5, 0.1, -0.6)], ("yaw", "body_height", "forward", "left"), (0.0, 0.3, 0.0, 0.0))
    assert command.tolist() == [pytest.approx([-0.6, 0.3, 0.5, 0.1])]
    with pytest.raises(InputError, match="yaw"):
        channels([(0.5, 0.1, 0.0)], ("forward", "left"), (0.0, 0.0))


def test_the_loop_yields_at_the_pace_asked_for_and_reads_the_command_each_step(go2):
    world, actor = make_world(go2, NOMINAL), Holding(go2)
    command = torch.zeros(3, 3)
    for k, _ in enumerate(rollout(actor, world, command, 0.1, every=5)):
        command[:, 0] = k
    assert k + 1 == 10  # twice in each of 5 control steps
    assert [float(seen["command"][0, 0]) for seen in actor.seen] == [0, 1, 3, 5, 7]
    assert torch.equal(actor.seen[0]["joint_pos"], actor.target.repeat(3, 1))


def test_pausing_does_not_change_the_physics(go2):
    ends = []
    for every in (None, 1):
        world = make_world(go2, NOMINAL)
        for _ in rollout(Holding(go2), world, torch.zeros(3, 3), 0.2, every):
            pass
        ends.append(world.simulator.signals.packed.clone())
    assert torch.equal(*ends)


def test_robots_start_at_rest_in_every_direction(go2):
    s = make_world(go2, NOMINAL, n=64).simulator.signals
    assert s.base_pos[:, 2] == pytest.approx(go2.standing_height + 0.01, abs=1e-5)
    assert s.base_lin_vel.abs().max() == 0
    yaw = 2 * torch.atan2(s.base_quat[:, 3], s.base_quat[:, 0])
    assert torch.remainder(yaw, 6.2832).std() > 1.5  # uniform over a turn: 1.8


def test_noise_is_drawn_every_step_and_bias_held(go2):
    condition = RandomizationSettings(noise=SensorSpread(base_ang_vel=0.2), bias=SensorSpread(joint_pos=0.05))
    world = make_world(go2, condition, n=200)
    s = world.simulator.signals
    one, two = world.measure(INPUTS), world.measure(INPUTS)
    noise, bias = one["base_ang_vel"] - s.base_ang_vel, one["joint_pos"] - s.joint_pos
    assert 0.19 < noise.abs().max() <= 0.2
    assert noise.mean().abs() < 0.03
    assert not torch.equal(one["base_ang_vel"], two["base_ang_vel"])
    assert 0.049 < bias.abs().max() <= 0.05001
    assert bias.mean().abs() < 0.005
    assert torch.equal(one["joint_pos"], two["joint_pos"])
    assert torch.equal(one["projected_gravity"], s.projected_gravity)
    assert torch.equal(one["joint_vel"], s.joint_vel)
    assert "command" not in one


def test_physics_are_told_to_the_engine_and_nominal_physics_take_their_place(go2):
    condition = RandomizationSettings(parameters={"friction": (0.3, 0.4), "base_mass_offset": (1.0, 2.0), "motor_strength": (0.9, 0.9)})
    world = make_world(go2, condition)
    simulator = world.simulator
    assert torch.equal(simulator.values["friction"], world.physics["friction"])
    assert bool(((world.physics["friction"] >= 0.3) & (world.physics["friction"] <= 0.4)).all())
    assert torch.equal(world.mass, simulator.total_mass + simulator.values["base_mass_offset"])
    assert world.mass.min() >= simulator.total_mass + 1.0
    assert world.effort_limit[0] == pytest.approx(0.9 * go2.effort_limit)
    World(simulator, NOMINAL, 0.02, 0)
    assert simulator.values["friction"] == pytest.approx(0.8)
    assert simulator.values["base_mass_offset"] == pytest.approx(0.0)


def test_events_happen_when_they_are_due(go2):
    condition = RandomizationSettings(events={"push": {"velocity": (0.5, 0.5), "interval": (0.1, 0.1)}})
    world, pushes = make_world(go2, condition), []
    world.simulator.push = lambda mask, velocity: pushes.append((mask.tolist(), velocity.tolist()))
    counts = []
    for _ in range(16):
        world.disturb()
        counts.append(len(pushes))
    assert counts == [0] * 5 + [1] * 5 + [2] * 5 + [3]
    assert pushes[0] == ([True] * 3, [[0.5, 0.5]] * 3)


def test_same_seed_same_world(go2):
    condition = RandomizationSettings(parameters={"friction": (0.3, 1.5)}, noise=SensorSpread(joint_vel=1.0))
    a, b, c = (make_world(go2, condition, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a.physics["friction"], b.physics["friction"])
    assert torch.equal(a.measure(INPUTS)["joint_vel"], b.measure(INPUTS)["joint_vel"])
    assert not torch.equal(a.physics["friction"], c.physics["friction"])


def test_a_fall_is_a_tilt_a_sunken_base_or_no_number(go2):
    s = Signals.zeros(5, 12, 4)
    s.base_pos[:, 2] = torch.tensor([0.31, 0.14, 0.31, 0.31, float("nan")])
    s.projected_gravity[2] = torch.tensor([0.9, 0.0, -0.45])  # 63 degrees
    s.projected_gravity[3] = torch.tensor([0.8, 0.0, -0.6])  # 53 degrees
    assert has_fallen(s, go2).tolist() == [False, True, True, False, True]
