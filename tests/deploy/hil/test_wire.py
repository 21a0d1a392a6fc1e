"""The robot's side of the protocol: what it takes, what it refuses, and what it says."""

import numpy as np
import pytest

import robots
from deploy.hil.plant import Sample
from deploy.hil.wire import Wire
from deploy.unitree.codec import codec
from deploy.unitree.interface import roll_pitch_yaw
from deploy.unitree.messages import GO_HEAD, GO_LOW_CMD, GO_LOW_STATE, HG_LOW_CMD, HG_LOW_STATE, NO_POSITION, NO_VELOCITY
from deploy.unitree.remote import Remote


def go_command():
    message = codec(GO_LOW_CMD).blank()
    message["head"], message["level_flag"] = GO_HEAD, 0xFF
    motors = message["motor_cmd"]
    motors["mode"][:12] = 1
    for i, name in enumerate(("q", "dq", "tau", "kp", "kd")):
        motors[name][:12] = 100 * i + np.arange(12)
    return message


def sample(robot):
    j = robot.num_joints
    return Sample(
        step=1234, enabled=np.ones(j, bool), joint_pos=np.arange(j) + 0.5, joint_vel=np.arange(j) + 100.0, joint_acc=np.zeros(j),
        joint_torque=np.arange(j) + 200.0, temperature=np.arange(j) + 30.4, quaternion=np.array([np.cos(0.1), 0, np.sin(0.1), 0]),
        base_ang_vel=np.array([1.0, 2, 3]), accelerometer=np.array([4.0, 5, 6]), foot_force=np.array([10.0, 20, 30, 40])[: len(robot.feet)],
        voltage=30.0, current=2.0, charge=0.5,
    )  # fmt: skip


def test_a_command_reaches_each_joint_from_the_vendor_s_place(go2):
    told = Wire(go2).command(codec(GO_LOW_CMD).encode(go_command()))
    joint = go2.joint_names.index("RL_thigh_joint")  # motor 10
    assert [values[joint] for values in (told.q, told.dq, told.tau, told.kp, told.kd)] == [10, 110, 210, 310, 410]
    assert told.enabled.all()
    assert told.drives


def test_a_motor_with_the_vendor_s_stop_figures_is_not_commanded(go2):
    message = go_command()
    message["motor_cmd"]["q"][3], message["motor_cmd"]["dq"][4] = NO_POSITION, NO_VELOCITY
    message["motor_cmd"]["mode"][5] = 0
    told = Wire(go2).command(codec(GO_LOW_CMD).encode(message))
    assert (told.q[0], told.kp[0], told.kd[0]) == (0, 0, 403)  # FL_hip_joint is motor 3
    assert (told.dq[1], told.kd[1], told.kp[1]) == (0, 0, 304)
    assert told.enabled.tolist() == [True, True, False, *[True] * 9]


def test_what_a_go2_refuses(go2):
    wire, good = Wire(go2), codec(GO_LOW_CMD).encode(go_command())
    assert wire.command(good[:-4]) == "size"
    assert wire.command(good[:-1] + bytes([good[-1] ^ 1])) == "crc"
    message = go_command()
    message["motor_cmd"]["q"][0] = np.nan
    assert wire.command(codec(GO_LOW_CMD).encode(message)) == "not finite"
    message = go_command()
    message["head"] = 0
    assert not isinstance(wire.command(codec(GO_LOW_CMD).encode(message)), str)  # programs that work on robots send it so
    assert wire.remarks == {"their head is not FE EF"}


def test_a_g1_refuses_another_machine_s_mode_and_motors_in_parallel():
    wire, message = Wire(robots.load("unitree_g1")), codec(HG_LOW_CMD).blank()
    assert wire.command(codec(HG_LOW_CMD).encode(message)) == "mode_machine"
    message["mode_machine"] = 5
    assert not isinstance(wire.command(codec(HG_LOW_CMD).encode(message)), str)
    message["mode_pr"] = 1
    assert wire.command(codec(HG_LOW_CMD).encode(message)) == "mode_pr"


def test_what_a_go2_says_of_itself(go2):
    remote = Remote(frozenset(["start"]), rx=0.25)
    state = codec(GO_LOW_STATE).decode(Wire(go2).state(sample(go2), remote))
    assert codec(GO_LOW_STATE).intact(state)
    motor = state["motor_state"][3]  # FL_hip_joint, our first
    assert (motor["q"], motor["dq"], motor["tau_est"], motor["temperature"], motor["mode"]) == (0.5, 100, 200, 30, 1)
    assert not state["motor_state"]["q"][12:].any()
    assert state["tick"] == 1234  # ms
    assert state["foot_force"].tolist() == [20, 10, 40, 30]  # FR FL RR RL
    assert (state["bms_state"]["soc"], state["bms_state"]["current"], state["power_v"]) == (50, -2000, 30)
    assert state["imu_state"]["gyroscope"].tolist() == [1, 2, 3]
    assert state["imu_state"]["accelerometer"].tolist() == [4, 5, 6]
    assert state["imu_state"]["rpy"] == pytest.approx([0, 0.2, 0], abs=1e-6)
    assert Remote.from_bytes(state["wireless_remote"].tobytes()) == remote


def test_what_a_g1_says_of_itself():
    g1 = robots.load("unitree_g1")
    state = codec(HG_LOW_STATE).decode(Wire(g1).state(sample(g1), Remote()))
    assert codec(HG_LOW_STATE).intact(state)
    assert (state["mode_machine"], state["mode_pr"], state["tick"]) == (5, 0, 1234)
    motor = state["motor_state"][28]
    assert (motor["q"], motor["vol"], motor["temperature"].tolist()) == (28.5, 30, [58, 58])
    assert not state["motor_state"]["vol"][29:].any()


def test_angles_turn_about_x_then_y_then_z():
    import mujoco

    roll, pitch, yaw = 0.3, -0.4, 1.2
    quaternion = np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, np.array([roll, pitch, yaw]), "XYZ")
    assert roll_pitch_yaw(quaternion) == pytest.approx((roll, pitch, yaw))
