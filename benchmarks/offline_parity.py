"""IQL, CQL and TD3+BC against d3rlpy's: the same data, as many gradient steps, the same evaluator, several seeds.

    python -m benchmarks.offline_parity --output runs/offline_parity

d3rlpy asks for an older Gymnasium, so it is installed beside: pip install --no-deps d3rlpy gym==0.26.2 gym-notices structlog colorama
dataclasses-json marshmallow typing-inspect mypy-extensions click scikit-learn scipy joblib threadpoolctl narwhals tqdm.
Data are of stable-baselines3's PPO: "mixed" is all that it lived through until its last hundred episodes, exploring, had a mean return
of ``--target``; "medium" is what it then does, exploring. Sizes, rates, batches and weights are the same on both sides (CQL's batches are
smaller than usual). What is not: d3rlpy's CQL takes the policy's mean, not a sample, as the next action, its IQL begins with a smaller
spread, and it leaves out the last step of a truncated episode. The data, and each training, are written when they are whole: the same
command goes on after a kill.
It prints a table of interquartile means with 95 % bootstrap intervals of what is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import d3rlpy
import gymnasium
import numpy as np
import stable_baselines3
import structlog
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor, nn

from benchmarks.common import machine
from locomotion.adapters.gymnasium_environment import GymnasiumEnvironment
from locomotion.adapters.outside import returns
from locomotion.algorithms import ALGORITHMS
from locomotion.config import compose
from locomotion.data import exchange
from locomotion.data.dataset import Dataset
from locomotion.data.load import replay_of, returns_scale
from locomotion.evaluation.seeds import interquartile_mean, interval
from locomotion.files import write_json
from locomotion.schema import check

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))  # d3rlpy says much

MEDIUM = {"Hopper-v5": 1000.0, "HalfCheetah-v5": 1000.0}  # clearly better than chance, and worse than what the learner comes to
QUALITIES = ("medium", "mixed")
COLUMNS = ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts")
COPIES, ROLLOUT, MOST, SEED = 8, 256, 1_000_000, 1  # of the behaviour's training
EPISODES, EVALUATION_SEED = 10, 1_000_003
UPDATES = 250  # gradient steps of an iteration of ours
SMALLER = {"cql": {"batch_size": 64, "actions": 4}}  # on both sides: a tenth of the work of its 256 and 10


def _iql(updates: int) -> Any:
    falling = d3rlpy.optimizers.AdamFactory(lr_scheduler_factory=d3rlpy.optimizers.CosineAnnealingLRFactory(T_max=updates))
    config = d3rlpy.algos.IQLConfig(
        actor_learning_rate=3e-4, critic_learning_rate=3e-4, batch_size=256, expectile=0.7, weight_temp=3.0, actor_optim_factory=falling,
        observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(),
    )  # fmt: skip
    return config.create(device="cpu")


def _cql(updates: int) -> Any:
    config = d3rlpy.algos.CQLConfig(
        actor_learning_rate=1e-4, critic_learning_rate=3e-4, temp_learning_rate=1e-4, alpha_learning_rate=0.0,
        batch_size=SMALLER["cql"]["batch_size"], conservative_weight=5.0, n_action_samples=SMALLER["cql"]["actions"],
    )  # fmt: skip
    return config.create(device="cpu")


def _td3_bc(updates: int) -> Any:
    scaler = d3rlpy.preprocessing.StandardObservationScaler()
    return d3rlpy.algos.TD3PlusBCConfig(batch_size=256, alpha=2.5, observation_scaler=scaler).create(device="cpu")


MAKERS: dict[str, Callable[[int], Any]] = {"iql_gymnasium": _iql, "cql": _cql, "td3_bc": _td3_bc}


class Theirs(nn.Module):
    """A policy of another library, arrays in and out, as ours are called."""

    def __init__(self, act: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.act = act

    def forward(self, observation: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.act(observation.numpy()), dtype=np.float32))


class Recorded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that keeps what it lives through, in the order of :data:`COLUMNS`."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.rows: list[tuple[Any, ...]] = []
        self._seen: Any = None

    def reset(self, **words: Any) -> tuple[Any, dict[str, Any]]:
        self._seen, about = super().reset(**words)
        return self._seen, about

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        after, reward, terminated, truncated, about = super().step(action)
        self.rows.append((self._seen, after, action, float(reward), terminated, truncated and not terminated))
        self._seen = after
        return after, reward, terminated, truncated, about


def make_data(identity: str, folder: Path, target: float, steps: int) -> dict[str, Any]:
    """Arrays and a dataset of each quality. Returns what ``data.json`` says of them; once that is there, they stay."""
    asked = {"target": target, "steps": steps}
    if (folder / "data.json").exists():
        made = json.loads((folder / "data.json").read_text())
        if {name: made[name] for name in asked} != asked:
            sys.exit(f"{folder} holds data of {made}, not of {asked}: choose another --output")
        return made
    folder.mkdir(parents=True, exist_ok=True)
    copies: list[Recorded] = []

    def copy() -> Recorded:
        copies.append(Recorded(gymnasium.make(identity)))
        return copies[-1]

    env = VecNormalize(make_vec_env(copy, n_envs=COPIES, seed=SEED))
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=ROLLOUT, batch_size=64, seed=SEED, device="cpu")
    model.set_logger(Logger(None, []))  # its own leaves a folder behind
    mean = -np.inf
    while mean < target:
        if model.num_timesteps >= MOST:
            sys.exit(f"{identity}: the behaviour came to {mean:.0f} of {target:.0f} in {MOST:,} steps: lower --target")
        model.learn(COPIES * ROLLOUT, reset_num_timesteps=False)
        mean = float(np.mean([episode["r"] for episode in model.ep_info_buffer or [{"r": -np.inf}]]))

    def act(observation: np.ndarray, deterministic: bool) -> np.ndarray:
        return np.asarray(model.predict(env.normalize_obs(observation), deterministic=deterministic)[0])

    medium = Recorded(gymnasium.make(identity))
    seen, _ = medium.reset(seed=SEED + COPIES)
    for _ in range(steps):
        seen, *ends, _ = medium.step(act(seen, False))
        if any(ends[1:]):
            seen, _ = medium.reset()
    best = returns(GymnasiumEnvironment(identity, EPISODES, EVALUATION_SEED), Theirs(lambda seen: act(seen, True)))
    made = asked | {
        "behaviour": {"steps": model.num_timesteps, "return": float(best.mean())},
        "medium": write_data(identity, folder, "medium", [medium.rows]),
        "mixed": write_data(identity, folder, "mixed", [one.rows for one in copies]),
    }
    write_json(folder / "data.json", made, "output")
    return made


def write_data(identity: str, folder: Path, quality: str, runs: list[list[tuple[Any, ...]]]) -> dict[str, Any]:
    """One run after the other, each cut at its end. Returns the dataset's name, steps, episodes and mean return."""
    rows = [row for run in runs for row in [*run[:-1], (*run[-1][:-1], not run[-1][-2])]]
    arrays = (np.array(column) for column in zip(*rows, strict=True))
    tables = {n: v.astype(np.float32) if v.dtype == np.float64 else v for n, v in zip(COLUMNS, arrays, strict=True)}
    np.savez(folder / f"{quality}.npz", **tables)  # type: ignore[arg-type]
    env = GymnasiumEnvironment(identity, 1, 0)
    bounds = np.stack([env.spaces.action.low.numpy(), env.spaces.action.high.numpy()])  # type: ignore[union-attr]
    name = f"{identity.lower()}-{quality}-{int(time.time())}-v0"
    source = {"config": {"env": f"gymnasium:{identity}"}, "robot_sha256": None}
    written = exchange.from_npz(folder / f"{quality}.npz", folder / name, bounds, source)
    episodes = int((tables["terminals"] | tables["timeouts"]).sum())
    mean = float(tables["rewards"].sum(dtype=np.float64)) / episodes
    return {"dataset": written.path.name, "steps": written.total_steps, "episodes": episodes, "return": mean}


def their_dataset(tables: dict[str, np.ndarray]) -> Any:
    """d3rlpy's, in the same order."""
    terminals, cut, rewards = (tables[name].astype(np.float32) for name in ("terminals", "timeouts", "rewards"))
    return d3rlpy.dataset.MDPDataset(tables["observations"], tables["actions"], rewards, terminals, cut)


def ours(identity: str, folder: Path, name: str, seed: int, updates: int) -> Any:
    settings = compose("train", [f"algorithm={name}"])["algorithm"] | SMALLER.get(name, {}) | {"dataset": str(folder), "updates": UPDATES}
    cls, env = ALGORITHMS[settings.pop("name")], GymnasiumEnvironment(identity, 1, seed)
    own = check(cls.settings_type, settings, "algorithm")
    replay = replay_of(str(folder), env, {"actor"}, "recorded", own.reward_scale, None)
    learner = cls(own, env, seed, updates // UPDATES, replay)
    for _ in range(updates // UPDATES):
        learner.iterate()
    return learner.actor


def theirs(tables: dict[str, np.ndarray], scale: float, name: str, seed: int, updates: int) -> Any:
    d3rlpy.seed(seed)
    learner = MAKERS[name](updates)
    scaled = tables | {"rewards": tables["rewards"] * scale}
    quiet = d3rlpy.logging.NoopAdapterFactory()
    learner.fit(their_dataset(scaled), n_steps=updates, n_steps_per_epoch=updates, logger_adapter=quiet, show_progress=False)
    return Theirs(learner.predict)


def run(identity: str, folder: Path, made: dict[str, Any], quality: str, name: str, library: str, seed: int, updates: int) -> None:
    """Train on the data that were ``made`` and evaluate one; the result is a file."""
    path = folder / f"{quality}_{name}_{library}_{seed}_{updates}.json"
    if path.exists():
        return
    dataset = folder / made[quality]["dataset"]
    began = time.perf_counter()
    if library == "ours":
        actor = ours(identity, dataset, name, seed, updates)
    else:
        with np.load(folder / f"{quality}.npz") as file:
            tables = dict(file)
        steps = Dataset(dataset).steps()
        actor = theirs(tables, returns_scale(steps, steps.reward) if name == "iql_gymnasium" else 1.0, name, seed, updates)
    seconds = time.perf_counter() - began
    totals = returns(GymnasiumEnvironment(identity, EPISODES, EVALUATION_SEED), actor)
    write_json(path, {"return": float(totals.mean()), "seconds": seconds}, "output")
    print(f"{identity} {quality} {name} {library} seed {seed}: {totals.mean():.0f} in {seconds:.0f} s", flush=True)


def table(root: Path, environments: list[str], updates: int) -> None:
    print(f"{machine()}; {updates:,} gradient steps, mean return of {EPISODES} episodes, IQM [95 %]")
    for identity, quality in itertools.product(environments, QUALITIES):
        made = json.loads((root / identity / "data.json").read_text())
        print(f"{identity} {quality}: {made[quality]}, of {made['behaviour']}")
    for identity, quality, name in itertools.product(environments, QUALITIES, MAKERS):
        cells = []
        for library in ("ours", "d3rlpy"):
            files = sorted((root / identity).glob(f"{quality}_{name}_{library}_*_{updates}.json"))
            values = np.array([json.loads(path.read_text())["return"] for path in files])
            figures = "{:.0f} [{:.0f}, {:.0f}]".format(interquartile_mean(values), *interval(values)) if len(values) else "-"
            cells.append(f"{library} {figures} of {len(values)}")
        print(f"{identity:16} {quality:7} {name:14} {'   '.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/offline_parity"))
    parser.add_argument("--environments", nargs="+", default=["Hopper-v5", "HalfCheetah-v5"])
    parser.add_argument("--algorithms", nargs="+", default=list(MAKERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=100_000, help="of the medium data")
    parser.add_argument(
        "--target", type=float, help="mean return of exploring episodes at which the behaviour stops learning; default: the environment's"
    )
    parser.add_argument("--only-table", action="store_true")
    options = parser.parse_args()
    if options.updates % UPDATES:
        parser.error(f"--updates {options.updates}: ours makes {UPDATES} an iteration, give a multiple")
    for identity in options.environments:
        if options.only_table and not (options.output / identity / "data.json").exists():
            parser.error(f"--only-table: {options.output / identity} holds no data yet")
        if options.target is None and identity not in MEDIUM:
            parser.error(f"--environments {identity}: there is a target for {', '.join(MEDIUM)} alone, give --target")
    torch.set_num_threads(1)
    for identity in [] if options.only_table else options.environments:
        folder = options.output / identity
        made = make_data(identity, folder, options.target if options.target is not None else MEDIUM[identity], options.steps)
        for seed, quality, name, library in itertools.product(range(options.seeds), QUALITIES, options.algorithms, ("ours", "d3rlpy")):
            run(identity, folder, made, quality, name, library, seed, options.updates)
    table(options.output, options.environments, options.updates)


if __name__ == "__main__":
    main()
