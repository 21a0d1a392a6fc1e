"""A policy that remembers: the same network in acting, in learning and in the bundle; nothing is remembered across episodes."""

import numpy as np
import pytest
import torch
from torch import nn

from deploy.policy import load
from locomotion import build
from locomotion.algorithms.ppo import PPO, PPOSettings
from locomotion.config import compose
from locomotion.environment import fixed
from locomotion.export import example_inputs, export_checkpoint, write_bundle
from locomotion.models.recurrent import GRU, Memory, RecurrentNetwork, gru_step
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots import InputError
from tests.conftest import bundle_fields, make_task, tiny, tiny_policy
from tests.locomotion.algorithms.finite import Recall
from tests.locomotion.runs.test_checkpoint import assert_same, go_on, run

RANGE = [[-1.0, 1.5], [-0.6, 0.6], [-1.0, 1.0]]


def network(mirrors=None, inputs=3, memory=6):
    return RecurrentNetwork([inputs, 8, 2], memory, 1.0, torch.Generator().manual_seed(1), mirrors)


def rows(observation, begins):
    """Input of a network: the memory beside each step is nonsense but in the first, where it is what was remembered."""
    t, n, _ = observation.shape
    return torch.cat([observation, torch.full((t, n, 6), 9.0), begins[..., None]], dim=-1)


def test_the_unit_is_torch_s():
    theirs, ours = nn.GRUCell(5, 4), GRU(5, 4, None, torch.Generator())
    with torch.no_grad():
        for mine, other in zip(
            (ours.input_weight, ours.memory_weight, ours.input_bias, ours.memory_bias), theirs.parameters(), strict=True
        ):
            mine.copy_(other.view_as(mine))
    weight, memory_weight, bias, memory_bias = ours.weights()
    x, h = torch.randn(7, 5), torch.randn(7, 4)
    torch.testing.assert_close(gru_step(x @ weight.T + bias, h, memory_weight, memory_bias), theirs(x, h))


def test_a_sequence_is_its_steps_and_an_episode_s_beginning_forgets():
    net, step = network(), network().stepping()
    observation, begins = torch.randn(10, 4, 3), (torch.rand(10, 4) < 0.3).float()
    x, memory = rows(observation, begins), torch.randn(4, 6)
    x[0, :, 3:9] = memory
    outputs = []
    for t in range(10):
        memory = torch.where(begins[t, :, None] > 0, torch.zeros(4, 6), memory)
        output, memory = step(observation[t], memory)
        outputs.append(output)
    torch.testing.assert_close(net(x), torch.stack(outputs))


def test_a_gradient_goes_back_through_time_to_the_episode_s_beginning_and_no_further():
    observation, begins = torch.randn(6, 1, 3), torch.zeros(6, 1)
    begins[3] = 1.0
    x = rows(observation, begins).requires_grad_()
    (slope,) = torch.autograd.grad(network()(x)[5].sum(), x)
    assert slope[:3].abs().max() == 0.0
    assert (slope[3:, :, :3].abs().amax(dim=(1, 2)) > 0.0).all()


def test_what_is_remembered_looks_in_a_mirror_as_what_was_seen():
    mirrors = (fixed(1, -1, 1), fixed(-1, 1))
    net = network(mirrors)
    signs = [torch.tensor(sign, dtype=torch.float32) for _, sign in mirrors]
    observation = torch.randn(5, 4, 3)
    x, image = (rows(seen, torch.zeros(5, 4)) for seen in (observation, observation * signs[0]))
    x[0, :, 3:9] = torch.randn(4, 6)
    image[0, :, 3:9] = x[0, :, 3:9].roll(3, dims=-1)  # halves of the units swap
    torch.testing.assert_close(net(image), net(x) * signs[1])


def test_memory_is_kept_through_an_episode_and_no_longer():
    memory = Memory(3, 2, torch.device("cpu"))
    assert memory.beside(torch.ones(3, 1)).tolist() == [[1, 0, 0, 1]] * 3
    memory.keep(torch.full((3, 2), 5.0), torch.tensor([False, True, False]))
    assert memory.beside(torch.ones(3, 1)).tolist() == [[1, 5, 5, 0], [1, 0, 0, 1], [1, 5, 5, 0]]


def test_the_policy_that_is_optimised_is_the_policy_that_acted():
    settings = tiny("algorithm.memory=8", "task.episode_seconds=0.1")
    learner = build.algorithm(settings, build.task(settings))
    for _ in range(3):  # later rollouts begin in the middle of episodes
        with torch.inference_mode():
            learner.rollout.collect(learner.generator)
            batch = learner.prepare()
            sequences = learner.rollout.minibatches(1, 1, learner.generator)[0]
            output = learner.actor.network(batch["actor"][sequences])
            log_prob = learner.actor.distribution(output).log_prob(batch["action"][sequences])
        done = (learner.rollout.terminated | learner.rollout.truncated)[:-1]
        after = learner.rollout.actor[1:][done]  # rows that begin an episode: nothing is remembered, and they say so
        assert done.any()
        assert (after[:, -9:] == torch.tensor([0.0] * 8 + [1.0])).all()
        assert (learner.rollout.actor[1:][~done][:, -9:-1].abs().amax(dim=-1) > 0.0).all()
        assert (torch.exp(log_prob - batch["log_prob"][sequences].squeeze(-1)) - 1.0).abs().max() < 1e-5
        learner.update(batch)
        learner.rollout.learn_normalizers(learner.critic)


def test_every_step_is_used_once_an_epoch_in_its_sequence():
    settings = tiny("algorithm.memory=8")
    learner = build.algorithm(settings, build.task(settings))
    first, second = learner.rollout.minibatches(1, 2, learner.generator)
    assert sorted(torch.cat([first, second], dim=1).flatten().tolist()) == list(range(48))
    assert (first[1:] - first[:-1] == 6).all()  # a step later, the same environment


@pytest.mark.parametrize(("batch", "symmetric"), [(5, True), (1, False)])
def test_the_bundle_is_the_network_of_training(go2, tmp_path, batch, symmetric):
    words = ("algorithm.memory=8", f"algorithm.symmetric={symmetric}")
    policy = tiny_policy(*words)
    write_bundle(policy, go2, bundle_fields(*words), tmp_path / "policy.onnx")
    loaded = load(tmp_path / "policy.onnx", go2)
    assert [(term.name, term.width) for term in loaded.contract.memory][-2:] == [("joint_pos_target", 12), ("recurrent", 8)]
    signals = example_inputs(policy, go2, RANGE, batch, 40, seed=3)
    # the actor as training runs it: rows of observation, memory and beginnings
    act, memory = policy.actor.frozen(), Memory(batch, 8, torch.device("cpu"))
    carried, actions = torch.zeros(batch, policy.encoder.memory_size), []
    loaded.reset(batch)
    for t in range(40):
        named = {name: torch.from_numpy(value[t]) for name, value in signals.items()}
        with torch.inference_mode():
            action, after = act(memory.beside(policy.encoder(named, carried)))
            memory.keep(after, torch.zeros(batch, dtype=torch.bool))
            _, offset = policy.decoder(action, named["joint_pos"], named["joint_vel"], carried)
            carried = policy.encoder.remember(named, action, carried, offset)
        actions.append(action)
        np.testing.assert_allclose(loaded.step({name: value[t] for name, value in signals.items()})[1], action, atol=1e-5)
    assert (
        actions[0] - policy.actor(policy.encoder({n: torch.from_numpy(v[0]) for n, v in signals.items()}, carried * 0))
    ).abs().max() < 1e-5


def test_a_resumed_run_equals_one_that_never_stopped(tmp_path):
    settings = ("algorithm.memory=8", "task.episode_seconds=0.5")
    whole = run(tmp_path / "whole", 3, *settings)
    run(tmp_path / "parts", 3, *settings, stop=1)
    assert_same(whole, go_on(tmp_path / "parts"))
    export_checkpoint(tmp_path / "whole" / "last.pt", tmp_path / "policy.onnx")


def test_it_learns_what_only_a_memory_can():
    """The best without one is an action of 0, which earns -1 an episode."""
    words = ["algorithm=ppo_gymnasium", "algorithm.num_envs=64", "algorithm.steps=8", "algorithm.epochs=4", "algorithm.minibatches=2"]
    words += ["algorithm.memory=16", "algorithm.actor_hidden=[16]", "algorithm.critic_hidden=[16]", "algorithm.initial_std=0.3"]
    words += ["algorithm.learning_rate=0.005", "algorithm.learning_rate_range=[0.001,0.01]", "algorithm.target_kl=0.03"]
    data = dict(compose("train", words)["algorithm"])
    data.pop("name")
    env = Recall(64)
    learner = PPO(check(PPOSettings, data, "algorithm"), env, 1, 100)
    for _ in range(50):
        learner.iterate()
    with torch.no_grad():
        memory, ends = torch.zeros(2, 16), []
        for seen in ([[1, 0], [-1, 0]], [[0, 0]] * 2, [[0, 0]] * 2, [[0, 1]] * 2):
            action, memory = learner.actor.step(torch.tensor(seen, dtype=torch.float32), memory)
            ends.append(action.flatten())
    assert ends[-1][0] > 0.6
    assert ends[-1][1] < -0.6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("algorithm.memory=7",), "even"),
        (("algorithm.memory=8", "algorithm.minibatches=7"), "num_envs = 6"),
        (("algorithm.memory=8", "algorithm.estimator={targets: [base_lin_vel]}"), "none for a policy with a memory"),
        (("algorithm.memory=-1",), "memory"),
    ],
)
def test_what_cannot_be_is_refused(words, message):
    settings = tiny(*words)
    with pytest.raises(InputError, match=message):
        build.algorithm(settings, make_task())


def test_a_policy_with_a_memory_is_no_teacher(tmp_path):
    run(tmp_path / "teacher", 1, "algorithm.memory=8")
    words = ["algorithm=distill", f"algorithm.teacher={tmp_path / 'teacher'}", "algorithm.num_envs=6", "sim.threads=1", "threads=1"]
    settings = check(TrainSettings, compose("train", words))
    with pytest.raises(InputError, match="without a memory"):
        build.algorithm(settings, build.task(settings))
