"""Faults, and how they are judged: by what happened to the plant, the same each time, and harmful where nothing guards."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import configs
from deploy.hil.faults import FAULTS, MODES, SIDES
from deploy.hil.suite import Expectation, Outcome, _failures, parse, run, run_case
from deploy.policy import RobotPolicy, load
from locomotion.cli import main
from robots import InputError
from tests.deploy.plants import Deployment

DEFAULT = Path(configs.__file__).parent / "suites/default.yaml"
OUTCOME = Outcome(
    "case", "walking", "frozen", {}, "frozen", "supervisor", 100.0, "damping", 0.9, 1.2, 0.0, 0.3, False, 0.0, 0, 100.0, ""
)  # fmt: skip


@pytest.fixture
def trotter(bundle, go2):
    return Deployment(bundle, go2).trot().policy


def case(name, phase, fault=None, **more):
    entry = {"fault": fault or name, phase: {"response": ["none", "warning", "hold", "damping"]}, **more}
    top = {"conditions": {"noise": 1.0, "seed": 3}, "command": [0.3, 0, 0], "at": {"walking": 0.6}, "seconds": 1.0}
    return parse(yaml.safe_dump({**top, "cases": {name: entry}}), 3, 12)[0]


def test_the_same_case_gives_the_same_outcome_to_the_last_bit(bundle, go2):
    flips = case("bit_flips", "walking")
    first, second = (run_case(Deployment(bundle, go2).trot().policy, flips) for _ in range(2))
    assert first == second
    other = run_case(Deployment(bundle, go2).trot().policy, replace(flips, conditions=replace(flips.conditions, seed=4)))
    assert other.impact != first.impact


def test_nothing_is_found_where_nothing_fails(trotter):
    outcome = run_case(trotter, case("nothing", "walking"))
    assert (outcome.detected, outcome.response, outcome.fell, outcome.ending) == ("", "none", False, "")
    assert 0.1 < outcome.torque < 1.0
    assert outcome.commanded_torque == pytest.approx(outcome.torque, rel=0.2)  # sensors are nearly right


def test_a_robot_that_is_turned_over_comes_to_lie_on_its_back_and_is_not_driven_there(trotter):
    outcome = run_case(trotter, case("turn_over", "ready"))
    assert outcome.max_tilt > 2.3
    assert (outcome.response, outcome.fell, outcome.driven_after_fall) == ("damping", True, 0.0)


@pytest.mark.parametrize(
    ("fault", "settings", "by", "ms"),
    [
        ("stale", {}, "guard", (14, 18)),
        ("hung", {}, "guard", (14, 18)),
        ("killed", {}, "guard", (0, 20)),
        ("clock_jump", {}, "guard", (0, 20)),
        ("encoder_stuck", {}, "supervisor", (180, 260)),
        ("not_a_number", {"signal": "base_ang_vel", "element": 1}, "supervisor", (20, 20)),
        ("not_a_number", {}, "guard", (14, 18)),  # it cannot clamp by such samples, which are none to it
    ],
)
def test_found_by_and_after(trotter, fault, settings, by, ms):
    outcome = run_case(trotter, case(fault, "walking", settings=settings))
    assert (outcome.by, outcome.response, outcome.commands_after_latch, outcome.fell) == (by, "damping", 0, False)
    assert ms[0] <= outcome.detection_ms <= ms[1]
    assert outcome.commanded_torque <= 1.0


def test_without_a_supervisor_the_same_faults_do_harm(bundle, go2):
    """So the matrix proves something: the robot is asked for more than it has, falls, and is driven on."""
    policy = Deployment(bundle, go2).trot().policy
    over = case("push", "walking", settings={"velocity": [0.0, 4.0, 0.0]}, seconds=2.0)
    guarded, bare = (run_case(policy, over, supervised) for supervised in (True, False))
    assert bare.fell
    assert bare.driven_after_fall > 0.3
    assert guarded.response == "damping"
    assert guarded.driven_after_fall <= 0.06
    far = case("policy_far", "walking")
    guarded, bare = (run_case(policy, far, supervised) for supervised in (True, False))
    assert bare.commanded_torque > 10.0
    assert guarded.commanded_torque <= 1.0 + 1e-6


def test_a_wrong_unit_moves_no_motor(trotter):
    """The guard, too, clamps by nothing that joints cannot be."""
    outcome = run_case(trotter, case("scaled", "ready"))
    assert outcome.commanded_torque <= 1.0
    assert outcome.torque < 0.5


def test_worlds(bundle, go2):
    policy = Deployment(bundle, go2).trot().policy
    held = run_case(policy, case("held_in_the_air", "ready", seconds=1.5))
    assert held.max_tilt < 0.2
    assert run_case(policy, case("push", "walking", settings={"velocity": [0.0, 6.0, 2.0]}), supervised=False).max_tilt > 0.3
    dead = run_case(policy, case("dead", "walking", fault="motors_weak", settings={"joints": [2]}))
    assert dead.detected == "torque_error"


@pytest.mark.parametrize(
    ("changed", "expected", "words"),
    [
        ({}, {}, []),
        ({"commanded_torque": 1.01}, {}, ["101 % of its limit"]),
        ({"commands_after_latch": 1}, {}, ["after damping was decided on"]),
        ({"driven_after_fall": 0.062}, {}, ["after it fell"]),
        ({"driven_after_fall": 0.062}, {"deaf": True}, []),
        ({"response": "hold"}, {}, ["was hold, not damping"]),
        ({}, {"within": 0.099}, ["after 100 ms, not 99"]),
        ({}, {"within": 0.1}, []),
        ({"detection_ms": None, "detected": ""}, {"within": 1.0}, ["nothing was found"]),
        ({}, {"by": ("stale_state", "tilt")}, ["not stale_state or tilt"]),
        ({"fell": True}, {"may_fall": False}, ["it fell"]),
        ({}, {"torque": 1.1}, ["told 120 % of its limit"]),
    ],
)
def test_what_fails_a_case(changed, expected, words):
    failures = list(_failures(replace(OUTCOME, **changed), Expectation(("damping",), **expected)))
    assert len(failures) == len(words)
    assert all(word in failure for word, failure in zip(words, failures, strict=True))


def test_the_default_suite_has_every_fault_in_every_phase():
    cases = parse(DEFAULT.read_text(), 3, 12)
    names = {case.name for case in cases}
    assert len(names) > 40
    assert len(cases) > 120
    assert {case.fault for case in cases} == {name for name in FAULTS if SIDES[name] in MODES["lockstep"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cases: {a: {fault: frozn, ready: {response: none}}}", "Did you mean frozen"),
        ("cases: {a: {fault: frozen, settings: {signal: joint_pos}, ready: {response: none}}}", "a setting of frozen: signals"),
        ("cases: {a: {fault: frozen, settings: {signals: [joint]}, ready: {response: none}}}", "signals: base_ang_vel"),
        ("cases: {a: {fault: push, settings: {velocity: [0, x]}, ready: {response: none}}}", "a number"),
        ("cases: {a: {fault: encoder_step, settings: {joint: 12}, ready: {response: none}}}", "joints from 0 to 11"),
        ("cases: {a: {fault: frozen}}", "no phase"),
        ("cases: {a: {fault: frozen, ready: {}}}", "cases.a.ready.response"),
        ("cases: {a: {fault: frozen, ready: {response: dampng}}}", "cases.a.ready.response"),
        ("cases: {a: {fault: frozen, ready: {response: none, within: -1}}}", "cases.a.ready.within"),
        ("cases: {a: {fault: frozen, ready: {response: none, wihin: 1}}}", "Did you mean within"),
        ("cases: {a: {fault: frozen, rady: {response: none}}}", "Did you mean ready"),
        ("conditions: {noise: loud}", "conditions.noise"),
        ("command: [0.5]", "3 numbers"),
        ("cases: {}", "at least one"),
        ("cases: [", "YAML"),
        ("- a", "a table"),
    ],
)
def test_a_suite_says_what_is_wrong_with_it(text, words):
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        parse(text, 3, 12)


def test_own_cases_from_the_command_line(bundle, tmp_path, capsys):
    """Exit status 1 where what must happen does not; the verdict is in JSON and on a page."""
    suite = {"seconds": 0.3, "cases": {name: {"fault": "nothing", "ready": {"response": word}} for name, word in
                                       (("fine", "none"), ("wrong", "damping"))}}  # fmt: skip
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(suite))
    words = ["hil", "run", f"policy={bundle}", f"suite={file}", f"output={tmp_path / 'out'}"]
    assert main(words) == 1
    assert "wrong, ready: the response was none, not damping" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/faults.json").read_text())["supervised"]
    assert [bool(outcome["failures"]) for outcome in report["outcomes"]] == [False, True]
    assert "the response was none, not damping" in (tmp_path / "out/faults.html").read_text()
    assert main([*words, "cases=[fine]"]) == 0
    file.write_bytes(b"\xff\xfe")
    assert main(words) == 2
    assert "suite" in capsys.readouterr().err
    assert main([*words, "cases=[other]"]) == 2


def test_outcomes_come_in_the_order_of_the_cases_from_two_processes(bundle, go2):
    cases = [replace(case("stale", "ready"), name=str(i), seconds=0.2 + 0.1 * (i % 2)) for i in range(3)]
    outcomes = list(run(cases, bundle, RobotPolicy(load(bundle), go2).robot, True, 2))
    assert outcomes == [run_case(RobotPolicy(load(bundle), go2), one) for one in cases]
    assert np.all([outcome.by == "guard" for outcome in outcomes])


def test_workers_do_not_outlive_a_run_that_is_killed(bundle, tmp_path):
    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"cases": {f"fine_{i}": {"fault": "nothing", "ready": {"response": "none"}} for i in range(60)}}))
    words = [sys.executable, "-m", "locomotion.cli", "hil", "run", f"policy={bundle}", f"suite={suite}", f"output={tmp_path}/out", "jobs=2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        while "fine_0" not in running.stdout.readline():
            assert running.poll() is None
        workers = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        running.kill()
    assert len(workers) >= 2
    until = time.monotonic() + 20.0
    while alive := [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until, alive
        time.sleep(0.05)
