"""The excitation is safe for the robot, and the bundle plays it as it is."""

import numpy as np
import pytest

import robots
from deploy.hil.simulated_robot import Conditions
from deploy.policy import RobotPolicy, load
from locomotion.commands import excite as command
from locomotion.identification import excitation, excite
from robots import InputError
from robots.actuator import POSITION_MARGIN
from tests.locomotion.identification import plants

SECONDS = 26.0


@pytest.fixture(scope="module")
def targets(go2):
    return excitation.on_ground(go2, SECONDS, plants.DT, seed=0)


@pytest.fixture(scope="module")
def played(go2, targets, tmp_path_factory):
    """The excitation on the simulated robot, behind the supervisor."""
    folder = tmp_path_factory.mktemp("excited")
    excite.write(go2, targets, plants.DT, folder / "excite.onnx")
    return plants.run(folder / "excite.onnx", go2, folder / "log.mcap", 6.2 + SECONDS, Conditions())


@pytest.mark.parametrize("way", [excitation.on_ground, excitation.on_stand])
def test_it_begins_in_the_default_pose_and_keeps_off_stops_and_speed_limits(go2, way):
    targets = way(go2, SECONDS, plants.DT, 3)
    low, high = go2.joint_pos_limit.T
    assert len(targets) == pytest.approx(SECONDS / plants.DT, abs=2)
    np.testing.assert_allclose(targets[0], go2.default_joint_pos, atol=0.02)
    assert ((targets >= low + POSITION_MARGIN - 1e-9) & (targets <= high - POSITION_MARGIN + 1e-9)).all()
    assert (np.abs(np.diff(targets, axis=0)) / plants.DT < 0.5 * go2.joint_vel_limit).all()
    assert (np.ptp(targets, axis=0) > 0.2).all()  # every joint moves


def test_the_supervisor_finds_nothing_and_changes_nothing(played):
    runtime, _ = played
    assert {event.kind for event in runtime.supervisor.events} <= {"transition", "override", "stop", "settled"}
    assert not runtime.supervisor.interventions


def test_the_robot_stays_upright_lies_at_the_end_and_its_swinging_legs_touch_nothing(go2, played):
    runtime, _ = played
    columns = runtime.log.columns()
    assert (columns["projected_gravity"][:, 2] < -0.97).all()
    assert columns["base_pos"][-1, 2] < 0.3 * go2.standing_height
    walk = columns["state"] == "walk"
    force, height = columns["foot_contact_force"][walk][:, :, 2], columns["base_pos"][walk][:, 2]
    swinging = [slice(*bounds) for bounds in _swings(len(force))]
    for pair, part in enumerate(swinging):
        assert (height[part] < 0.3 * go2.standing_height).all()
        feet = [foot for foot in range(4) if (go2.gaits["trot"][foot] >= 0.5) == bool(pair)]
        assert np.abs(force[part][:, feet]).max() == 0.0
        assert np.abs(np.ptp(columns["joint_pos"][walk][part], axis=0)[[3 * foot for foot in feet]]).min() > 0.3


def _swings(steps):
    """The steps from and to of each pair's swing, by the order of the parts."""
    free, move = SECONDS - 6 * excitation.MOVE, excitation.MOVE
    first = free * excitation.SHARES[0] + 2 * move
    second = first + free * excitation.SHARES[1] + 2 * move
    return [(int(begin / plants.DT), int((begin + free * 0.25) / plants.DT)) for begin in (first, second)]


def test_the_bundle_plays_the_table_and_stays_at_its_end(go2, tmp_path):
    table = go2.default_joint_pos + 0.01 * np.arange(12)[:, None] * np.ones(go2.num_joints)
    excite.write(go2, table, plants.DT, tmp_path / "excite.onnx")
    policy = RobotPolicy(load(tmp_path / "excite.onnx", go2), go2)
    for _ in range(2):
        policy.reset(2)
        for step in range(15):
            target, _ = policy.step({"joint_pos": np.zeros((2, go2.num_joints))})
            np.testing.assert_allclose(target, np.broadcast_to(table[min(step, 11)], target.shape), atol=1e-6)


def test_a_robot_on_two_feet_must_hang(tmp_path):
    with pytest.raises(InputError, match="place"):
        excitation.on_ground(robots.load("unitree_g1.legs"), SECONDS, plants.DT, 0)
    assert len(excitation.on_stand(robots.load("unitree_g1.legs"), 6.0, plants.DT, 0)) == 300


def test_time_too_short_for_the_motion_is_refused(go2):
    with pytest.raises(InputError, match="seconds"):
        excitation.on_ground(go2, 20.0, plants.DT, 0)


@pytest.mark.parametrize(
    ("place", "seconds", "said"), [("stand", 6.0, 'plant="{stand: true}"'), ("ground", 24.0, "locomotion identify excited/")]
)
def test_the_command_writes_it_and_says_how_to_run_it(place, seconds, said, tmp_path, capsys):
    given = {"robot": "unitree_go2", "place": place, "seconds": seconds, "control_dt": 0.02, "seed": 0, "output": str(tmp_path / "e.onnx")}
    assert command.run(given, {}) == 0
    out = capsys.readouterr().out
    assert "locomotion deploy policy=" in out
    assert said in out
    assert "locomotion identify excited/" in out
    assert ("stand: true" in out) == (place == "stand")
    assert load(tmp_path / "e.onnx").contract.command_names == ()


def test_it_ends_lying_and_does_not_stand_up_again_to_lie_down(go2, played):
    runtime, _ = played
    columns = runtime.log.columns()
    settling = columns["state"] == "settle"
    assert settling.any()
    assert (columns["base_pos"][settling, 2] < 0.4 * go2.standing_height).all()
