"""A page is written of whatever a run's folder holds, and nothing in a file becomes part of the page's code."""

import contextlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

import robots
from deploy import log_reader
from deploy.interface import RobotState, damping_command
from deploy.log import Recorder
from deploy.policy import load
from deploy.supervisor import Limits
from locomotion.evaluation import plots, report
from locomotion.evaluation.documents import read_deployment, read_log, read_scorecard
from robots import InputError
from tests.locomotion.evaluation.conftest import metrics_row, write_run

FEET = ["FL_foot", "FR_foot", "RL_foot", "RR_foot"]
HOSTILE = "<script>alert(1)</script>$\\frac{\ud800\x00"


def gait_section(feet=FEET, apex=0.07):
    f = len(feet)
    walk = {
        "command": [0.5, 0.0, 0.0], "fell": False, "apex": [apex] * f, "touchdown": [0.7] * f, "slide": [0.1] * f, "peak_force": [0.9] * f,
        "duty": [0.5] * f, "foothold": [0.01] * f, "bias": [0.02, -0.01, 0.0], "frequency": 2.0, "height": 0.3, "height_swing": 0.01,
        "sway": 0.01, "cost": 0.55, "cost_net": 0.2,
    }  # fmt: skip
    return {
        "feet": list(feet),
        "walking": {"forward 0.5": walk, "stand": {"command": [0, 0, 0], "fell": True, "apex": None}},
        "standing": {
            "robots": 8, "seconds": 60.0, "fell": 0.0, "steps": [0.0] * f, "drift": 0.01, "joint_speed": 0.1, "settling": 0.5,
            "settling_worst": None,
        },
        "traces": {"forward 0.8": {"dt": 0.004, "sole_height": [[0.0, 0.05]] * f, "contact": [[1, 0]] * f, "base_height": [0.3, 0.31]}},
    }  # fmt: skip


def scores(**more):
    return {"tracking_score": 0.9, "yaw_score": 0.9, "fall_rate": 0.0, "episodes": 36, **more}


def summary(**more):
    loop = {"period_ms": 20.0, "lateness_us": {"p50": 1.0, "p99": 2.0, "p99.9": 3.0, "max": 4.0}, "compute_us": {}, "inference_us": {}}
    events = [{"time": 0.0, "state": "idle", "kind": "transition", "detail": "idle -> stand_up"}]
    return {"passed": True, "robot": "unitree_go2", "seconds": {"walk": 1.0}, "interventions": {}, "events": events, "loop": loop, **more}


def log(joints=12, feet=4, steps=40):
    rng = np.random.default_rng(0)
    return {
        "time": 0.02 * np.arange(steps), "state": np.array(["stand_up"] * 5 + ["walk"] * (steps - 5)), "command": np.zeros((steps, 3)),
        "base_ang_vel": rng.normal(size=(steps, 3)), "joint_pos": rng.normal(size=(steps, joints)),
        "joint_torque": rng.normal(size=(steps, joints)), "foot_contact_force": rng.normal(size=(steps, feet, 3)),
    }  # fmt: skip


def faults():
    """As of 'locomotion hil run' with supervisor=both: one fault, found, and what it would have done."""
    outcome = {
        "case": "imu_frozen", "phase": "walking", "detected": "frozen", "by": "supervisor", "detection_ms": 100.0, "response": "damping",
        "commanded_torque": 0.5, "beyond_limit": 0.0, "fell": False, "driven_after_fall": 0.0, "slow": "", "failures": [],
    }  # fmt: skip
    harm = outcome | {"detected": "", "detection_ms": None, "response": "none", "fell": True, "driven_after_fall": 1.5}
    counts = dict.fromkeys(("failed", "not_judged", "detected", "fell", "driven_after_fall", "over_torque", "held_after_latch"), 0)
    ways = {"supervised": outcome, "unsupervised": harm}
    return {name: {"passed": True, "cases": 1, "outcomes": [one]} | counts for name, one in ways.items()}


def keep(path, contract, columns):
    """A log of a run with ``columns``."""
    robot = robots.load(contract.robot)
    recorder, zeros = Recorder(path, robot, contract, Limits()), np.zeros(robot.num_joints)
    for tick, (time, state) in enumerate(zip(columns["time"], columns["state"], strict=True)):
        row = {name: values[tick] for name, values in columns.items()}
        measured = {name: row[name] for name in ("base_ang_vel", "joint_pos", "joint_torque")}
        truth = {"foot_contact_force": row["foot_contact_force"]}
        sample = RobotState(time, tick, projected_gravity=np.array([0.0, 0.0, -1.0]), joint_vel=zeros, truth=truth, **measured)
        recorder.record(time, sample, row["command"], damping_command(robot.num_joints, 3.0), state, (0.0, 0.0, 0.0))
    recorder.close()


@pytest.fixture
def run(tmp_path, standing_bundle):
    """A folder with everything in it."""
    folder = write_run(tmp_path / "run", [metrics_row(i) for i in (1, 2, 3)])
    (folder / "scorecard.json").write_text(json.dumps({"scores": {"mujoco": {"nominal": scores()}}, "gait": gait_section()}))
    (folder / "deploy.json").write_text(json.dumps(summary()))
    (folder / "faults.json").write_text(json.dumps(faults()))
    shutil.copy(standing_bundle, folder / "policy.onnx")
    keep(folder / "deploy_log.mcap", load(standing_bundle).contract, log())
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are made, but not turned into pixels, which takes most of a page's time."""
    monkeypatch.setattr(report, "picture", lambda figure, alternative: f"<img alt='{alternative}'>")


def text(folder):
    return report.write(folder).read_text()


def test_everything_is_shown(run):
    page = text(run)
    assert "Cannot be shown" not in page
    assert page.count("<img") == 5  # learning, feet, commands, contacts, joints
    found = "damping, frozen, 100 ms; without: fell, driven 1.5 s after it"
    for shown in ("0.900", "7.0 7.0 7.0 7.0", "at most 0.6", "passed", "idle -&gt; stand_up", "locomotion train", found):
        assert shown in page


def test_figures_are_judged_by_their_targets(run, undrawn):
    def cell(apex):
        (run / "scorecard.json").write_text(json.dumps({"scores": {}, "gait": gait_section(apex=apex)}))
        return text(run)

    good = cell(0.07)
    assert '<td class="good">7.0 7.0 7.0 7.0</td>' in good
    assert '<td class="bad">never</td>' in good  # it did not settle
    assert '<td class="bad">fell</td>' in good
    assert '<td class="bad">4.9 4.9 4.9 4.9</td>' in cell(0.049)
    assert '<td class="bad">9.1 9.1 9.1 9.1</td>' in cell(0.091)


@pytest.mark.parametrize("rows", [[], [metrics_row(1)], [metrics_row(1), {"iteration": 2}]])
def test_a_short_run_without_anything_else(tmp_path, rows):
    page = text(write_run(tmp_path / "run", rows))
    for missing in ("No video", "Not scored", "Not measured", "Not run"):
        assert missing in page


def test_a_folder_that_is_no_run_is_one_error(tmp_path):
    with pytest.raises(InputError, match="locomotion train"):
        report.write(tmp_path)
    write_run(tmp_path / "run", [])
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="locomotion train"):
        report.write(tmp_path / "run")


def test_nothing_from_a_file_becomes_code(run):
    write_run(run, [metrics_row(1, **{f"reward/{HOSTILE}": 0.1, HOSTILE: HOSTILE, "steps_per_second": 10**400})])
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"seed": "<script>", "robot": "<script>"}
    config["task"]["name"] = "<script>"
    (run / "config.yaml").write_text("# <script>\n" + yaml.safe_dump(config))
    card = {"scores": {HOSTILE: {HOSTILE: {"tracking_score": 1e308, "episodes": None}}}, "gait": gait_section([HOSTILE] * 4)}
    card["gait"]["walking"] = {HOSTILE: card["gait"]["walking"]["forward 0.5"]}
    card["gait"]["traces"] = {HOSTILE: card["gait"]["traces"]["forward 0.8"]}
    (run / "scorecard.json").write_text(json.dumps(card))
    event = {"time": 0.0, "kind": "<script>", "detail": HOSTILE}
    hostile = summary(events=[event], seconds={"<script>": 1.0}, interventions={HOSTILE: 1})
    (run / "deploy.json").write_text(json.dumps(hostile))
    page = text(run)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "Cannot be shown" not in page


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scorecard.json", "{"), ("scorecard.json", "[" * 100_000), ("scorecard.json", '{"scores": [1]}'),
        ("scorecard.json", '{"scores": {"mujoco": {"nominal": {"tracking_score": "high"}}}}'),
        ("scorecard.json", '{"scores": {}, "gait": {}}'),
        ("deploy.json", "null"), ("deploy.json", '{"passed": "yes"}'), ("deploy.json", '{"passed": true, "events": [{}]}'),
        ("deploy.json", '{"passed": true, "loop": {"period_ms": null}}'), ("deploy_log.mcap", "no log"), ("policy.onnx", "no graph"),
        ("faults.json", "null"), ("faults.json", '{"supervised": {"passed": true, "outcomes": [{}]}}'),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_in_its_place_and_the_rest_is_shown(run, undrawn, name, content):
    (run / name).write_text(content)
    page = text(run)
    assert "Cannot be shown" in page
    assert "learning curves" in page
    assert "locomotion train" in page


@pytest.mark.parametrize(
    "change",
    [
        {"joint_pos": np.zeros((40, 11))}, {"foot_contact_force": np.zeros((40, 4))},
        {"base_ang_vel": None}, {"time": np.full(40, np.nan)}, {"time": np.zeros(40)}, {"joint_torque": np.full((40, 12), np.inf)},
    ],
)  # fmt: skip
def test_a_log_of_another_shape_is_no_traceback(run, undrawn, change, monkeypatch):
    columns = {name: value for name, value in (log() | change).items() if value is not None}
    monkeypatch.setattr(log_reader, "read_log", lambda path: SimpleNamespace(columns=columns))
    assert "Behind the safety layer" in text(run)


def test_flipped_bytes_are_clear_errors(run):
    rng = np.random.default_rng(0)
    for name, read in (("scorecard.json", read_scorecard), ("deploy.json", read_deployment), ("deploy_log.mcap", read_log)):
        good = (run / name).read_bytes()
        for _ in range(150):
            bad = bytearray(good)
            bad[rng.integers(len(bad))] = rng.integers(256)
            (run / name).write_bytes(bad)
            with contextlib.suppress(InputError):
                read(run / name)


def test_a_biped_with_29_joints(go2):
    names = tuple(f"joint_{i}" for i in range(29))
    robot = replace(
        go2,
        feet=("left_foot", "right_foot"),
        joint_names=names,
        joint_pos_limit=np.tile([-1.0, 1.0], (29, 1)),
        effort_limit=np.full(29, 9.0),
    )
    columns = log(joints=29, feet=2)
    assert len(plots.joints(columns, robot).axes) == 60
    assert sum(axis.get_visible() for axis in plots.joints(columns, robot).axes) == 58
    plots.contacts(columns, robot)
    plots.commands(columns)


def test_a_page_that_cannot_be_written_is_one_error(run):
    (run / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html"):
        report.write(run)


def test_rates_are_per_step_whatever_is_missing():
    rows = [metrics_row(1), metrics_row(4, falls=float("nan")), metrics_row(10)]
    seconds, rate = plots.per_thousand_steps(rows, "falls")
    assert seconds.tolist() == [2.0, 20.0]
    assert rate == pytest.approx([1000 / 48, 1000 / 48])


def test_what_the_policy_estimates_is_told_beside_what_guessing_comes_to(tmp_path):
    figures = {
        "estimate/base_lin_vel": 0.123,
        "estimate/base_lin_vel of": 0.456,
        f"estimate/{HOSTILE}": "x",
        f"estimate/{HOSTILE} of": None,
    }
    page = report.write(write_run(tmp_path / "run", [metrics_row(1), metrics_row(2, **figures)])).read_text()
    assert "RMS error" in page
    assert "<td>0.123</td><td>0.456</td>" in page
    assert "<script>alert" not in page
    assert "RMS error" not in report.write(write_run(tmp_path / "plain", [metrics_row(1)])).read_text()
