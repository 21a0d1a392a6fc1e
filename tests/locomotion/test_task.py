"""The task: what is observed, rewarded, ended, clipped and randomized."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from locomotion import build
from locomotion.task import rewards
from locomotion.task.commands import sample_commands
from locomotion.task.observations import ObservationEncoder, is_moving
from locomotion.task.ranges import Range
from robots import InputError
from sim import Signals
from tests.conftest import standing, tiny_config


def make_task(*overrides):
    return build.task(tiny_config(*overrides))


def run(task, steps, scale=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [task.step(scale * torch.randn(task.num_envs, 12, generator=generator)) for _ in range(steps)]


def mirror(x, index_sign):
    index, sign = index_sign
    return torch.as_tensor(sign, dtype=x.dtype) * x[..., torch.as_tensor(index)]


def test_mirrored_robots_observe_and_act_as_mirror_images(go2):
    """Physics included: two robots started as mirror images and driven by mirrored actions stay mirror images."""
    task = make_task("randomization=none", "algorithm.num_envs=2", "sim.physics_dt=0.002")
    task.reset()
    state = standing(go2, 2)
    state.joint_pos[0] += 0.1 * torch.randn(12, generator=torch.Generator().manual_seed(1))
    state.joint_pos[1] = mirror(state.joint_pos[0], (go2.mirror.joint_index, go2.mirror.joint_sign))
    state.base_lin_vel[:] = torch.tensor([[0.3, 0.2, 0.0], [0.3, -0.2, 0.0]])
    state.base_ang_vel[:] = torch.tensor([[0.1, 0.2, 0.3], [-0.1, 0.2, -0.3]])
    task.simulator.reset(torch.arange(2), state)
    task._state["command"] = torch.tensor([[0.5, 0.2, -0.4], [0.5, -0.2, 0.4]])
    task._state["memory"][0, -1], task._state["memory"][1, -1] = 0.1, 0.6  # half a cycle apart
    task._observe()
    action = 0.2 * torch.randn(12, generator=torch.Generator().manual_seed(2))
    for _ in range(4):
        observed, critic = task.observations.policy, task.observations.critic
        torch.testing.assert_close(observed[1], mirror(observed[0], task.encoder.mirror), atol=2e-2, rtol=0)
        torch.testing.assert_close(critic[1], mirror(critic[0], task.critic_observation.mirror), atol=2e-2, rtol=0)
        task.step(torch.stack([action, mirror(action, (go2.mirror.joint_index, go2.mirror.joint_sign))]))


def test_clock_runs_while_moving_and_rests_while_standing(go2):
    encoder = ObservationEncoder(go2, 2.0, 0.02)
    command = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])
    memory = torch.zeros(2, encoder.memory_size)
    for _ in range(30):
        memory = encoder.next_memory(torch.ones(2, 12), command, memory)
    assert memory[0, -1].item() == pytest.approx((30 * 0.04) % 1, abs=1e-5)
    assert memory[1, -1].item() == 0.0
    assert (memory[:, :12] == 1).all()
    assert is_moving(command).squeeze(-1).tolist() == [1.0, 0.0]


def test_without_a_clock_the_observation_is_shorter(go2):
    assert ObservationEncoder(go2, None, 0.02).size == ObservationEncoder(go2, 2.0, 0.02).size - 2
    task = make_task("task.gait_frequency=null")
    task.reset()
    assert torch.isfinite(run(task, 3)[-1].reward).all()


def test_targets_never_ask_for_more_torque_than_the_limit(go2):
    task = make_task("randomization=none")
    task.reset()
    q, dq = 0.3 * torch.randn(500, 12) + torch.tensor(go2.default_joint_pos).float(), 10 * torch.randn(500, 12)
    target = task.decoder(5 * torch.randn(500, 12), q, dq)
    demand = task.decoder.kp * (target - q) - task.decoder.kd * dq
    assert (demand.abs() <= task.decoder.effort_limit * (1 + 1e-5)).all()
    assert (demand.abs() > 0.99 * task.decoder.effort_limit).any()


def test_time_outs_truncate_with_the_final_observation_and_falls_terminate():
    task = make_task("task.episode_seconds=0.1", "randomization=none")
    task.reset()
    task._state["episode_steps"].zero_()
    results = run(task, 5, scale=0.0)
    assert results[-1].truncated.all()
    assert not results[-1].terminated.any()
    assert results[-1].final_ids.tolist() == list(range(task.num_envs))
    # the final observation is the old episode's, not the new one's
    assert not torch.allclose(results[-1].final_critic, results[-1].observations.critic)
    assert (task._state["memory"] == 0).all()

    state = standing(task.robot, task.num_envs)
    state.base_quat[:] = torch.tensor([math.cos(0.6), math.sin(0.6), 0.0, 0.0])  # 69 degrees of roll
    task.simulator.reset(torch.arange(task.num_envs), state)
    result = task.step(torch.zeros(task.num_envs, 12))
    assert result.terminated.all()
    assert not result.truncated.any()
    assert (result.reward < 0).all()


def test_a_faulted_environment_starts_anew_and_is_counted():
    task = make_task()
    task.reset()
    bad = standing(task.robot, 1)
    bad.joint_vel[:] = float("nan")
    task.simulator.reset(torch.tensor([2]), bad)
    result = task.step(torch.zeros(task.num_envs, 12))
    assert result.terminated[2]
    assert torch.isfinite(result.reward).all()
    assert torch.isfinite(result.observations.critic).all()
    assert task.metrics.pop()["faults"] == 1


def test_commands_fill_their_ranges_and_one_in_ten_is_to_stand():
    config = build.task_config(tiny_config()["task"], 0.01).command
    commands = sample_commands(config, 20000, torch.Generator().manual_seed(0))
    standing_share = (commands == 0).all(dim=1).float().mean().item()
    assert standing_share == pytest.approx(0.1, abs=0.01)
    for i, (low, high) in enumerate([(-1.0, 1.5), (-0.6, 0.6), (-1.0, 1.0)]):
        assert low <= commands[:, i].min() < low + 0.05
        assert high - 0.05 < commands[:, i].max() <= high


def test_randomization_is_on_by_default_and_differs_between_environments():
    task = make_task()
    task.reset()
    state = task.simulator.state_dict()
    for name in ("geom_friction", "body_mass", "body_ipos", "actuator_gainprm", "actuator_delay", "opt.gravity"):
        assert not torch.equal(state[name][0], state[name][1]), name
    clean = task.simulator.signals.base_ang_vel
    noise = task.observations.policy[:, :3] - clean
    assert 0 < noise.abs().max() <= 0.2 + 1e-6


def test_gait_score_rewards_the_feet_that_follow_the_clock():
    config = build.task_config(tiny_config()["task"], 0.01).gait
    moving, phase = torch.ones(1), torch.tensor([[0.25]])  # feet 0 and 3 in mid stance, 1 and 2 in mid swing
    up, down = torch.tensor([[0.0, 0.1, 0.1, 0.0]]), torch.zeros(1, 4)
    good = rewards.gait_score(up, torch.tensor([[1.0, 0.0, 0.0, 1.0]]), phase, moving, config)
    standing_still = rewards.gait_score(down, torch.ones(1, 4), phase, moving, config)
    wrong_pair = rewards.gait_score(up[:, [1, 0, 3, 2]], torch.tensor([[0.0, 1.0, 1.0, 0.0]]), phase, moving, config)
    assert good.item() == pytest.approx(1.0)
    assert wrong_pair < standing_still < good
    at_rest = rewards.gait_score(down, torch.ones(1, 4), phase, torch.zeros(1), config)
    assert at_rest.item() == pytest.approx(1.0)


def test_every_reward_term_is_one_number_a_robot():
    n, signals = 5, Signals.zeros(5, 12, 4)
    for value in vars(signals).values():
        value += 0.1 * torch.randn(value.shape)
    ones = torch.ones(n)
    step = rewards.Step(
        signals, torch.randn(n, 3), torch.randn(n, 12), torch.randn(n, 12), 50 * torch.randn(n, 12), torch.full((12,), 20.0),
        torch.zeros(12), torch.ones(12), ones, ones, ones, torch.ones(n, 4), ones, ones,
    )  # fmt: skip
    for name, term in rewards.TERMS.items():
        value = term(step)
        assert value.shape == (n,), name
        assert (value >= 0).all(), name


def test_tilt_beyond_thirty_degrees_is_penalized_and_less_is_not():
    def penalty(degrees):
        signals = Signals.zeros(1, 12, 4)
        angle = math.radians(degrees)
        signals.projected_gravity[:] = torch.tensor([math.sin(angle), 0, -math.cos(angle)])
        zero = torch.zeros(1)
        step = rewards.Step(
            signals, torch.zeros(1, 3), torch.zeros(1, 12), torch.zeros(1, 12), torch.zeros(1, 12), torch.ones(12), torch.zeros(12),
            torch.zeros(12), zero, zero, zero, torch.zeros(1, 4), zero, zero,
        )  # fmt: skip
        return rewards.tilt_over_limit(step).item()

    assert penalty(29.0) == 0.0
    assert penalty(40.0) == pytest.approx(math.radians(10.0), abs=1e-5)


def test_metrics_are_means_a_step():
    task = make_task("randomization=none")
    task.reset()
    run(task, 4)
    figures = task.metrics.pop()
    assert 0 < figures["tracking_score"] <= 1
    assert task.metrics.steps == 0


@pytest.mark.parametrize(
    ("value", "message"), [([1.0, -1.0], "min <= max"), ([1.0], "two numbers"), ("x", "two numbers"), ([0.0, True], "two numbers")]
)
def test_ranges_are_checked(value, message):
    with pytest.raises(InputError, match=message):
        Range.parse("randomization.friction", value)


def test_unknown_reward_term_names_the_nearest():
    config = build.task_config(tiny_config()["task"], 0.01)
    with pytest.raises(InputError, match="Did you mean foot_slip"):
        replace(config, reward_weights={"foot_slipp": 1.0})


def test_physics_step_must_divide_the_control_step():
    with pytest.raises(InputError, match="divisor"):
        build.task_config(tiny_config()["task"], 0.003)


def test_continuation_of_the_task_is_exact():
    a, b = make_task(), make_task("seed=7")
    a.reset()
    run(a, 20)
    b.load_state_dict(a.state_dict())
    for x, y in zip(run(a, 40, seed=3), run(b, 40, seed=3), strict=True):
        assert torch.equal(x.reward, y.reward)
        assert torch.equal(x.observations.policy, y.observations.policy)
        assert torch.equal(x.observations.critic, y.observations.critic)
    np.testing.assert_array_equal(a.simulator.signals.base_pos, b.simulator.signals.base_pos)
