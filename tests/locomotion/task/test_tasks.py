"""The tasks that come with the toolkit: each runs, its policy is exported and scored by its own protocol, and looks right in a mirror."""

import dataclasses

import numpy as np
import pytest
import torch

from deploy.hil.simulated_robot import SimulatedRobot
from deploy.interface import SimulatedTime
from deploy.limits import Limits
from deploy.operator import ScriptedOperator
from deploy.runtime import Runtime
from deploy.supervisor import Supervisor
from locomotion.config import compose
from locomotion.evaluation import protocols, scorecard, video
from locomotion.evaluation.rollout import load_policy
from locomotion.export import write_bundle
from locomotion.task.randomization import NOMINAL
from locomotion.task.resets import any_rotation
from robots import InputError
from tests.conftest import bundle_fields, make_task, tiny_policy
from tests.locomotion.task.frames import make_frame

TASKS = ["gait", "fast", "stand", "forward", "recovery"]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_goes_from_its_file_to_a_scored_bundle(name, go2, tmp_path, monkeypatch):
    task = make_task(f"task={name}")
    for _ in range(3):
        task.step(torch.zeros(6, 12))
    assert torch.isfinite(task.rewards()).all()
    assert task.spaces.symmetry is not None
    path = tmp_path / "policy.onnx"
    write_bundle(tiny_policy(f"task={name}"), go2, bundle_fields(f"task={name}"), path)
    policy = load_policy(path)
    assert policy.contract.protocol == name
    assert policy.contract.command_names == task.commands.channels
    operator = ScriptedOperator([[0, policy.contract.command_rest.tolist()]], policy.contract)
    clock = SimulatedTime()
    runtime = Runtime(policy, SimulatedRobot(go2, clock), Supervisor(go2, policy.contract.control_dt, Limits()), clock)
    runtime.run(3.0, operator)
    assert not [event for event in runtime.supervisor.events if event.kind == "crash"]
    x, y = video.rollout(policy, policy.contract.command_rest.tolist(), 0.02)[0][4:6]
    upright = 1.0 - 2.0 * (x * x + y * y) > 0.9
    assert upright == (name != "recovery")  # a video begins as the protocol does
    short = dataclasses.replace(protocols.PROTOCOLS[name], seconds=0.1, unscored=0.06)
    monkeypatch.setitem(protocols.PROTOCOLS, name, short)
    scores = scorecard.evaluate(policy, policy.robot, "mujoco", NOMINAL, 3, 0)
    assert scores["episodes"] == 3
    assert np.isfinite(list(scores.values())).all()
    module = scorecard.quick(task.policy(torch.nn.Linear(task.encoder.size, 12)), go2, 0.02, task.commands, name)
    assert set(module) == set(scores) - {"episodes", "outside"}


def test_the_biped_task_begins_with_small_commands():
    """On unitree_g1.legs; the ranges of the task's file are what they grow to."""
    task = make_task("task=velocity_biped", "robot=unitree_g1.legs", "randomization=none")
    for _ in range(3):
        task.step(torch.zeros(6, 12))
    assert torch.isfinite(task.rewards()).all()
    assert task.spaces.symmetry is not None
    assert task.commands.limits == [(-0.6, 1.0), (-0.4, 0.4), (-0.8, 0.8)]
    drawn = task.commands.sample(torch.rand(1000, task.commands.draws, generator=torch.Generator().manual_seed(0)))
    assert (drawn.abs() <= torch.tensor([0.4, 0.1, 0.3])).all()
    assert drawn[:, 0].max() > 0.39


def test_forward_pays_exactly_the_textbook_reward_as_a_rate():
    """r = v_forward - 0.1 |torque / limit|^2 - 5 [fell] - 0.5 |roll| - 0.5 |pitch|; a step of 0.02 s earns 0.02 r."""
    task, torque = make_task("task=forward", "randomization=none"), torch.zeros(12)
    torque[0], torque[5] = 23.7, -45.43 / 2
    nose, roll = 0.2, -0.3
    gravity = [np.sin(nose), -np.cos(nose) * np.sin(roll), -np.cos(nose) * np.cos(roll)]
    for fell in (False, True):
        frame = make_frame(task, base_lin_vel=[1.7, 9.0, 9.0], joint_torque=torque, projected_gravity=gravity, terminated=fell)
        reward, _ = task.rewards_function(frame, torch.tensor([True]))
        assert reward.item() == pytest.approx(0.02 * (1.7 - 0.1 * 1.25 - 5.0 * fell - 0.5 * 0.3 - 0.5 * 0.2), abs=1e-6)


def test_each_gait_looks_in_the_mirror_as_its_feet_do():
    """The mirrored robot's feet have their clocks half a cycle later in a trot and a pace, at once in a bound and a pronk."""
    task = make_task("task=gait", "randomization=none")
    clock, (index, sign) = task.encoder.terms["foot_clock"], task.encoder.terms["foot_clock"].mirror
    assert index.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert sign.tolist() == [1.0] * 8
    command = torch.tensor([[0.5, 0.0, 0.0, float(g), 2.0, 0.07, 0.0, 0.0] for g in range(4)])
    phase, shift = torch.full((4, 1), 0.1), torch.tensor([[0.5], [0.5], [0.0], [0.0]])
    seen, image = (clock.forward({"command": command}, p) for p in (phase, phase + shift))
    torch.testing.assert_close(seen[:, torch.as_tensor(index)], image, atol=1e-6, rtol=0)
    offsets = torch.tensor([list(task.robot.gaits[g]) for g in ("trot", "pace", "bound", "pronk")]).float()
    torch.testing.assert_close(seen[:, :4], torch.sin(2 * torch.pi * (0.1 + offsets)), atol=1e-6, rtol=0)
    later = clock.remember({"command": command}, torch.zeros(4, 12), phase)
    assert later.flatten().tolist() == pytest.approx([0.1 + 2.0 * 0.02] * 4)


def test_commands_of_a_gait_stay_within_their_ranges_and_choose_each_gait_equally():
    commands = make_task("task=gait", "randomization=none").commands
    drawn = commands.sample(torch.rand(8000, commands.draws, generator=torch.Generator().manual_seed(0)))
    low, high = torch.tensor(commands.limits).T
    assert ((drawn >= low - 1e-6) & (drawn <= high + 1e-6))[:, 3:].all()
    assert torch.bincount(drawn[:, 3].long()).tolist() == pytest.approx([2000] * 4, abs=150)
    assert commands.rest == pytest.approx((0.0, 0.0, 0.0, 0.0, 2.4, 0.07, 0.0, 0.0))


def test_recovery_begins_in_any_orientation_and_only_time_ends_it():
    turned = any_rotation(torch.rand(20000, 3, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(turned.norm(dim=-1), torch.ones(20000))
    up = 1.0 - 2.0 * (turned[:, 1].square() + turned[:, 2].square())  # of the base's z axis: uniform between -1 and 1
    assert torch.histc(up, 4, -1.0, 1.0).tolist() == pytest.approx([5000] * 4, abs=300)
    task = make_task("task=recovery", "randomization=none")
    assert task.simulator.model.geom("FL_thigh").contype.item() == 1  # legs cannot pass through each other
    for _ in range(40):
        transition = task.step(torch.zeros(6, 12))
        assert not transition.terminated.any()


def test_tasks_choose_their_algorithm_unless_somebody_does():
    """Under velocity_flat's, recovery does not learn (its reward is seconds away, its motions are large), and a biped falls too much to."""
    for command in ("train", "demo"):
        chosen = compose(command, ["task=recovery"])["algorithm"]
        assert (chosen["gamma"], chosen["initial_std"]) == (0.99, 1.0)
        assert compose(command, [])["algorithm"] == compose(command, ["task=recovery", "algorithm=ppo"])["algorithm"]
        assert compose(command, ["task=velocity_biped"])["algorithm"] == compose(command, ["algorithm.initial_std=0.15"])["algorithm"]


def test_a_protocol_says_what_it_lacks():
    with pytest.raises(InputError, match="Did you mean recovery"):
        protocols.find("recovry")
    with pytest.raises(InputError, match="the channel forward"):
        protocols.command_of(protocols.find("fast"), 3, ("yaw",), torch.zeros(1))
