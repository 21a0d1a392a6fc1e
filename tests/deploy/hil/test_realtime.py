"""Faults in real time: how a verdict is come to, and the whole of it, in processes of their own over DDS."""

import math
import signal
import time
from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

import configs
import robots
from deploy.hil import realtime
from deploy.hil.faults import MODES, NOTHING, SIDES, During, Hooks, Side
from deploy.hil.floor import Floor, Stall, fell_in
from deploy.hil.realtime import MOST_LATE, WIRE, _outcome
from deploy.hil.stage import Seen, Times, quaternion_of
from deploy.hil.suite import judged, parse, report
from deploy.hil.truth import Truth
from deploy.policy import RobotPolicy, load
from deploy.unitree.interface import projected_gravity
from robots import InputError
from sim.mujoco_model import build_model

TIMES = Times(begin=10.0, start=11.0, stop=math.inf, end=13.0)
SUITE = Path(configs.__file__).parent / "suites/realtime.yaml"


def case(fault, phase="ready", **expected):
    top = {"conditions": {"noise": 1.0}, "command": [0.3, 0, 0], "seconds": 2.0}
    entry = {"fault": fault, phase: {"response": "damping", "at": 0.5, **expected}}
    return parse(yaml.safe_dump({**top, "cases": {"it": entry}}), 3, 12, "realtime")[0]


@pytest.fixture(scope="module")
def truth(go2):
    return lambda: Truth(go2, build_model(go2, 0.001))


def heard(held_until, damped_from=math.inf, end=13.0):
    times = np.arange(10.0, end, 0.002)
    times = times[(times < held_until) | (times >= damped_from)]
    return np.column_stack([times, times < held_until])


def outcome(truth, rows, told=(), said="", fault="stale", late=0.0, skipped=0.0, stalls=()):
    return _outcome(case(fault), TIMES, Seen(truth(), 0.5, rows, (11.2, late), skipped), [("late", 10.0, 0.0), *told], said, stalls)


def test_what_the_guard_found_is_timed_by_what_the_robot_heard(truth):
    said = "guard: holds the wire\nguard: damping: no fresh state of the robot. Token to reset it: 123456.\n"
    told = [
        ("event", 11.017, "crash", "GuardTripped: the guard damps: no fresh state of the robot")
    ]  # a post that the guard did not follow
    found = outcome(truth, heard(11.018, 11.018), told, said)
    assert (found.detected, found.by, found.response) == ("no fresh state of the robot", "guard", "damping")
    assert found.detection_ms == pytest.approx(18.0, abs=2.1)
    assert found.commands_after_latch == 0
    assert not found.slow


def test_what_the_supervisor_found_first_is_not_the_guards_and_mild_findings_damp_nothing(truth):
    said = "guard: damping: the runtime is done."
    found = outcome(truth, heard(11.103, 11.103), [("event", 11.1, "frozen", "5 is above"), ("event", 11.1, "crash", "later")], said)
    assert (found.detected, found.by, found.detection_ms, found.response) == ("frozen", "supervisor", 100.0, "damping")
    mild = outcome(
        truth, heard(13.0), [("event", 11.5, "operator_silent", "hold: 0.51 is above"), ("event", 12.0, "operator_silent", "over")]
    )
    assert (mild.detected, mild.detection_ms, mild.response) == ("operator_silent", 500.0, "hold")
    assert outcome(truth, heard(13.0)).response == "none"
    assert outcome(truth, heard(13.0), [("event", 10.5, "tilt", "hold: before the fault")]).detected == ""


def test_the_time_of_a_fault_in_the_runtime_is_that_of_the_step_at_which_it_began(truth):
    found = outcome(truth, heard(11.03, 11.03), [("began", 11.015)], "guard: damping: the runtime is gone.", fault="killed")
    assert found.detection_ms == pytest.approx(15.0, abs=2.1)


def test_a_command_that_holds_after_the_latch_counts_once_it_cannot_have_been_on_its_way(truth):
    late = outcome(truth, heard(11.02 + WIRE), [("event", 11.02, "tilt", "1 is above")])
    assert late.commands_after_latch == 0
    assert outcome(truth, heard(11.02 + WIRE + 0.011), [("event", 11.02, "tilt", "1 is above")]).commands_after_latch in (5, 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"late": MOST_LATE["physics"] + 0.001}, "physics 6 ms late"),
        ({"rows": np.delete(heard(13.0), slice(100, 105), axis=0)}, "guard 12 ms late"),
        ({"told": [("late", 10.505, 0.0061)]}, "runtime 6 ms late"),
    ],
)
def test_a_machine_that_stood_still_is_named_and_what_fails_is_not_judged(truth, change, words):
    """The guard's 12 ms are those from 10.2 s on; physics is no part of what is tested, and late where nobody knows why, too."""
    rows = change.pop("rows", heard(13.0))
    ours = judged(outcome(truth, rows, **change, stalls=[Stall(11.6, 0.04, 1)]), case("stale").expected)  # it stood still, but then
    assert bool(ours.slow) is ("late" in change)
    assert report([ours])["failed"] == ("late" not in change)
    slow = judged(outcome(truth, rows, **change, stalls=[Stall(10.2, 0.012, 0), Stall(10.5, 0.005, 0)]), case("stale").expected)
    assert slow.slow == f"{words}, CPU 0 stood still for 12 ms at -0.800 s, CPU 0 stood still for 5 ms at -0.500 s"
    assert slow.failures
    counts = report([slow])
    assert (counts["failed"], counts["not_judged"], counts["passed"]) == (0, 1, False)
    after = outcome(truth, heard(13.0), [("late", 11.5, 0.5)])  # what the fault did to the runtime is no slowness of the machine
    assert not after.slow
    assert judged(after, case("stale").expected).failures


def test_a_runtime_that_never_began_is_the_machines_fault(truth):
    assert "runtime" in _outcome(case("killed"), TIMES, Seen(truth(), 0.0, heard(10.0), (0.0, 0.0), 0.0), [], "").slow


def test_each_fault_has_a_side_and_a_mode_refuses_those_of_the_other():
    for mode, other in (("lockstep", Side.WIRE), ("realtime", Side.LOCKSTEP)):
        for fault, side in SIDES.items():
            if side is other:
                with pytest.raises(InputError, match=f"mode={mode}"):
                    parse(yaml.safe_dump({"cases": {"a": {"fault": fault, "ready": {"response": "none"}}}}), 3, 12, mode)
    assert set(MODES["realtime"]) & set(MODES["lockstep"]) == {Side.ROBOT, Side.RUNTIME}


def test_the_suite_has_the_kinds_of_fault_that_a_wire_can_carry():
    cases = parse(SUITE.read_text(), 3, 12, "realtime")
    assert len({case.name for case in cases}) >= 40
    assert {SIDES[case.fault] for case in cases} == set(MODES["realtime"])
    with pytest.raises(InputError):
        parse(SUITE.read_text(), 3, 12, "lockstep")


def test_hooks_are_in_force_while_their_fault_lasts():
    calls = []
    during = During(Hooks(begin=lambda: calls.append("begin"), end=lambda: calls.append("end")), 1.0, 2.0)
    assert [during(t) is NOTHING for t in (0.9, 1.0, 1.9, 2.0, 2.1)] == [True, False, False, True, True]
    assert calls == ["begin", "end"]


def test_a_quaternion_of_gravity_gives_that_gravity_and_no_yaw():
    rng = np.random.default_rng(0)
    for gravity in [*rng.standard_normal((50, 3)), np.array([0.0, 0.0, -1.0]), np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, -9.81])]:
        quaternion = quaternion_of(gravity)
        np.testing.assert_allclose(projected_gravity(quaternion), gravity, atol=1e-7 * np.linalg.norm(gravity))
        assert quaternion[3] == 0.0
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, quaternion / np.linalg.norm(quaternion))
        np.testing.assert_allclose(rotation.reshape(3, 3).T @ [0, 0, -1], gravity / np.linalg.norm(gravity), atol=1e-7)
    assert np.isnan(quaternion_of(np.array([0.0, np.nan, 1.0]))).any()


@pytest.mark.parametrize(("fault", "by"), [("stale", "guard"), ("killed", "guard")])
def test_over_dds_a_standing_robot_is_damped_and_what_was_slow_is_said(bundle, go2, fault, by):
    """On a machine that keeps up within 25 ms; on any, it hears damping and is never asked for more than it has."""
    robot = RobotPolicy(load(bundle), robots.load("unitree_go2")).robot
    (result,) = realtime.run([case(fault, at=0.5, seconds=1.0, within=0.025, may_fall=False)], bundle, robot)
    assert result.slow or not result.failures, result
    assert result.commanded_torque <= 1.0
    if not result.slow:
        assert (result.by, result.response, result.commands_after_latch) == (by, "damping", 0)


def test_a_sleeper_that_is_held_up_says_when_and_for_how_long():
    """By a signal that stops it, as a host stops a machine."""
    with Floor() as floor:
        begin = time.monotonic()
        floor._sleepers[0].send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        floor._sleepers[0].send_signal(signal.SIGCONT)
        end = time.monotonic()
        time.sleep(0.1)
        (stall,) = [stall for stall in floor.stalls(begin) if stall.seconds > 0.2]
        assert begin - 0.05 < stall.begin < begin + 0.05
        assert stall.end == pytest.approx(end, abs=0.05)
        assert stall in floor.stalls(begin + 0.1, begin + 0.2)
        assert not [late for late in floor.stalls(end + 0.09) if late.seconds > 0.2]


def test_what_was_late_in_a_stall_is_the_machines_and_what_was_late_elsewhere_is_not():
    stalls = [Stall(1.0, 0.04, 0)]
    assert fell_in(1.039, 0.03, stalls)
    assert fell_in(1.042, 0.005, stalls)  # the queue behind it
    assert not fell_in(1.1, 0.03, stalls)
    assert not fell_in(0.99, 0.03, stalls)
    assert not fell_in(1.02, 0.03, [])


@pytest.mark.slow
def test_the_whole_suite_has_one_outcome_a_case(bundle):
    cases = [case for case in parse(SUITE.read_text(), 3, 12, "realtime") if case.phase == "ready"]
    robot = RobotPolicy(load(bundle), robots.load("unitree_go2")).robot
    outcomes = list(realtime.run(cases, bundle, robot))
    assert [outcome.case for outcome in outcomes] == [case.name for case in cases]
    assert all(outcome.slow or not outcome.failures for outcome in outcomes), outcomes
