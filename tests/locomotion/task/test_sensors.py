"""Sensors and the command's way: what they add, when, and that what is off changes nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import sim
from locomotion.schema import check
from locomotion.task.link import Link
from locomotion.task.randomization import PhysicsSampler, RandomizationSettings
from locomotion.task.sensors import Sensors, rotation
from robots import InputError
from tests.conftest import make_task, only

CPU = torch.device("cpu")
N, J, S = 5, 12, 30
DT = 0.02  # s


def settings(**values: Any) -> RandomizationSettings:
    return check(RandomizationSettings, values, "randomization")


def readings(sensors: Sensors, held: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """[T, N, S] of signals of that shape."""
    out, seen = torch.zeros(N, S), []
    sensors.begin(only(N))
    for t, now in enumerate(clean):
        sensors.read(now.clone(), held, t, out)
        seen.append(out.clone())
    return torch.stack(seen)


def ramp(steps: int = 8) -> torch.Tensor:
    return torch.arange(float(steps))[:, None, None].expand(steps, N, S)


def test_perfect_sensors_read_what_is_and_hold_nothing_more_than_a_bias():
    sensors = Sensors(settings(), N, J, DT, CPU)
    assert sensors.perfect
    assert sensors.draws == sensors.width == S
    assert torch.equal(readings(sensors, sensors.hold(torch.rand(N, S)), ramp()), ramp())


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.05])
def test_a_delayed_sensor_reads_the_past(delay):
    """Of a ramp: t - delay / dt, at any fraction, from where the episode began; the others read the present."""
    sensors = Sensors(settings(delay={"joint_pos": [delay, delay]}), N, J, DT, CPU)
    seen = readings(sensors, sensors.hold(torch.rand(N, sensors.draws)), ramp())
    expected = (ramp() - delay / DT).clamp(min=0.0)
    torch.testing.assert_close(seen[3:, :, 6:18], expected[3:, :, 6:18])
    assert torch.equal(seen[0], ramp()[0])
    assert torch.equal(seen[..., :6], ramp()[..., :6])
    assert torch.equal(seen[..., 18:], ramp()[..., 18:])


def test_a_new_episode_does_not_see_the_last_one():
    sensors = Sensors(settings(delay={"joint_vel": [0.02, 0.02]}, dropped={"sensors": 1.0}), N, J, DT, CPU)
    held, out = sensors.hold(torch.rand(N, sensors.draws)), torch.zeros(N, S)
    sensors.draw(torch.Generator().manual_seed(0))
    sensors.begin(only(N))
    sensors.read(torch.full((N, S), 1.0), held, 0, out)
    sensors.begin(only(N, 2))
    sensors.read(torch.full((N, S), 7.0), held, 0, out)
    assert (out[2] == 7.0).all()
    assert (out[[0, 1, 3, 4]] == 1.0).all()


def test_a_lost_packet_shows_the_last_reading_again_as_often_as_asked():
    sensors = Sensors(settings(dropped={"sensors": 0.3}), N, J, DT, CPU, ahead=2000)
    sensors.draw(torch.Generator().manual_seed(0))
    seen = readings(sensors, sensors.hold(torch.rand(N, S)), ramp(2000))
    again = (seen[1:] == seen[:-1]).all(dim=-1)
    assert again.float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.equal(seen[1:][~again], ramp(2000)[1:][~again])


def test_the_imu_tilts_as_a_whole_by_at_most_what_is_asked():
    """Gyroscope and gravity turn alike: lengths and the angle between them stay."""
    sensors = Sensors(settings(imu_tilt=0.3), N, J, DT, CPU)
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(1, N, S, generator=generator)
    u = torch.rand(N, sensors.draws, generator=generator)
    seen = readings(sensors, sensors.hold(u), clean)[0]
    gyro, gravity, old_gyro, old_gravity = seen[:, :3], seen[:, 3:6], clean[0, :, :3], clean[0, :, 3:6]
    torch.testing.assert_close(gyro.norm(dim=-1), old_gyro.norm(dim=-1))
    torch.testing.assert_close((gyro * gravity).sum(-1), (old_gyro * old_gravity).sum(-1))
    matrix = rotation(0.6 * (u[:, S : S + 3] - 0.5))
    torch.testing.assert_close(gravity, torch.einsum("nij,nj->ni", matrix, old_gravity))
    assert torch.equal(seen[:, 6:], clean[0, :, 6:])


def test_rotation_by_a_right_angle_follows_the_right_hand():
    turned = rotation(torch.tensor([[0.0, 0.0, math.pi / 2], [0.0, 0.0, 0.0]])) @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))


def test_encoders_read_too_much_by_the_joints_zero_offset_that_motors_have():
    task = make_task("randomization=none", "+randomization.parameters.joint_zero_offset=[-0.1,0.1]")
    offset = task.simulator.values["joint_zero_offset"]
    assert offset.abs().max() > 0.05
    torch.testing.assert_close(task._actor_inputs["joint_pos"], task.simulator.signals.joint_pos + offset)


def test_lost_commands_leave_the_last_target_in_force(go2):
    simulator = sim.make("mujoco", go2, N, 0.005, threads=1)
    link, start = Link(settings(dropped={"commands": 1.0}), simulator), torch.full((N, J), 0.2)
    link.draw(torch.Generator().manual_seed(0))
    link.begin(only(N), start)
    assert torch.equal(link.send(torch.ones(N, J), 0), start)
    arrives = Link(settings(dropped={"commands": 0.5}), simulator, ahead=4000)
    arrives.draw(torch.Generator().manual_seed(0))
    heard = torch.stack([arrives.send(torch.full((N, J), float(t)), t)[:, 0] == t for t in range(1, 4000)])
    assert heard.float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_jitter_is_drawn_for_every_command_and_leaves_the_held_delay(go2):
    simulator = sim.make("mujoco", go2, N, 0.005, threads=1)
    link = Link(settings(parameters={"action_jitter": [0.001, 0.004]}), simulator, ahead=50)
    link.draw(torch.Generator().manual_seed(0))
    drawn = []
    for t in range(50):
        link.send(torch.zeros(N, J), t, torch.full((N, 1), 0.5))
        drawn.append(simulator.values["action_jitter"].clone())
    values = torch.stack(drawn)
    assert 0.0005 <= values.min() < values.max() <= 0.002
    assert len(values.unique()) > 200
    assert (simulator.values["action_delay"] == 0).all()


def test_without_errors_the_link_is_not_there(go2):
    simulator, target = sim.make("mujoco", go2, N, 0.005, threads=1), torch.ones(N, J)
    assert Link(settings(), simulator).send(target, 0) is target


def test_a_dead_joint_is_one_joint_in_the_share_of_episodes():
    sampler = PhysicsSampler(settings(dead_joint=0.4), J, CPU)
    u = torch.rand(4000, sampler.draws, generator=torch.Generator().manual_seed(0))
    dead = sampler.named(sampler.sample(u))["motor_strength"] == 0.0
    assert (sampler.named(sampler.sample(u))["motor_strength"][~dead] == 1.0).all()
    assert dead.sum(dim=1).max() == 1
    assert dead.any(dim=1).float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert dead.any(dim=0).all()
    assert not (sampler.named(sampler.sample(u, torch.zeros(4000, 1)))["motor_strength"] == 0.0).any()


def test_a_mild_episode_is_nominal_or_in_the_middle_of_a_range_without_it():
    ranges = {"motor_strength": [0.8, 0.9], "friction": [0.5, 2.0], "action_delay": [0.008, 0.016]}
    sampler = PhysicsSampler(settings(parameters=ranges), J, CPU)
    u = torch.rand(400, sampler.draws, generator=torch.Generator().manual_seed(0))
    mild, half, full = (sampler.named(sampler.sample(u, torch.full((400, 1), severity))) for severity in (0.0, 0.5, 1.0))
    for name, middle in (("motor_strength", 0.85), ("friction", 0.8), ("action_delay", 0.012)):
        torch.testing.assert_close(mild[name], torch.full_like(mild[name], middle))
        torch.testing.assert_close(half[name], 0.5 * (middle + full[name]))
        assert full[name].min() >= ranges[name][0]
        assert full[name].max() <= ranges[name][1]


def test_ranges_widen_with_success_and_shrink_without():
    curriculum = "+task.curricula.widen_ranges={parameters: [friction], start: 0.5, score: [0.4, 0.6], rate: 0.1}"
    task = make_task("algorithm.num_envs=400", "randomization.graded=false", curriculum)
    one = task.curricula[-1]
    for score, level in ((0.7, 0.6), (0.5, 0.6), (0.3, 0.5), (0.0, 0.4)):
        one.update(torch.tensor(score), 1.0)
        assert one.level.item() == pytest.approx(level)
    task.reset()
    friction, kp = (task.simulator.values[name] for name in ("friction", "kp_scale"))
    low, high = 0.8 - 0.4 * 0.5, 0.8 + 0.4 * 0.7  # nominal 0.8, range 0.3 to 1.5
    assert low <= friction.min() < low + 0.02
    assert high - 0.02 < friction.max() <= high + 1e-6
    assert kp.max() > 1.145  # not named
    assert task.statistics()["curriculum/widen_ranges"] == pytest.approx(0.4)


def test_a_range_to_widen_must_be_drawn():
    with pytest.raises(InputError, match="widen_ranges"):
        make_task("+task.curricula.widen_ranges={parameters: [gravity_scale]}")


@pytest.mark.parametrize(
    "values",
    [
        {"delay": {"joint_pos": [0.01, 0.0]}}, {"delay": {"joint_pos": [0.0, 1.0]}}, {"delay": {"imu": [0.0, 0.01]}}, {"imu_tilt": 2.0},
        {"dropped": {"sensors": 1.5}}, {"parameters": {"action_jitter": [0.0, 0.5]}}, {"parameters": {"gravity": [1.0, 1.0]}},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(values):
    with pytest.raises(InputError, match="randomization"):
        settings(**values)


def test_rotation_by_any_angle_is_rodrigues_formula():
    c, s = math.cos(0.3), math.sin(0.3)
    torch.testing.assert_close(rotation(torch.tensor([[0.3, 0.0, 0.0]]))[0], torch.tensor([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]))


def test_severity_scales_what_an_episode_holds():
    """Bias, tilt and delay: none at 0, half at a half, and the ends of their ranges at 1."""
    wanted = settings(bias={"base_ang_vel": 0.1}, imu_tilt=0.2, delay={"joint_pos": [0.01, 0.04]})
    sensors = Sensors(wanted, N, J, DT, CPU)
    u = torch.ones(3, sensors.draws)
    bias, matrix, lag = sensors.hold(u, torch.tensor([[0.0], [0.5], [1.0]])).split([S, 9, S], dim=-1)
    for row, severity in enumerate((0.0, 0.5, 1.0)):
        assert bias[row, :3].tolist() == pytest.approx([0.1 * severity] * 3)
        assert lag[row, 6:18].tolist() == pytest.approx([0.04 / DT * severity] * 12)
        turn = rotation(torch.full((1, 3), 0.2 * severity))[0].T.flatten()
        torch.testing.assert_close(matrix[row], turn)
    assert not bias[:, 3:].any()
    least = sensors.hold(torch.zeros(1, sensors.draws))
    assert least[0, :3].tolist() == pytest.approx([-0.1] * 3)
    assert least[0, -S + 6].item() == pytest.approx(0.01 / DT)


def test_noise_fills_its_range_on_both_sides():
    sensors = Sensors(settings(noise={"joint_vel": 1.5}), N, J, DT, CPU, ahead=200)
    sensors.draw(torch.Generator().manual_seed(0))
    noise = sensors.drawn()["noise"]
    assert noise[..., 18:].min().item() == pytest.approx(-1.5, abs=0.01)
    assert noise[..., 18:].max().item() == pytest.approx(1.5, abs=0.01)
    assert not noise[..., :18].any()


def test_the_critic_is_told_what_is_drawn_and_the_nominal_rest():
    """In the order of the table: friction, mass, centre of mass times 20, delay times 100, slope times 10."""
    sampler = PhysicsSampler(settings(parameters={"base_com_offset": [-0.03, 0.03], "action_delay": [0.0, 0.02]}), J, CPU)
    flat = sampler.sample(torch.tensor([[0.0, 0.5, 1.0, 0.5]]))
    assert sampler.told(flat)[0].tolist() == pytest.approx([0.8, 0.0, -0.6, 0.0, 0.6, 1.0, 0.0, 0.0])


def test_a_delayed_sensor_remembers_as_far_back_as_it_must():
    """Of a square, which no line through the last two readings goes on."""
    sensors = Sensors(settings(delay={"joint_pos": [0.04, 0.04]}), N, J, DT, CPU)
    seen = readings(sensors, sensors.hold(torch.rand(N, sensors.draws)), ramp().square())
    torch.testing.assert_close(seen[3:, :, 6:18], (ramp() - 2.0).square()[3:, :, 6:18])
