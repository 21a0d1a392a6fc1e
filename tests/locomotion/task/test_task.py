"""The task: what is observed, ended, clipped and randomized, and how it goes on."""

import math

import numpy as np
import pytest
import torch

from locomotion.environment import NotFiniteError
from locomotion.task.frame import is_moving
from locomotion.task.observations import LIMIT
from robots import InputError
from tests.conftest import make_task, only, standing

SLICE = "slice.npz"  # written by the first version of this task, before its parts became terms


def run(task, steps, scale=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [task.step(scale * torch.randn(task.num_envs, 12, generator=generator)) for _ in range(steps)]


def mirror(x, index_sign):
    index, sign = index_sign
    return torch.as_tensor(sign, dtype=x.dtype) * x[..., torch.as_tensor(index)]


def place(task, state, command):
    """Put every robot into ``state`` with ``command``, and leave it alone from then on."""
    task.simulator.reset(only(task.num_envs), state)
    task._memory.zero_()
    task._previous_action.zero_()
    task._command[:] = torch.as_tensor(command)
    task._timers[:] = 10**6
    task._observe()


def test_the_first_version_of_the_task_observed_and_rewarded_the_same():
    """Same states, commands and actions: observations and rewards agree to float precision with a record of the slice's code."""
    record = np.load(__file__.replace("test_task.py", SLICE))
    overrides = [f"task.rewards.{name}=null" for name in NEW_TERMS] + OLD_SETTINGS
    task = make_task("randomization=none", *overrides)
    state = standing(task.robot, 6)
    for name in ("base_pos", "base_quat", "joint_pos", "base_lin_vel_world", "base_ang_vel"):
        getattr(state, name)[:] = torch.tensor(record[name])
    place(task, state, record["command"])
    observations = [task.observations]
    with torch.inference_mode():
        for action in record["actions"]:
            observations.append(task.step(torch.tensor(action)).observations)
        reward = task.rewards()
    for group in ("actor", "critic"):
        np.testing.assert_allclose(torch.stack([one[group] for one in observations]), record[group], atol=2e-6)
    np.testing.assert_allclose(reward, record["reward"], atol=2e-7)


NEW_TERMS = [  # rewards that the slice did not have
    "track_yaw_wide", "effort", "standing_action_rate", "standing_speed", "touchdown", "power", "base_height",
]  # fmt: skip
OLD_SETTINGS = [  # what has been changed on purpose since
    "sim.actuator=pd",
    "task.curricula.ramp_weights=null", "task.gait.swing_height=0.07", "task.gait.frequency=[2.0,2.0]", "task.gait.swing_power=1.0",
    "task.gait.tolerance=0.7142857", "task.gait.excess=0.8571429", "task.gait.excess_tolerance=0.8571429", "task.gait.soft=false",
    "task.gait.reach=null", "task.rewards.track_lin_vel_wide.weight=1.0", "task.rewards.torque={weight: -5.0e-5}",
    "task.rewards.action_rate.weight=-0.01", "task.rewards.standing_joint_vel.weight=-0.001",
]  # fmt: skip


def test_mirrored_robots_observe_and_act_as_mirror_images(go2):
    """Physics included: two robots started as mirror images and driven by mirrored actions stay mirror images."""
    task = make_task("randomization=none", "algorithm.num_envs=2", "sim.physics_dt=0.002")
    action_mirror = (go2.mirror.joint_index, go2.mirror.joint_sign)
    state = standing(go2, 2)
    state.joint_pos[0] += 0.1 * torch.randn(12, generator=torch.Generator().manual_seed(1))
    state.joint_pos[1] = mirror(state.joint_pos[0], action_mirror)
    state.base_lin_vel_world[:] = torch.tensor([[0.3, 0.2, 0.0], [0.3, -0.2, 0.0]])
    state.base_ang_vel[:] = torch.tensor([[0.1, 0.2, 0.3], [-0.1, 0.2, -0.3]])
    place(task, state, [[0.5, 0.2, -0.4], [0.5, -0.2, 0.4]])
    phase = task.encoder.split_memory(task._memory)["gait_clock"]
    phase[0], phase[1] = 0.1, 0.6  # half a cycle apart
    task._told[0, 2:5], task._told[1, 2:5] = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.1, -0.2, 0.3])  # centre of mass
    task._told[0, 6:], task._told[1, 6:] = torch.tensor([0.4, 0.5]), torch.tensor([0.4, -0.5])  # slope
    task._observe()
    action = 0.2 * torch.randn(12, generator=torch.Generator().manual_seed(2))
    for _ in range(4):
        for group, tolerance in (("actor", 2e-2), ("critic", 2e-2)):
            observed = task.observations[group]
            torch.testing.assert_close(observed[1], mirror(observed[0], task.spaces.symmetry.groups[group]), atol=tolerance, rtol=0)
        task.step(torch.stack([action, mirror(action, action_mirror)]))


def test_observation_terms_have_exact_values(go2):
    """One chosen state, each number of the observation worked out by hand."""
    task = make_task("randomization=none")
    state = standing(go2, 6, height=1.0)
    state.base_quat[:] = torch.tensor([math.cos(0.1), 0.0, math.sin(0.1), 0.0])  # 0.2 rad nose down
    state.base_ang_vel[:] = torch.tensor([0.1, -0.2, 0.3])
    state.base_lin_vel_world[:] = torch.tensor([1.0, 0.5, 0.0])
    state.joint_pos[:, 4] += 0.25
    state.joint_vel[:, 7] = -1.5
    place(task, state, [0.4, -0.3, 0.2])
    task._previous_action[:] = task.encoder.split_memory(task._memory)["previous_action"][:] = torch.arange(12.0)
    task.encoder.split_memory(task._memory)["gait_clock"][:] = 0.125
    task._observe()
    pos, vel = torch.zeros(12), torch.zeros(12)
    pos[4], vel[7] = 0.25, -1.5
    root = math.sqrt(0.5)
    expected = [0.1, -0.2, 0.3, math.sin(0.2), 0.0, -math.cos(0.2), 0.4, -0.3, 0.2, *pos, *vel, *range(12), root, root]
    np.testing.assert_allclose(task.observations["actor"][0], expected, atol=1e-6)
    critic = task.observations["critic"][0]
    np.testing.assert_allclose(critic[: len(expected)], expected, atol=1e-6)
    extra = critic[len(expected) :].tolist()
    assert extra[:4] == pytest.approx([math.cos(0.2), 0.5, math.sin(0.2), 1.0], abs=1e-6)  # velocity in the base frame, height
    assert extra[4:8] == [0.0] * 4  # no foot on the ground
    assert all(0.5 < height < 0.9 for height in extra[8:12])
    assert extra[12:] == pytest.approx([0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])  # nominal physics


def test_the_caller_s_action_is_neither_kept_nor_changed():
    """A learner that stores its actions after the step must find what it gave, in rows that ended too."""
    task = make_task("randomization=none", "task.episode_seconds=0.06")
    action = torch.randn(6, 12)
    for _ in range(5):
        before = action.clone()
        task.step(action)
        assert torch.equal(action, before)
    task = make_task("randomization=none")
    task.step(action)
    kept = action.clone()
    action.zero_()
    assert torch.equal(task.encoder.split_memory(task._memory)["previous_action"], kept)


def test_a_dead_action_is_an_error_and_not_a_robot_that_stands(go2):
    task = make_task("randomization=none")
    action = torch.zeros(6, 12)
    action[3, 5] = float("nan")
    task.step(action)
    with pytest.raises(NotFiniteError, match="diverged"):
        task.rewards()


def test_one_reward_that_is_no_number_is_an_error_that_names_its_term():
    task = make_task("randomization=none")
    task.step(torch.zeros(6, 12))
    task.rewards_function.weights[task.rewards_function.names.index("power")] = float("nan")
    with pytest.raises(NotFiniteError, match=r"task\.rewards\.power"):
        task.rewards()


def test_absurd_states_do_not_reach_the_observation():
    task = make_task("randomization=none")
    bad = standing(task.robot, 6)
    bad.joint_vel[:] = 1e6
    task.simulator.reset(only(6, 2), bad)
    task._observe()
    for group in task.observations.values():
        assert group.abs().max() <= LIMIT


def test_moving_is_a_command_that_is_long_enough():
    command = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0], [0.05, 0.05, 0.05], [0.0, 0.0, -0.2]])
    assert is_moving(command).flatten().tolist() == [1.0, 0.0, 0.0, 1.0]


def test_time_outs_truncate_and_falls_terminate_with_their_true_last_observations():
    task = make_task("task.episode_seconds=0.1", "randomization=none", "task.gait.frequency=[2.0,2.0]")
    task._timers[:, 0] = task.now + 5
    seen = []
    for _ in range(5):
        transition = task.step(torch.zeros(6, 12))
        seen.append(transition)
    assert seen[-1].truncated.all()
    assert not any(bool(one.truncated.any() | one.terminated.any()) for one in seen[:-1])
    ended = task.ended()
    assert ended.steps.tolist() == [4] * 6
    assert ended.rows.tolist() == list(range(6))
    assert task.rewards().shape == (5, 6)
    for group in ("actor", "critic"):  # the old episode's end, not the new one's beginning
        assert not torch.allclose(ended.observations[group], seen[-1].observations[group])
    clock = ended.observations["actor"][:, -2:]
    moving = is_moving(ended.observations["actor"][:, 6:9]).squeeze(-1) > 0
    assert torch.allclose(clock[moving], torch.tensor([math.sin(0.4 * math.pi), math.cos(0.4 * math.pi)]), atol=1e-5)
    assert (task._memory == 0).all()

    state = standing(task.robot, 6)
    state.base_quat[:] = torch.tensor([math.cos(0.6), math.sin(0.6), 0.0, 0.0])  # 69 degrees of roll
    task.simulator.reset(only(6, 1, 4), state)
    transition = task.step(torch.zeros(6, 12))
    assert transition.terminated.tolist() == [False, True, False, False, True, False]
    ended = task.ended()
    assert ended.rows.tolist() == [1, 4]
    assert ended.observations["actor"][:, 4].abs().min() > 0.8  # still rolled over
    assert task.rewards()[0, [1, 4]].max() < -0.9
    assert task.rewards().shape == (0, 6)


def test_more_steps_than_the_record_holds_are_kept():
    a, b = make_task("task.episode_seconds=0.5"), make_task("task.episode_seconds=0.5")
    actions = 0.3 * torch.randn(70, 6, 12, generator=torch.Generator().manual_seed(0))
    rewards, rows = [], []
    for t, action in enumerate(actions):
        a.step(action)
        b.step(action)
        ended = b.ended()
        rows += [(t, row) for row in ended.rows.tolist()]
        rewards.append(b.rewards())
    ended = a.ended()
    assert list(zip(ended.steps.tolist(), ended.rows.tolist(), strict=True)) == rows
    torch.testing.assert_close(a.rewards(), torch.cat(rewards))


def test_a_faulted_environment_starts_anew_and_is_counted():
    task = make_task()
    bad = standing(task.robot, 6)
    bad.joint_vel[:] = float("nan")
    task.simulator.reset(only(6, 2), bad)
    transition = task.step(torch.zeros(6, 12))
    assert transition.terminated[2]
    assert torch.isfinite(transition.observations["critic"]).all()
    reward = task.rewards()
    assert torch.isfinite(reward).all()
    assert reward[0, 2].item() == -1.0
    figures = task.statistics()
    assert figures["faults"] == 1
    assert all(math.isfinite(value) for value in figures.values())


def test_commands_fill_their_ranges_and_one_in_ten_is_to_stand():
    commands = make_task("task.commands.velocity.standing=0.1").commands
    drawn = commands.sample(torch.rand(20000, commands.draws, generator=torch.Generator().manual_seed(0)))
    assert (drawn == 0).all(dim=1).float().mean().item() == pytest.approx(0.1, abs=0.01)
    for i, (low, high) in enumerate([(-1.0, 1.5), (-0.6, 0.6), (-1.0, 1.0)]):
        assert low <= drawn[:, i].min() < low + 0.05
        assert high - 0.05 < drawn[:, i].max() <= high
    assert commands.channels == ("forward", "left", "yaw")


def test_resets_spread_as_they_are_told():
    task = make_task("algorithm.num_envs=600", "randomization=none")
    s = task.simulator.signals
    assert s.base_pos[:, 2].min() == pytest.approx(task.robot.standing_height + 0.02, abs=1e-5)
    assert s.base_pos[:, :2].abs().max() == 0
    for value, limit in (
        (s.base_lin_vel_world, 0.3), (s.base_ang_vel, 0.3), (s.joint_pos - task.robot_tensors.default_joint_pos, 0.1),
    ):  # fmt: skip
        assert 0.97 * limit < value.abs().max() <= limit + 1e-6
        assert value.mean().abs() < 0.05 * limit
    heading = torch.atan2(s.base_quat[:, 3], s.base_quat[:, 0]) * 2
    assert torch.histc(torch.remainder(heading, 2 * math.pi), 4, 0, 2 * math.pi).min() > 100
    tilt = torch.acos(-s.projected_gravity[:, 2])
    assert 0.1 < tilt.max() < 0.1 * math.sqrt(2) + 1e-3
    spent = task._timers[:, 0] - task.now
    assert spent.min() >= 0
    assert 400 < spent.float().mean() < 600  # spread over the episode's 1000 steps


def test_several_kinds_of_reset_share_the_episodes():
    task = make_task("algorithm.num_envs=1000", "randomization=none", "task.resets.high={term: standing, drop: 1.0, share: 3.0}")
    high = (task.simulator.signals.base_pos[:, 2] > 1.0).float().mean().item()
    assert high == pytest.approx(0.75, abs=0.05)


def test_randomization_is_on_by_default_and_differs_between_environments():
    task = make_task()
    state = task.simulator.state_dict()
    for name in ("geom_friction", "body_mass", "body_ipos", "actuator_gainprm", "actuator_delay", "opt.gravity"):
        assert not torch.equal(state[name][0], state[name][1]), name
    noise = task.observations["actor"][:, :3] - task.simulator.signals.base_ang_vel
    assert 0 < noise.abs().max() <= 0.2 + 1e-6
    critic = task.observations["critic"][:, :3] - task.simulator.signals.base_ang_vel
    assert critic.abs().max() < 1e-6


def test_noise_and_bias_have_the_spread_that_they_are_told():
    task = make_task(
        "algorithm.num_envs=50", "randomization=none", "randomization.noise={joint_vel: 1.5}", "randomization.bias={joint_pos: 0.1}"
    )
    clean = [task.simulator.signals.joint_pos.clone(), task.simulator.signals.joint_vel.clone()]
    default = task.robot_tensors.default_joint_pos
    first = task.observations["actor"]
    bias, noise = first[:, 9:21] - (clean[0] - default), first[:, 21:33] - clean[1]
    assert 0.095 < bias.abs().max() <= 0.1 + 1e-6
    assert 1.4 < noise.abs().max() <= 1.5 + 1e-5
    assert noise.mean().abs() < 0.1
    task.step(torch.zeros(50, 12))
    again = task.observations["actor"][:, 9:21] - (task.simulator.signals.joint_pos - default)
    torch.testing.assert_close(again, bias, atol=1e-5, rtol=0)  # held for the episode
    other = task.observations["actor"][:, 21:33] - task.simulator.signals.joint_vel
    assert not torch.allclose(other, noise)


def test_graded_episodes_lie_between_nominal_and_the_whole_range():
    noise_alone = ["randomization.bias.base_ang_vel=0", "randomization.imu_tilt=0"]
    only_friction = "randomization.parameters={friction: [0.3, 0.5]}"
    task = make_task("algorithm.num_envs=400", "randomization.graded=true", only_friction, *noise_alone)
    severity, values = task._severity[:, 0], task.simulator.values
    assert 0 <= severity.min() < 0.02
    assert 0.98 < severity.max() <= 1
    kp = (values["kp_scale"] - 1.0).abs().amax(dim=1)
    assert (kp <= 0.15 * severity + 1e-6).all()
    assert (kp > 0.1 * severity).float().mean() > 0.9
    assert ((values["friction"] - 0.4).abs() <= 0.1 * severity + 1e-6).all()  # 0.8, the nominal one, is outside: the middle
    noise = (task.observations["actor"][:, :3] - task.simulator.signals.base_ang_vel).abs().amax(dim=1)
    assert (noise <= 0.2 * severity + 1e-6).all()
    assert (values["joint_zero_offset"].abs().amax(dim=1) <= 0.015 * severity + 1e-6).all()
    assert (make_task("randomization.graded=false")._severity == 1).all()


def test_what_the_critic_is_told_is_what_the_engine_was_told():
    task = make_task()
    values, told = task.simulator.values, task._told
    torch.testing.assert_close(told[:, 0], values["friction"])
    torch.testing.assert_close(told[:, 1], values["base_mass_offset"])
    torch.testing.assert_close(told[:, 2:5], 20 * values["base_com_offset"])
    torch.testing.assert_close(told[:, 5], 100 * values["action_delay"])
    torch.testing.assert_close(told[:, 6:8], 10 * values["ground_slope"])
    assert values["kp_scale"].std() > 0.02


def test_pushes_come_in_their_interval_and_size():
    task = make_task("randomization=none", "randomization.events.push={velocity: [0.5, 0.5], interval: [0.12, 0.12]}")
    pushes, push = [], task.simulator.push

    def record(mask, velocity):
        pushes.append((task.now, mask.clone(), velocity.clone()))
        push(mask, velocity)

    task.simulator.push = record
    start = task.now
    for _ in range(12):
        task.step(torch.zeros(6, 12))
    times = [now - start for now, mask, _ in pushes if mask.all()]
    assert times == [8]  # 6 steps, to the next beat of 4; then 6 more
    assert all((velocity == 0.5).all() for _, _, velocity in pushes)


def test_metrics_are_means_a_step_and_begin_anew():
    task = make_task("randomization=none")
    run(task, 4)
    reward = task.rewards()
    figures = task.statistics()
    assert 0 < figures["metric/tracking"] <= 1
    assert figures["score"] == min(figures["metric/tracking"], figures["metric/yaw"])
    total = sum(value for name, value in figures.items() if name.startswith("reward/"))
    assert reward.mean().item() / task.step_seconds >= total - 1e-5  # the floor can only raise it
    assert task.statistics()["metric/tracking"] == 0


def test_weights_ramp_with_the_score_and_never_back():
    task = make_task("randomization=none", "task.curricula.ramp_weights={terms: {effort: 0.2, foot_slip: 0.0}, score: [0.3, 0.7]}")
    names, weights = task.rewards_function.names, task.rewards_function.weights
    torque, gait = names.index("effort"), names.index("gait")
    full = task.settings.rewards["effort"]["weight"]
    ramp = task.curricula[0]
    assert weights[torque].item() == pytest.approx(0.2 * full)
    for score, share in ((0.5, 0.6), (0.4, 0.6), (0.9, 1.0), (0.0, 1.0)):
        ramp.update(torch.tensor(score), 1.0)
        assert weights[torque].item() == pytest.approx(share * full)
        assert weights[gait].item() == pytest.approx(task.settings.rewards["gait"]["weight"])


@pytest.mark.parametrize("bad", ["[1.0,-1.0]", "[1.0]", "x", "[0.0,true]", "[0.0,9.0]"])
def test_ranges_are_checked(bad):
    with pytest.raises(InputError, match=r"randomization\.parameters\.friction"):
        make_task(f"randomization.parameters.friction={bad}")


def test_an_unknown_parameter_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean friction"):
        make_task("randomization.parameters.fricton=[0.5,1.0]")


def test_physics_step_must_divide_the_control_step():
    with pytest.raises(InputError, match="divisor"):
        make_task("sim.physics_dt=0.003")


@pytest.mark.parametrize("steps", [20, 32])  # between and at the ends of what is drawn ahead
def test_continuation_of_the_task_is_exact(steps):
    a, b = make_task("task.episode_seconds=1.0"), make_task("task.episode_seconds=1.0", "seed=7")
    run(a, steps)
    a.rewards()
    b.load_state_dict(a.state_dict())
    for x, y in zip(run(a, 60, seed=3), run(b, 60, seed=3), strict=True):
        assert torch.equal(x.terminated, y.terminated)
        assert torch.equal(x.truncated, y.truncated)
        for group in ("actor", "critic"):
            assert torch.equal(x.observations[group], y.observations[group])
    for x, y in zip(a.ended(), b.ended(), strict=True):
        assert all(torch.equal(p, q) for p, q in zip(x.values(), y.values(), strict=True)) if isinstance(x, dict) else torch.equal(x, y)
    assert torch.equal(a.rewards(), b.rewards())
    assert a.statistics()["falls"] == b.statistics()["falls"]


def test_the_same_seed_begins_the_same_episodes_however_far_the_task_had_come():
    task = make_task()
    task.seed(3)
    first = {name: value.clone() for name, value in task.reset().items()}
    run(task, 21)
    task.seed(3)
    again = task.reset()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_terminations_see_what_was_before_the_step():
    task = make_task("randomization=none")
    frames = []
    task._terminations = {"watch": lambda frame: frames.append(frame) or (frame.tilt > 9)}
    start = task.simulator.signals.joint_pos.clone()
    action = torch.full((6, 12), 0.2)
    task.step(action)
    task.step(2 * action)
    torch.testing.assert_close(frames[0].before.joint_pos, start)
    assert torch.equal(frames[1].previous_action, action)
    assert torch.equal(frames[1].action, 2 * action)


def test_who_ended_is_a_tensor_of_the_learner_s_own():
    """Without terminations, too: what it keeps does not change with the next step."""
    task = make_task("randomization=none", "task.terminations={tilt: null, low_base: null}")
    bad = standing(task.robot, 6)
    bad.joint_vel[:] = float("nan")
    task.simulator.reset(only(6, 2), bad)
    kept = task.step(torch.zeros(6, 12)).terminated
    task.step(torch.zeros(6, 12))
    assert kept.tolist() == [False, False, True, False, False, False]
