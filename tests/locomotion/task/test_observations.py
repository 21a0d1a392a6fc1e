"""Observation terms beside what a task shows of them."""

import pytest
import torch

from locomotion.environment import fixed
from locomotion.export import write_bundle
from locomotion.task.observations import ObservationTerm
from robots import InputError
from tests.conftest import bundle_fields, make_task, tiny_policy


def test_a_term_without_a_mirror_image_is_as_wide_as_it_says():
    assert ObservationTerm(None, 5).width == 5
    assert ObservationTerm(None).width == 0
    assert ObservationTerm(fixed(1.0, -1.0, 1.0)).width == 3


HISTORY = "task.observations.actor.history={terms: [base_ang_vel, joint_pos], length: 3}"


def test_history_is_the_present_then_each_step_before_and_zeros_before_the_episode(go2, tmp_path):
    task = make_task("randomization=none", HISTORY)
    term, memory, seen = task.encoder.terms["history"], torch.zeros(1, 30), []
    assert (term.width, term.memory, set(term.inputs)) == (45, 30, {"base_ang_vel", "joint_pos"})
    for step in range(4):
        pos = task.robot_tensors.default_joint_pos + 10.0 * step
        inputs = {"base_ang_vel": torch.full((1, 3), float(step)), "joint_pos": pos[None]}
        seen = term.forward(inputs, memory)[0].tolist()
        if step == 1:
            assert seen[30:] == [0.0] * 15
        memory = term.remember(inputs, torch.zeros(1, 12), memory)
    expected = [*[3.0] * 3, *[30.0] * 12, *[2.0] * 3, *[20.0] * 12, *[1.0] * 3, *[10.0] * 12]
    assert seen == pytest.approx(expected, abs=1e-5)
    index, sign = term.mirror
    one = torch.arange(45.0)
    image = torch.as_tensor(sign).float() * one[torch.as_tensor(index)]
    gyro, joints = task.encoder.terms["base_ang_vel"].mirror, task.encoder.terms["joint_pos"].mirror
    for at in (0, 15, 30):  # each step as the terms themselves
        for (i, s), start in ((gyro, at), (joints, at + 3)):
            part = one[start : start + len(i)]
            assert torch.equal(image[start : start + len(i)], torch.as_tensor(s).float() * part[torch.as_tensor(i)])
    write_bundle(tiny_policy(HISTORY), go2, bundle_fields(HISTORY), tmp_path / "policy.onnx")  # replays its golden vectors


def test_history_of_what_remembers_itself_is_refused():
    with pytest.raises(InputError, match="without a memory"):
        make_task("task.observations.actor.history={terms: [previous_action], length: 3}")
