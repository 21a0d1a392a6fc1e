"""Checkpoints of rl_games and rsl_rl as bundles: the same action as the library's network, and one clear error for what is none."""

import io
import os
import pickle
import zipfile

import gymnasium
import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from torch import nn

from deploy.policy import RobotPolicy, load
from locomotion.adapters import foreign_checkpoint
from locomotion.adapters.foreign_import import import_policy
from locomotion.adapters.foreign_policy import read
from locomotion.cli import main
from locomotion.config import compose
from locomotion.runs.start import start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from robots.errors import InputError
from tests.locomotion.adapters import checkpoints
from tests.locomotion.adapters.foreign import Program, description, frame_width
from tests.locomotion.adapters.test_foreign_policy import STEPS, outputs, signals
from tests.locomotion.runs.test_checkpoint import Silent

MADE = {
    "rl_games": checkpoints.rl_games,
    **{f"rsl_rl {version}": lambda *a, v=version, **k: checkpoints.rsl_rl(v, *a, **k) for version in (1, 2, 3, 5)},
    "rl_games itself": checkpoints.library_rl_games,
    "rsl_rl itself": checkpoints.library_rsl_rl,
}


def made(kind, *arguments, **settings):
    if kind.endswith("itself"):
        pytest.importorskip(kind.split()[0])
    torch.manual_seed(0)
    return MADE[kind](*arguments, **settings)


def saved(state) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def run(model, observation):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["action"], {"observation": observation.numpy()})[0]


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("activation", ["elu", "tanh"])
@pytest.mark.parametrize("kind", MADE)
def test_a_checkpoint_acts_as_its_network_does(kind, activation, normalised):
    state, act = made(kind, 20, 5, activation=activation, normalised=normalised)
    observation = 4.0 * torch.randn(64, 20, generator=torch.Generator().manual_seed(1))
    model = foreign_checkpoint.network_of("it.pt", saved(state), activation)
    with torch.inference_mode():
        np.testing.assert_allclose(run(model, observation), act(observation).numpy(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("activation", checkpoints.ACTIVATIONS)
def test_every_activation_is_torchs(activation):
    state, act = checkpoints.rsl_rl(1, 6, 2, activation=activation)
    observation = 3.0 * torch.randn(16, 6)
    with torch.inference_mode():
        model = foreign_checkpoint.network_of("it.pt", saved(state), activation)
        np.testing.assert_allclose(run(model, observation), act(observation).numpy(), atol=1e-6)


@pytest.mark.parametrize(("kind", "own"), [("rl_games", "rl_games itself"), ("rsl_rl 5", "rsl_rl itself")])
def test_what_stands_for_a_library_has_its_names_and_shapes(kind, own):
    entry = "model" if kind == "rl_games" else "actor_state_dict"
    mine, theirs = ({k: (v.shape, v.dtype) for k, v in made(k, 20, 5)[0][entry].items()} for k in (kind, own))
    assert mine == theirs


def test_a_bundle_of_a_checkpoint_acts_as_the_librarys_network_on_the_described_observation(tmp_path, go2):
    data = description(policy="model.pth", activation="elu", clip_observation=5.0, action={"scale": 0.5, "clip": 1.0})
    state, act = made("rl_games", frame_width(data), 12)
    (tmp_path / "model.pth").write_bytes(saved(state))
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    import_policy(read(tmp_path / "it.yaml"), tmp_path / "policy.onnx")
    program, given = Program(data, np.zeros((1, 12)), go2), signals(0, go2, data)
    targets, _ = outputs(tmp_path / "policy.onnx", go2, [given])
    for t in range(STEPS):
        frame = np.concatenate(program.frame({name: value[t].astype(np.float32).astype(float) for name, value in given.items()}))
        with torch.inference_mode():
            program.action = act(torch.tensor(frame, dtype=torch.float32).clamp(-5.0, 5.0)[None])[0].numpy().clip(-1.0, 1.0)
        expected = program.pose.copy()
        expected[program.seen] += 0.5 * program.action
        np.testing.assert_allclose(targets[t, 0], expected, atol=1e-6)


def without(key, entry="model"):
    state, _ = checkpoints.rl_games(20, 5) if entry == "model" else checkpoints.rsl_rl(1, 20, 5)
    del state[entry][key]
    return state


def with_weights(entry="model", **more):
    state, _ = checkpoints.rl_games(20, 5) if entry == "model" else checkpoints.rsl_rl(5, 20, 5)
    state[entry] |= more
    return state


class Blocked:
    def __reduce__(self):
        return os.system, ("false",)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (without("a2c_network.mu.weight"), r"a2c_network\.mu\.weight"),
        (without("a2c_network.actor_mlp.2.bias"), r"a2c_network\.actor_mlp\.2\.bias"),
        (without("running_mean_std.running_var"), r"running_mean_std\.running_var"),
        (without("actor.0.weight", "model_state_dict"), r"actor\.0\.weight"),
        ({"model": {}}, r"a2c_network\.actor_mlp\.0\.weight"),
        (with_weights(**{"a2c_network.rnn.rnn.weight_ih_l0": torch.zeros(32, 8)}), "rnn.*another architecture"),
        (with_weights(**{"a2c_network.actor_mlp.3.weight": torch.zeros(12)}), "another architecture"),  # a normalisation of layers
        (with_weights(**{"a2c_network.actor_mlp.linears.0.weight": torch.zeros(12)}), "linears.*another architecture"),
        (with_weights(**{"a2c_network.mu.weight": torch.zeros(5, 9)}), "another architecture"),
        (with_weights("actor_state_dict", **{"rnn.rnn.weight_ih_l0": torch.zeros(32, 8)}), "another architecture"),
        (with_weights("actor_state_dict", **{"mlp.0.weight": torch.zeros(16, 20, 3)}), "another architecture"),
        ({"actor": {}, "critic": {}}, "rl_games.*It has actor, critic"),
        ([torch.zeros(3)], "a dict"),
        ({"model": nn.Linear(2, 2)}, "running its code"),
        ({"model": Blocked()}, r"posix\.system.*running its code"),
        (with_weights(**{"a2c_network.mu.weight": torch.full((5, 8), float("nan"))}), "finite real numbers in a2c_network.mu.weight"),
        (with_weights(**{"a2c_network.mu.weight": torch.zeros(5, 8, dtype=torch.complex64)}), "finite real numbers"),
        (with_weights(**{"a2c_network.mu.weight": torch.zeros(5, 8).to_sparse()}), "finite real numbers"),
        (with_weights(**{"a2c_network.mu.weight": torch.zeros(5, 8, device="meta")}), "finite real numbers"),
        (with_weights(**{"running_mean_std.running_mean": torch.zeros(1)}), "It has 1 means"),  # which would be taken for all
        (with_weights(**{"running_mean_std.running_var": -torch.ones(20)}), "no negative variance"),
    ],
)  # fmt: skip
def test_another_architecture_or_a_missing_weight_is_named(state, message):
    with pytest.raises(InputError, match=message):
        foreign_checkpoint.network_of("it.pt", saved(state), "elu")


def test_the_activation_must_be_told_and_only_for_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match="activation: elu"):
        foreign_checkpoint.network_of("it.pt", saved(checkpoints.rl_games(20, 5)[0]), None)
    (tmp_path / "foreign.onnx").write_bytes(b"")
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(description(activation="elu")))
    with pytest.raises(InputError, match="Remove activation"):
        import_policy(read(tmp_path / "it.yaml"), tmp_path / "policy.onnx")


def test_what_is_read_is_not_written_over(tmp_path, capsys):
    data = description(policy="model.pth", activation="elu")
    (tmp_path / "model.pth").write_bytes(saved(checkpoints.rl_games(frame_width(data), 12)[0]))
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in before:
        assert main(["policies", "import", str(tmp_path / "it.yaml"), f"output={path}"]) == 2
        assert "another file than what is read" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    for data in (b"", before[tmp_path / "model.pth"][:-200]):
        (tmp_path / "model.pth").write_bytes(data)
        assert main(["policies", "import", str(tmp_path / "it.yaml"), f"output={tmp_path / 'policy.onnx'}"]) == 2
        assert "It is cut, or no checkpoint" in capsys.readouterr().err


class Malice:
    ran = False

    def __reduce__(self):
        return setattr, (Malice, "ran", True)


def test_nothing_in_a_checkpoint_is_executed():
    state, _ = checkpoints.rl_games(20, 5)
    with pytest.raises(InputError, match="only running its code"):
        foreign_checkpoint.network_of("it.pt", saved(state | {"env_state": Malice()}), "elu")
    assert not Malice.ran
    assert pickle.loads(pickle.dumps(Malice())) is None  # it would have
    assert Malice.ran


def test_numbers_that_numpy_1_wrote_are_read():
    state, _ = checkpoints.rl_games(20, 5)
    old, new = zipfile.ZipFile(io.BytesIO(saved(state))), io.BytesIO()
    with zipfile.ZipFile(new, "w") as archive:
        for name in old.namelist():
            archive.writestr(name, old.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in new.getvalue()
    foreign_checkpoint.network_of("it.pt", new.getvalue(), "elu")


def test_a_width_that_is_not_the_descriptions_is_named(tmp_path):
    data = description(policy="model.pt", activation="elu")
    (tmp_path / "model.pt").write_bytes(saved(checkpoints.rsl_rl(1, 48, 12)[0]))
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(InputError, match=f"{frame_width(data)} numbers.*48"):
        import_policy(read(tmp_path / "it.yaml"), tmp_path / "policy.onnx")


class Foreign(gymnasium.Env):
    """As wide as a robot's task of somebody else's."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (48,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (12,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=48).astype(np.float32), {}

    def step(self, action):
        return self.np_random.normal(size=48).astype(np.float32), float(action[0]), False, False, {}


gymnasium.register("Foreign48-v0", entry_point=Foreign)
BLIND = [
    {"term": name} for name in ("base_lin_vel", "base_ang_vel", "projected_gravity", "command", "joint_pos", "joint_vel", "previous_action")
]


def test_a_run_of_ours_on_a_foreign_task_becomes_a_bundle_too(tmp_path, go2):
    words = ["env=gymnasium:Foreign48-v0", "algorithm=ppo_gymnasium", "algorithm.num_envs=2", "algorithm.steps=8",
             "algorithm.minibatches=2", "iterations=1", "score_every=0", f"run={tmp_path / 'run'}"]  # fmt: skip
    done, folder = start(check(TrainSettings, compose("train", words)), lambda _: Silent(), print)
    data = {**description(policy="run/best.pt", observation=BLIND), "action": {"scale": 0.5, "clip": 1.0}}
    del data["gait"]
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    import_policy(read(tmp_path / "it.yaml"), tmp_path / "policy.onnx")
    bundle = RobotPolicy(load(tmp_path / "policy.onnx"), go2, measured=("base_lin_vel",))
    given = {**signals(0, go2, data), "base_lin_vel": np.random.default_rng(1).standard_normal((STEPS, 3))}
    program = Program(data, np.zeros((1, 12)), go2)
    bundle.reset(1)
    for t in range(STEPS):
        now = {name: value[t].astype(np.float32) for name, value in given.items()}
        target, _ = bundle.step({name: value[None] for name, value in now.items()})
        offset = now["joint_pos"] - program.pose
        parts = [now["base_lin_vel"], now["base_ang_vel"], now["projected_gravity"], now["command"], offset[program.seen],
                 now["joint_vel"][program.seen], program.action]  # fmt: skip
        with torch.inference_mode():
            seen = torch.tensor(np.concatenate(parts)[None], dtype=torch.float32)
            program.action = done.learner.actor(seen)[0].numpy().clip(-1.0, 1.0)
        expected = program.pose.copy()
        expected[program.seen] += 0.5 * program.action
        np.testing.assert_allclose(target[0], expected, atol=1e-6)
    data["observation"] = BLIND[:-1]
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(InputError, match="an actor of 36 numbers for 12 joints"):
        import_policy(read(tmp_path / "it.yaml"), tmp_path / "policy.onnx")
    assert folder == tmp_path / "run"
