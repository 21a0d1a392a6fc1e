"""Training in PyBullet's processes: one of them dies, and the run goes on from its last checkpoint as if nothing had been."""

import os
import signal
from pathlib import Path

import pytest
import torch

from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from locomotion.schema import check
from locomotion.settings import TrainSettings
from sim import channel
from sim.simulator import LostWorkerError
from tests.conftest import tiny_config

pytest.importorskip("pybullet")


class Quiet:
    """A view that ends or stops a worker after an iteration."""

    def __init__(self, doomed_after: int | None = None, how: int = signal.SIGKILL):
        self.doomed_after, self.how, self.workers = doomed_after, how, []

    def iteration(self, iteration, iterations, figures):
        if iteration == self.doomed_after:
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            self.workers = [int(pid) for pid in children if b"sim.pybullet_workers" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            assert len(self.workers) == 2
            os.kill(self.workers[0], self.how)


def settings(folder: Path, threads: int) -> TrainSettings:
    return check(TrainSettings, tiny_config("sim=pybullet", f"sim.threads={threads}", f"run={folder}", "algorithm.num_envs=4"))


def test_a_worker_that_dies_ends_the_run_and_the_rest_is_as_if_it_had_not(tmp_path):
    torch.manual_seed(0)
    straight, _ = start(settings(tmp_path / "straight", 1), lambda folder: Quiet(), print)
    broken = tmp_path / "broken"
    with pytest.raises(LostWorkerError, match=rf"ended by signal 9.*The last good checkpoint is {broken}/last.pt") as caught:
        start(settings(broken, 2), lambda folder: Quiet(doomed_after=2), print)
    assert "\n" not in str(caught.value)
    assert checkpoint.load(broken / "last.pt")["iteration"] == 2
    resumed, _ = resume(str(broken), {}, lambda folder: Quiet(), print)
    assert resumed.iteration == straight.iteration == 3
    for name, value in straight.learner.actor.state_dict().items():
        assert torch.equal(resumed.learner.actor.state_dict()[name], value)
    a, b = (checkpoint.load(folder / "last.pt")["environment"]["simulator"] for folder in (tmp_path / "straight", broken))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_worker_that_is_stopped_ends_the_run_with_its_last_checkpoint_and_no_process_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(channel, "LOOK", 0.05)
    view = Quiet(doomed_after=1, how=signal.SIGSTOP)
    with pytest.raises(LostWorkerError, match=rf"stopped by a signal.*The last good checkpoint is {tmp_path}/last.pt"):
        start(settings(tmp_path, 2), lambda folder: view, print)
    assert checkpoint.load(tmp_path / "last.pt")["iteration"] == 1
    assert not [pid for pid in view.workers if Path(f"/proc/{pid}").exists()]


def test_all_of_the_default_randomization_is_what_bullet_can_express(tmp_path):
    from sim.pybullet import PybulletSimulator

    assert settings(tmp_path, 1).randomization.needs <= PybulletSimulator.supports
