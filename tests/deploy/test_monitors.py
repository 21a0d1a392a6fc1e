"""What each monitor measures, by numbers that can be worked out by hand, and that none of them cries wolf."""

import numpy as np
import pytest

from deploy.hil.simulated_robot import Conditions
from deploy.interface import MotorCommand, RobotState, damping_command
from deploy.limits import Limits
from deploy.monitors import BY_NAME, Response, exceeds, tilt
from deploy.states import State
from deploy.window import Ring, Window
from tests.deploy.plants import Deployment

DT = 0.02


def window(robot, samples, command=None, **signals):
    """After so many samples; a signal is a function of time, the others are those of a robot that stands still."""
    result = Window(robot, DT)
    for i in range(samples):
        t = DT * i
        still = {
            "base_ang_vel": np.zeros(3), "projected_gravity": np.array([0.0, 0.0, -1.0]), "joint_pos": robot.default_joint_pos,
            "joint_vel": np.zeros(12), "joint_torque": np.zeros(12),
        }  # fmt: skip
        state = RobotState(t, i, **{**still, **{name: np.asarray(signal(t), dtype=float) for name, signal in signals.items()}})
        result.push(state, command or damping_command(12, 0.0))
    return result


def value(name, *args, **kwargs):
    return BY_NAME[name].value(window(*args, **kwargs))


def pitching(rate):
    """Gravity in the frame of a base that pitches nose down at ``rate`` rad/s, and its gyroscope."""
    return {
        "projected_gravity": lambda t: (np.sin(rate * t), 0.0, -np.cos(rate * t)),
        "base_ang_vel": lambda t: (0.0, rate, 0.0),
    }


def test_gravity_and_gyroscope_of_a_turning_base_agree(go2):
    assert value("gravity_drift", go2, 11, **pitching(3.0)) < 2e-3
    assert value("gravity_drift", go2, 11, **pitching(-3.0)) < 2e-3
    wrong = {**pitching(3.0), "base_ang_vel": lambda t: (0.0, -3.0, 0.0)}
    assert value("gravity_drift", go2, 11, **wrong) == pytest.approx(2 * 2 * np.sin(0.3), rel=0.01)  # chord of 0.6 rad, twice
    bias = {**pitching(0.0), "base_ang_vel": lambda t: (0.3, 0.4, 7.0)}  # about gravity itself it cannot be seen
    assert value("gravity_drift", go2, 11, **bias) == pytest.approx(0.2 * 0.5)
    assert value("gravity_drift", go2, 30, **bias) == pytest.approx(0.2 * 0.5)  # of the last 0.2 s


def test_a_joint_goes_where_its_velocity_leads(go2):
    swinging = {"joint_pos": lambda t: go2.default_joint_pos + np.sin(10 * t), "joint_vel": lambda t: 10 * np.cos(10 * t) * np.ones(12)}
    assert value("position_drift", go2, 11, **swinging) < 5e-3
    lie = {**swinging, "joint_pos": lambda t: go2.default_joint_pos}
    assert value("position_drift", go2, 11, **lie) == pytest.approx(np.sin(2.0), abs=5e-3)
    jump = {"joint_pos": lambda t: go2.default_joint_pos - 0.3 * (np.arange(12) == 5) * (t > 0.15)}
    assert value("position_drift", go2, 11, **jump) == pytest.approx(0.3)


def test_repeats_are_counted_in_the_newest_samples(go2):
    widths = {"base_ang_vel": 3, "projected_gravity": 3, "joint_vel": 12, "joint_torque": 12}
    live = {name: (lambda t, n=n: np.cos(t + np.arange(n))) for name, n in widths.items()}
    assert value("frozen", go2, 11, **live) == 0
    for name in live:
        late = {**live, name: lambda t, signal=live[name]: signal(min(t, 0.12))}
        assert value("frozen", go2, 11, **late) == 4
        early = {**live, name: lambda t, signal=live[name]: signal(max(t, 0.12))}
        assert value("frozen", go2, 11, **early) == 0
    one = {**live, "joint_vel": lambda t: np.where(np.arange(12) == 7, 0.3, np.cos(t + np.arange(12)))}
    assert value("frozen", go2, 11, **one) == 10
    resting = {**live, "joint_vel": lambda t: np.where(np.arange(12) == 7, 0.0, np.cos(t + np.arange(12)))}
    assert value("frozen", go2, 11, **resting) == 0  # one joint at rest on an encoder without noise


def test_a_joint_is_stuck_where_its_target_moves_and_not_a_bit_of_its_position(go2):
    """Whatever the target does, a position that changes is not stuck; nor is one that is asked to stay."""

    def stuck(samples, moves, swing):
        result = Window(go2, DT)
        for i in range(samples):
            position = go2.default_joint_pos + 1e-5 * i * (np.arange(12) != 4) + moves * i * (np.arange(12) == 4)
            still = (np.zeros(3), np.array([0.0, 0.0, -1.0]), position, np.zeros(12), np.zeros(12))
            target = go2.default_joint_pos + swing * (i % 2) * np.ones(12)
            result.push(RobotState(DT * i, i, *still), MotorCommand(target, go2.kp, go2.kd, np.zeros(12)))
        return BY_NAME["stuck"].value(result)

    assert stuck(11, 0.0, 0.3) == pytest.approx(0.3)
    assert stuck(10, 0.0, 0.3) == 0.0  # not yet 0.2 s
    assert stuck(11, 1e-9, 0.3) == 0.0
    assert stuck(11, 0.0, 0.0) == pytest.approx(0.0, abs=1e-12)


def test_a_joint_is_given_a_fifth_of_a_second_to_follow_before_it_counts_as_blocked(go2):
    """A target that jumps by 0.4 rad after 2 s, and a joint that does not move."""

    def seen(seconds, moved=0.0):
        result = Window(go2, DT)
        for i in range(round(seconds / DT)):
            after = 0.4 * (i * DT >= 2.0)
            position = go2.default_joint_pos + moved * after
            still = [np.zeros(3), np.array([0.0, 0.0, -1.0]), position, np.zeros(12), np.zeros(12)]
            command = MotorCommand(go2.default_joint_pos + after, go2.kp, go2.kd, np.zeros(12))
            result.push(RobotState(i * DT, i, *still), command)
        return BY_NAME["blocked"].value(result)

    assert seen(2.18) == 0.0
    assert seen(2.4) == pytest.approx(0.4)
    assert seen(2.4, moved=1 / 8) == pytest.approx(0.0, abs=1e-9)  # an eighth of the target's swing: it moves
    assert seen(2.4, moved=1 / 16) == pytest.approx(0.2)
    assert seen(3.6) == 0.0  # a second later the target rests where it went


def test_torque_is_expected_by_the_actuator_law_with_its_curve(go2):
    """kp 0.1 rad of hips is 3.5 N m; of the calf's whole torque none is left at its no-load speed."""
    command = MotorCommand(go2.default_joint_pos + 0.1, go2.kp, 0 * go2.kd, np.zeros(12))
    assert value("torque_error", go2, 10, command, joint_torque=lambda t: np.full(12, 3.5)) == pytest.approx(0.0, abs=1e-12)
    assert value("torque_error", go2, 10, command) == pytest.approx(3.5 / 23.7)
    assert value("torque_error", go2, 5, command) == pytest.approx(0.5 * 3.5 / 23.7)  # what was not yet seen counts as right
    far = MotorCommand(go2.default_joint_pos + 9.0, go2.kp, 0 * go2.kd, np.zeros(12))
    free = {"joint_vel": lambda t: go2.no_load_speed}
    assert value("torque_error", go2, 10, far, **free) == pytest.approx(0.0, abs=1e-9)
    swings = {"joint_torque": lambda t: 3.5 + 20.0 * (-1.0) ** round(t / DT) * np.ones(12)}  # an error that comes and goes is a delay
    assert value("torque_error", go2, 10, command, **swings) == pytest.approx(0.0, abs=1e-12)


def test_root_mean_square_torque_is_of_the_worst_joint_over_five_seconds(go2):
    torque = {"joint_torque": lambda t: np.where(np.arange(12) == 2, -0.8 * 45.43, 1.0)}
    assert value("hot_motor", go2, 250, **torque) == pytest.approx(0.8)
    assert value("warm_motor", go2, 400, **torque) == pytest.approx(0.8)
    assert value("hot_motor", go2, 125, **torque) == pytest.approx(0.8 * np.sqrt(0.5))


def test_tracking_error_counts_only_where_a_position_is_held(go2):
    away = MotorCommand(go2.default_joint_pos + 0.4 * (np.arange(12) == 3), go2.kp, go2.kd, np.zeros(12))
    assert value("tracking_error", go2, 10, away) == pytest.approx(0.4)
    assert value("tracking_error", go2, 10, damping_command(12, 3.0)) == 0.0


def test_shares_of_steps_and_lateness_are_means_of_a_second(go2):
    full = Window(go2, DT)
    for i in range(100):
        full.histories["filtered"].push(float(i % 4 == 0))
        full.histories["lateness"].push(0.003)
    assert BY_NAME["filtered"].value(full) == pytest.approx(0.25, abs=0.02)
    assert BY_NAME["slow"].value(full) == pytest.approx(0.15)


def test_tilt_is_the_angle_from_upright_whatever_gravity_s_length():
    for angle in (0.0, 0.3, 2.0, np.pi):
        assert tilt(1.05 * np.array([np.sin(angle) * 0.6, np.sin(angle) * 0.8, -np.cos(angle)])) == pytest.approx(angle, abs=1e-7)


def test_base_ang_vel_is_the_length_of_the_newest(go2):
    assert value("base_ang_vel", go2, 3, base_ang_vel=lambda t: (3.0 * (t > 0.03), 4.0, 0.0)) == pytest.approx(5.0)


def test_what_is_no_number_is_a_finding(go2):
    assert exceeds(float("nan"), 1.0)
    assert exceeds(1.1, 1.0)
    assert not exceeds(1.0, 1.0)
    assert np.isnan(BY_NAME["tilt"].value(Window(go2, DT)))


def test_a_ring_keeps_the_last_rows_in_order_and_means_over_all_its_places():
    ring = Ring(3, 2)
    assert ring.last().shape == (0, 2)
    for i in range(8):
        ring.push(np.array([i, -i]))
        assert ring.last()[:, 0].tolist() == list(range(max(0, i - 2), i + 1))
    assert ring.mean().tolist() == [6.0, -6.0]
    ring.clear()
    ring.push(np.array([3.0, 0.0]))
    assert ring.mean().tolist() == [1.0, 0.0]


def test_mild_findings_end_and_are_not_faults():
    by = {response: {m.name for m in BY_NAME.values() if m.response is response} for response in Response}
    assert by[Response.DERATE] == {"warm_motor", "warm_winding", "low_battery", "mean_power"}
    assert by[Response.HOLD] == {"operator_silent"}
    assert by[Response.SETTLE] == {"hot_winding", "empty_battery", "odd_reading", "blocked", "estop_silent", "operator_lost"}
    assert Limits().operator_silence < Limits().operator_loss


ROUGH = [
    Conditions(noise=1.0, push=0.4, seed=1),
    Conditions(noise=1.0, friction=0.3, seed=2),
    Conditions(noise=1.0, payload=5.0, seed=3),
    Conditions(noise=1.0, delay=0.02, seed=4),
    Conditions(noise=1.0, push=0.3, friction=0.5, payload=3.0, delay=0.01, seed=5),
]


@pytest.mark.parametrize("conditions", ROUGH, ids=repr)
def test_no_false_alarms_under_noise_pushes_ice_load_and_delay(bundle, go2, conditions):
    """From lying to walking; minutes of a trained policy: python -m benchmarks.monitors policy.onnx 10"""
    walker = Deployment(bundle, go2, conditions).trot().run(11.0)
    assert walker.kinds == []
    assert walker.seconds(State.WALK) > 4.0
    assert walker.damped
