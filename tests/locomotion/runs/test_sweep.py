"""Many trainings: every combination, one error before any runs, and a sweep that was stopped goes on with what is missing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from locomotion.cli import main
from locomotion.commands import sweep as command
from locomotion.config import compose
from locomotion.evaluation import seeds
from locomotion.runs import sweep
from locomotion.schema import check
from locomotion.settings import SweepSettings
from robots.errors import InputError
from tests.conftest import TINY

LOCAL = check(SweepSettings, {"output": None, "resume": None, "jobs": 2, "launcher": "local", "address": None, "cpus": 1, "gpus": 0})


def test_every_combination_once():
    trials = sweep.plan(["seed=1,2", "algorithm.gamma=choice(0.9,0.99)", "task=stand"])
    assert [trial.overrides for trial in trials] == [
        (f"seed={seed}", f"algorithm.gamma={gamma}", "task=stand") for seed in (1, 2) for gamma in (0.9, 0.99)
    ]
    assert len({trial.name for trial in trials}) == 4
    assert all(set(trial.name) <= set("0123456789abcdefghijklmnopqrstuvwxyz.-_") for trial in trials)
    assert [trial.overrides for trial in sweep.plan(["seed=range(1,4)"])] == [("seed=1",), ("seed=2",), ("seed=3",)]
    assert sweep.plan(["algorithm.actor_hidden=[8,16]"])[0].overrides == ("algorithm.actor_hidden=[8,16]",)  # a list is one value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=1,-2"], "seed"),
        (["algorithm=ppo,nothing"], "nothing"),
        (["seed=1,2", "speed=3"], "speed"),
        (["seed"], "key=value"),
        (["run=a,b"], "output="),
        (["seed=1,(2"], "key=value"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(words, said):
    with pytest.raises(InputError, match=said):
        sweep.plan(words)


def stand_in(monkeypatch, code: str) -> None:
    """Trials that run ``code`` in their stead, with the trial's name in ``argv``."""
    monkeypatch.setattr(sweep.Sweep, "command", lambda self, trial: [sys.executable, "-c", code, str(self.folder), trial.name])


def test_a_trial_that_failed_is_told_and_run_again_and_others_are_not(tmp_path, monkeypatch):
    made = sweep.create(tmp_path / "s", [sweep.Trial(name, ()) for name in "abc"])
    count = "import sys; open(f'{sys.argv[1]}/ran_{sys.argv[2]}', 'a').write('x');"
    stand_in(monkeypatch, count + "print('no room'); sys.exit(sys.argv[2] == 'b')")
    said: list[str] = []
    assert [trial.name for trial in sweep.run(made, LOCAL, said.append)] == ["b"]
    assert "failed  b: no room" in said
    again = sweep.load(tmp_path / "s")
    stand_in(monkeypatch, count)
    assert sweep.run(again, LOCAL, said.append) == []
    assert {name: (tmp_path / "s" / f"ran_{name}").read_text() for name in "abc"} == {"a": "x", "b": "xx", "c": "x"}


def test_a_trial_with_a_checkpoint_is_resumed_not_begun(tmp_path):
    made = sweep.create(tmp_path / "s", sweep.plan(["seed=1,2"]))
    (made.folder / made.trials[1].name).mkdir()
    (made.folder / made.trials[1].name / "last.pt").touch()
    first, second = map(made.command, made.trials)
    assert first[4:] == ["seed=1", f"run='{made.folder}/{made.trials[0].name}'"]
    assert second[4:] == [f"resume='{made.folder}/{made.trials[1].name}'"]


def test_who_stops_a_sweep_stops_its_trainings(tmp_path, monkeypatch):
    made = sweep.create(tmp_path / "s", [sweep.Trial(name, ()) for name in "abcdef"])
    stand_in(monkeypatch, "import time, sys; time.sleep(60 * (sys.argv[2] != 'a'))")
    processes, real = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: processes.append(real(*a, **k)) or processes[-1])
    ends = sweep._processes(made, made.trials, LOCAL)
    assert next(ends)[0].name == "a"
    ends.close()
    assert 2 <= len(processes) <= 4  # two at a time, and none begun after the end
    assert all(process.poll() is not None for process in processes)


def test_a_folder_holds_one_sweep(tmp_path):
    sweep.create(tmp_path / "s", [])
    with pytest.raises(InputError, match="resume="):
        sweep.create(tmp_path / "s", [])
    with pytest.raises(InputError, match=r"sweep\.json"):
        sweep.load(tmp_path)
    (tmp_path / "s" / "sweep.json").write_text("{")
    with pytest.raises(InputError, match=r"sweep\.json"):
        sweep.load(tmp_path / "s")


def test_the_command_trains_and_compares(tmp_path, capsys):
    folder = tmp_path / "s"
    assert command.run([*TINY, "seed=1,2", "iterations=1", f"output={folder}"]) == 0
    assert "all" in capsys.readouterr().out
    page = (folder / "sweep.html").read_text()
    assert "95% interval" in page
    assert "<td>2</td>" in page  # seeds
    assert command.run([f"resume={folder}"]) == 0
    assert "2 of them done" in capsys.readouterr().out
    with pytest.raises(InputError, match="resume"):
        command.run([f"resume={folder}", "seed=3"])


def test_the_interquartile_mean_and_its_interval():
    assert seeds.interquartile_mean(np.array([100.0, 2.0, 3.0, 4.0, -50.0])) == pytest.approx(3.0)
    assert seeds.interquartile_mean(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)  # none to spare
    assert seeds.interquartile_mean(np.arange(8.0)) == pytest.approx(3.5)
    assert seeds.interquartile_mean(np.array([0.0, 0.0, 0.0, 8.0])) == pytest.approx(0.0)
    low, high = seeds.interval(np.random.default_rng(0).normal(5.0, 1.0, 100))
    # the middle half's mean of a Gaussian varies as 1.09 sigma / sqrt(n): 95 % within +-0.21
    assert low == pytest.approx(4.79 + 0.06, abs=0.15)
    assert high - low == pytest.approx(0.43, abs=0.1)
    assert seeds.interval(np.full(5, 7.0)) == (7.0, 7.0)


@pytest.mark.usefixtures("hangs_up")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_a_sweep_ends_its_trainings(tmp_path, monkeypatch, number):
    stand_in(monkeypatch, "import time; time.sleep(60)")
    processes, real, before = [], subprocess.Popen, signal.getsignal(number)

    def popen(*arguments, **options):
        processes.append(real(*arguments, **options))
        os.kill(os.getpid(), number)
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    assert main(["sweep", *TINY, "seed=1,2", f"output={tmp_path / 's'}"]) == 128 + number
    assert processes
    assert all(process.wait(5) for process in processes)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("name", ["a b=c", "it's", "back\\slash", "a,b", "(1)", "${seed}", "[x]", "{y: 1}", "\\'"])
def test_a_sweeps_folder_may_have_any_name(tmp_path, name):
    made = sweep.create(tmp_path / name, [sweep.Trial("000", ())])
    assert compose("train", made.command(made.trials[0])[4:])["run"] == str(tmp_path / name / "000")
    (made.folder / "000").mkdir()
    (made.folder / "000" / "last.pt").touch()
    assert compose("train", made.command(made.trials[0])[4:])["resume"] == str(tmp_path / name / "000")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["algorithm.gamma=0.9,2"], r"algorithm\.gamma"),
        (["algorithm=ppo,dqn", "algorithm.epochs=2"], "epochs"),
        (["robot=unitree_go2,unitree_dog"], "unitree_dog"),
        (["plugins=[nowhere.py]"], "nowhere"),
    ],
)
def test_what_the_algorithm_and_the_robot_refuse_is_found_before_anything_runs(words, said):
    with pytest.raises(InputError, match=said):
        sweep.plan(["seed=1,2", *words])


def test_seeds_cost_no_composing_again(monkeypatch):
    seen = []
    monkeypatch.setattr(sweep, "compose", lambda name, words: seen.append(words) or compose(name, words))
    assert len(sweep.plan(["seed=range(0,200)", "task=stand,gait"])) == 400
    assert seen == [["task=stand"], ["task=gait"]]
    with pytest.raises(InputError, match=r"seed: got -3"):
        sweep.plan(["seed=1,2,-3"])


def test_a_sweep_that_is_killed_leaves_no_trainings(tmp_path):
    """SIGKILL, which nothing of the sweep itself sees."""
    code = f"""
import sys, pathlib
from locomotion.runs import sweep
from tests.locomotion.runs.test_sweep import LOCAL
sweep.Sweep.command = lambda self, trial: [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
made = sweep.create(pathlib.Path({str(tmp_path / "s")!r}), [sweep.Trial("a", ())])
list(sweep._processes(made, made.trials, LOCAL))
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    log = tmp_path / "s" / "logs" / "a.txt"
    assert eventually(lambda: log.exists() and log.read_text().strip())
    process.kill()
    process.wait()
    child = Path("/proc", log.read_text().strip())
    assert eventually(lambda: not child.exists() or "State:\tZ" in (child / "status").read_text())


def test_ray_that_is_not_there_is_said_before_a_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"launcher.*\[ray\]"):
        command.run([*TINY, "seed=1,2", "launcher=ray", f"output={tmp_path / 's'}"])
    assert not (tmp_path / "s").exists()


def eventually(happened, seconds=60.0):
    until = time.monotonic() + seconds
    while not happened() and time.monotonic() < until:
        time.sleep(0.02)
    return happened()
