"""'locomotion logs': what a run's log says in words, on a page, mended and replayed."""

import numpy as np
import pytest

from deploy.log_reader import read_log
from locomotion.cli import main
from locomotion.evaluation import log_figures
from tests.deploy import bundles, recorded


@pytest.fixture(scope="module")
def ran(tmp_path_factory, go2):
    """A folder with a run's policy.onnx and log.mcap."""
    folder = tmp_path_factory.mktemp("logs")
    bundle = bundles.write_tiny(folder / "policy.onnx", go2, weight=0.01)
    recorded.run(bundle, go2, folder / "log.mcap", 8.0)
    return folder


def test_show_says_what_happened_and_when(ran, capsys):
    assert main(["logs", "show", str(ran / "log.mcap")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "robot unitree_go2" in said
    assert "file closed" in said
    assert "0 lost" in said
    assert "gaps 0" in said
    assert "0.00 s stand_up 2.00 s" in said
    assert "2.00 s transition stand_up -> check" in said
    assert "compute" in said


def test_the_figures_are_those_of_the_columns(ran):
    log = read_log(ran / "log.mcap")
    c = log.columns
    states, begins, ends = zip(*log_figures.phases(log), strict=True)
    assert states == ("stand_up", "check", "walk", "settle", "fault")
    assert begins[1:] == ends[:-1]
    for state, begin, end in log_figures.phases(log):
        assert set(c["state"][(c["time"] >= begin) & (c["time"] < end)]) == {state}
    c["time"][100:] += 0.5
    assert log_figures.gaps(log) == [pytest.approx((c["time"][99], 0.52))]
    c["joint_torque"][50, 2] = -0.75 * log.robot["effort_limit"][2]
    assert log_figures.torque_share(log)[50, 2] == pytest.approx(0.75)
    assert any("75% of the limit (FL_calf_joint at 1.00 s)" in line for line in log_figures.lines(log))
    walking = np.flatnonzero(c["state"] == "walk")[5]
    c["asked_joint_pos_target"][walking, 7] = c["joint_pos_target"][walking, 7] + 0.25
    assert any("changed 1 of" in line and "0.250 rad (RL_thigh_joint" in line for line in log_figures.lines(log))
    c["projected_gravity"][10] = (0.0, np.sin(0.5), -np.cos(0.5))
    assert any(f"at most {np.degrees(0.5):.1f} degrees, at 0.20 s" in line for line in log_figures.lines(log))


def test_plot_writes_one_page_with_its_pictures(ran, tmp_path, capsys):
    page = tmp_path / "log.html"
    assert main(["logs", "plot", str(ran / "log.mcap"), f"output={page}"]) == 0
    text = page.read_text()
    assert text.count("data:image/png") == 2
    assert "stand_up -&gt; check" in text


def test_a_log_that_was_cut_is_shown_plotted_and_mended(ran, tmp_path, capsys):
    cut = tmp_path / "cut.mcap"
    cut.write_bytes((ran / "log.mcap").read_bytes()[:300_000])
    assert main(["logs", "show", str(cut)]) == 0
    assert "ends early" in capsys.readouterr().out
    assert main(["logs", "plot", str(cut)]) == 0
    assert main(["logs", "repair", str(cut)]) == 0
    before, after = read_log(cut), read_log(tmp_path / "cut.whole.mcap")
    assert after.damage == ""
    for name, values in before.columns.items():
        np.testing.assert_array_equal(after.columns[name], values)
    assert main(["logs", "repair", str(tmp_path / "cut.whole.mcap")]) == 0
    assert "nothing was changed" in capsys.readouterr().out


def test_replay_tells_the_policy_that_ran_from_another(ran, tmp_path, capsys, go2):
    assert main(["logs", "replay", str(ran / "log.mcap"), f"policy={ran / 'policy.onnx'}"]) == 0
    assert " 0 decided otherwise" in capsys.readouterr().out
    other = bundles.write_tiny(tmp_path / "other.onnx", go2, weight=0.02, seed=1)
    assert main(["logs", "replay", str(ran / "log.mcap"), f"policy={other}"]) == 1
    said = capsys.readouterr().out
    assert "another policy" in said
    assert "joint_pos_target" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["logs"], "one of show"),
        (["logs", "shw"], "Did you mean show"),
        (["logs", "show", "none.mcap"], "a file that can be read"),
        (["logs", "plot"], "an .mcap file"),
        (["logs", "replay", "log.mcap"], "policy="),
    ],
)
def test_wrong_input_is_one_clear_error(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said
