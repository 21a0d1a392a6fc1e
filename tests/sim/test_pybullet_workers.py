"""Processes of Bullet robots: the same bits as one process, a continuation that is exact, and an end that leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import sim
from robots import InputError
from sim import pybullet_workers
from sim.simulator import LostWorkerError
from tests.conftest import only, standing

pytest.importorskip("pybullet")

N = 5
DT = 0.005
ROOT = Path(__file__).parents[2]


def pids(simulator):
    return [process.pid for process, _ in simulator._crew._workers]


def ended(pid):
    """No such process, or a dead one that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def within(seconds, condition):
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.fixture(scope="module")
def three(go2):
    """The same robots twice in this process, and in three others."""
    simulators = [sim.make("pybullet", go2, N, DT, threads=threads) for threads in (1, 1, 3)]
    yield simulators
    for simulator in simulators:
        simulator.close()


def lives(simulators, go2, steps, seed):
    """Everything that happens to robots in training; yields after every step."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=generator)

    for t in range(steps):
        if t % 10 == 0:
            mask = random(N) < 0.6
            values = {
                "base_com_offset": 0.06 * random(N, 3) - 0.03, "base_mass_offset": 2.0 * random(N), "friction": 0.3 + random(N),
                "kp_scale": 0.9 + 0.2 * random(N, 12), "action_delay": 0.02 * random(N), "ground_slope": 0.1 * random(N, 2) - 0.05,
                "joint_zero_offset": 0.02 * random(N, 12), "armature_scale": 0.8 + 0.4 * random(N, 12),
            }  # fmt: skip
            state = standing(go2, N, yaw=random(N), height=0.2 + 0.2 * float(random(1)))
            state.base_quat[:] = torch.nn.functional.normalize(state.base_quat + 0.3 * random(N, 4), dim=-1)
            for simulator in simulators:
                simulator.set_parameters(mask, values)
                simulator.reset(mask, state)
        if t % 10 == 4:
            mask, push, wrench = random(N) < 0.5, random(N, 2), 20.0 * random(N, 6)
            for simulator in simulators:
                simulator.push(mask, push)
                simulator.wrench(mask, wrench)
        jitter, target = 0.01 * random(N), torch.tensor(go2.default_joint_pos).float() + 0.8 * random(N, 12) - 0.4
        for simulator in simulators:
            simulator.set_parameters(only(N), {"action_jitter": jitter})
            simulator.step(target, 4)
        yield t


def test_workers_give_the_same_bits_as_one_process(three, go2):
    first, *others = three
    met = 0.0
    for _ in lives(three, go2, 35, seed=0):
        met = max(met, float(first.signals.ground_contacts.max()))
        for other in others:
            assert torch.equal(other.signals.packed, first.signals.packed)
            assert torch.equal(other.faults, first.faults)
    assert met >= 4


def test_a_continuation_is_exact_in_any_number_of_processes(three, go2):
    """From the middle of delays, contacts, falls and forces."""
    first, other, third = three
    for _ in lives([first], go2, 17, seed=1):
        pass
    for _ in lives([other, third], go2, 3, seed=2):  # of other lives
        pass
    state = first.state_dict()
    for simulator in (other, third):
        simulator.load_state_dict(state)
        assert torch.equal(simulator.signals.packed, first.signals.packed)
    target = torch.tensor(go2.default_joint_pos).float().repeat(N, 1)
    for t in range(20):
        for simulator in three:
            simulator.step(target + 0.3 * (-1) ** t, 4)
        assert torch.equal(other.signals.packed, first.signals.packed)
        assert torch.equal(third.signals.packed, first.signals.packed)


def test_a_robot_that_is_no_number_is_a_fault_and_the_others_go_on(three, go2):
    """Bullet does not say so: its state is looked at. A reset makes the robot anew."""
    good, bad = standing(go2, N), standing(go2, N)
    bad.base_lin_vel_world[:] = float("nan")
    target = good.joint_pos.clone()
    for simulator in three:
        simulator.reset(only(N), good)
        simulator.reset(only(N, 1), bad)
        simulator.step(target, 4)
        assert simulator.faults.tolist() == [False, True, False, False, False]
        simulator.reset(only(N, 1), good)
        assert not simulator.faults.any()
        simulator.step(target, 4)
        assert not simulator.faults.any()
        assert torch.isfinite(simulator.signals.packed).all()


def test_robots_are_shared_out_evenly_and_few_stay_here(three, go2):
    assert [high - low for low, high in three[2]._crew._rows] == [2, 1, 2]
    alone = sim.make("pybullet", go2, 3, DT)  # threads=0: as many as are worth it
    assert alone.workers == 1
    alone.close()


def test_more_robots_than_bullet_has_room_for_are_refused(go2):
    with pytest.raises(InputError, match="at most 1000 robots a process"):
        sim.make("pybullet", go2, 2001, DT, threads=2)


def test_more_robots_than_the_memory_has_room_for_are_refused(go2, monkeypatch):
    monkeypatch.setattr(pybullet_workers, "_free_megabytes", lambda: 100.0)
    with pytest.raises(InputError, match=r"num_envs.*at most 3 robots.*33 MB, and 100 MB are free.*num_envs=64"):
        sim.make("pybullet", go2, 4, DT, threads=2)


@pytest.mark.slow
def test_an_error_in_a_worker_is_told_in_its_words(go2):
    simulator = sim.make("pybullet", go2, 2, DT, threads=2)
    with pytest.raises(LostWorkerError, match="'Batch' object has no attribute 'dance'"):
        simulator._crew.do("dance")


PARENT = """
import sys, time, robots, sim
simulator = sim.make("pybullet", robots.load("unitree_go2"), 2, 0.005, threads=2)
print(*[process.pid for process, _ in simulator._crew._workers], flush=True)
{}
"""


@pytest.mark.parametrize(
    ("does", "how"),
    [
        ("while True: simulator._do('step', 50)", signal.SIGKILL),
        pytest.param("time.sleep(60)", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("simulator._crew._workers[1][0].send_signal(19); time.sleep(60)", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("raise SystemExit", None, marks=pytest.mark.slow),
    ],
    ids=["stepping", "idle", "one of them stopped", "leaves without a close"],
)
def test_no_process_and_no_memory_outlive_the_parent(does, how):
    names = set(os.listdir("/dev/shm"))
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(does)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    if how:
        assert not any(ended(pid) for pid in workers)
        parent.send_signal(how)
    parent.wait(30)
    parent.stdout.close()
    assert within(30.0, lambda: all(ended(pid) for pid in workers))
    assert not [name for name in set(os.listdir("/dev/shm")) - names if "bullet" in name or "psm" in name]


def test_ctrl_c_in_a_terminal_is_the_parents(three):
    """A terminal tells its whole process group; workers are in groups of their own."""
    assert {os.getpgid(pid) for pid in pids(three[2])} == set(pids(three[2]))


def test_a_worker_that_is_killed_is_one_clear_error_and_the_others_end(three, go2):  # the last: it spoils the robots
    simulator = three[2]
    workers = pids(simulator)
    os.kill(workers[1], signal.SIGKILL)
    within(5.0, lambda: ended(workers[1]))
    with pytest.raises(LostWorkerError, match=rf"worker 2 of 3 \(process {workers[1]}\): ended by signal 9") as caught:
        simulator.step(standing(go2, N).joint_pos, 4)
    assert "\n" not in str(caught.value)
    assert within(5.0, lambda: all(ended(pid) for pid in workers))
    with pytest.raises(LostWorkerError, match="none is left"):
        simulator.step(standing(go2, N).joint_pos, 4)
