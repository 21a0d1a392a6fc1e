"""What a robot hears from the interface, and what the interface makes of what it says."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import robots
from deploy.interface import MotorCommand, damping_command
from deploy.unitree.codec import codec
from deploy.unitree.interface import LOW_CMD, UnitreeInterface, family_of, projected_gravity
from deploy.unitree.messages import GO, HG
from deploy.unitree.remote import Remote
from deploy.unitree.transport import Bus
from robots import InputError
from tests.deploy.unitree.fake import DOMAIN, FakeRobot

PATIENCE = 20.0  # s; a busy machine takes its time


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def hold(robot: robots.Robot) -> MotorCommand:
    """A command in which no two joints, and no two figures of a joint, are alike."""
    numbers = 0.01 * np.arange(1.0, robot.num_joints + 1)
    return MotorCommand(numbers, 100.0 + numbers, 10.0 + numbers, 1.0 + numbers)


def heard(robot: FakeRobot) -> np.ndarray:
    """The next command that comes."""
    robot.heard.clear()
    until(lambda: robot.heard)
    return robot.heard[-1]


@pytest.fixture
def connected(request):
    """A robot, its fake and the interface between them."""
    robot = robots.load(request.param)
    with FakeRobot(robot, DOMAIN) as fake:
        fake.state["motor_state"]["q"] = 0.5  # where joints are that nobody has moved
        if fake.family is HG:
            fake.state["mode_machine"] = 6
        interface = UnitreeInterface(robot, "lo", DOMAIN, patience=PATIENCE)
        yield robot, fake, interface
        interface.close()


def send(interface, fake, command):
    """Write until it is heard: the first messages of a publisher are lost while the two meet."""
    fake.heard.clear()
    until(lambda: interface.write(command) or time.sleep(0.01) or fake.heard)
    return fake.heard[-1]


@pytest.mark.parametrize("connected", ["unitree_go2"], indirect=True)
def test_a_go2_hears_each_joint_in_the_vendor_s_place(connected):
    robot, fake, interface = connected
    command = hold(robot)
    message = send(interface, fake, command)
    assert codec(GO.low_cmd).intact(message)
    assert tuple(message["head"]) == (0xFE, 0xEF)
    assert message["level_flag"] == 0xFF
    motors = message["motor_cmd"]
    places = ["FR_hip_joint", "FR_thigh_joint", "FR_calf_joint", "FL_hip_joint", "FL_thigh_joint", "FL_calf_joint"]
    places += [name.replace("F", "R", 1) for name in places]  # the vendor's examples: FR_0 is 0, FL_0 3, RR_0 6, RL_0 9
    for slot, name in enumerate(places):
        joint = robot.joint_names.index(name)
        got = [motors[key][slot] for key in ("q", "kp", "kd", "tau")]
        wanted = [values[joint] for values in (command.joint_pos_target, command.kp, command.kd, command.feed_forward)]
        assert got == pytest.approx(wanted)
        assert (motors["mode"][slot], motors["dq"][slot]) == (1, 0)
    unused = motors[12:]
    assert set(unused["mode"]) == {0}
    assert set(unused["q"]) == {np.float32(2.146e9)}
    assert set(unused["dq"]) == {16000.0}
    assert not unused["kp"].any()
    assert not unused["kd"].any()
    assert not unused["tau"].any()


@pytest.mark.parametrize("connected", ["unitree_g1"], indirect=True)
def test_a_g1_hears_its_own_mode_and_pitch_and_roll(connected):
    robot, fake, interface = connected
    message = send(interface, fake, hold(robot))
    assert codec(HG.low_cmd).intact(message)
    assert (message["mode_machine"], message["mode_pr"]) == (6, 0)
    assert message["motor_cmd"]["q"][:29] == pytest.approx(hold(robot).joint_pos_target)
    assert message["motor_cmd"]["mode"].tolist() == [1] * 29 + [0] * 6
    fake.state["mode_machine"] = 5
    until(lambda: send(interface, fake, hold(robot))["mode_machine"] == 5)


@pytest.mark.parametrize("connected", ["unitree_g1.legs"], indirect=True)
def test_joints_that_a_variant_locks_are_led_to_their_angle_and_damped_with_the_others(connected):
    robot, fake, interface = connected
    whole = robots.load("unitree_g1")
    elbow = whole.joint_names.index("left_elbow_joint")  # at 0.5 rad, to be held at 0.9
    message = send(interface, fake, hold(robot))
    assert message["motor_cmd"]["q"][elbow] < 0.6
    assert message["motor_cmd"]["kp"][elbow] == whole.kp[elbow]
    began = time.monotonic()
    until(lambda: send(interface, fake, hold(robot))["motor_cmd"]["q"][elbow] == pytest.approx(robot.locked["left_elbow_joint"]))
    assert time.monotonic() - began > 0.4 / 0.5 - 0.3  # at 0.5 rad/s
    message = send(interface, fake, damping_command(robot.num_joints, 3.0))
    motors = message["motor_cmd"]
    assert (motors["kp"][elbow], motors["kd"][elbow], motors["mode"][elbow]) == (0, 3, 1)
    again = send(interface, fake, hold(robot))
    assert again["motor_cmd"]["q"][elbow] < 0.6  # from where it is, anew


@pytest.mark.parametrize("connected", ["unitree_go2"], indirect=True)
def test_what_the_robot_measures_comes_by_joint_name_in_si_units(connected):
    robot, fake, interface = connected
    motors, imu = fake.state["motor_state"], fake.state["imu_state"]
    for slot in range(12):
        motors["q"][slot], motors["dq"][slot], motors["tau_est"][slot], motors["temperature"][slot] = slot, 10 + slot, 20 + slot, 30 + slot
    imu["gyroscope"] = 1, 2, 3
    imu["quaternion"] = np.cos(0.25), 0, np.sin(0.25), 0  # pitched nose down by 0.5 rad
    fake.state["wireless_remote"] = np.frombuffer(Remote(frozenset(["A"]), ly=0.5).to_bytes(), np.uint8)
    until(lambda: interface.read().joint_pos[0] == 3)  # FL_hip_joint is the vendor's motor 3
    state = interface.read()
    joint = robot.joint_names.index("RR_calf_joint")  # motor 8
    assert (state.joint_pos[joint], state.joint_vel[joint], state.joint_torque[joint]) == (8, 18, 28)
    assert interface.motor_temperature[joint] == 38
    assert state.base_ang_vel.tolist() == [1, 2, 3]
    assert state.projected_gravity == pytest.approx([np.sin(0.5), 0, -np.cos(0.5)], abs=1e-6)
    assert interface.remote == Remote(frozenset(["A"]), ly=0.5)
    assert state.time <= interface.remote.came <= time.monotonic()
    assert {x.dtype for x in (state.joint_pos, state.joint_vel, state.projected_gravity)} == {np.dtype(np.float64)}
    assert state.time <= time.monotonic()
    before = state.tick
    until(lambda: interface.read().tick > before)


@pytest.mark.parametrize("connected", ["unitree_go2"], indirect=True)
def test_spoiled_and_old_samples_are_counted_and_not_used(connected):
    _, fake, interface = connected
    fake.spoil = True
    until(lambda: interface.rejected["crc"] >= 3)
    stuck = interface.read()
    time.sleep(0.05)
    assert interface.read().tick == stuck.tick
    assert interface.read().time == stuck.time  # its age shows
    fake.spoil, fake.frozen = False, True
    until(lambda: interface.rejected["tick"] >= 3)


@pytest.mark.parametrize("connected", ["unitree_go2"], indirect=True)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e39])  # the last is no float32
def test_no_number_that_a_motor_cannot_take_is_sent(connected, wrong):
    robot, _, interface = connected
    command = hold(robot)
    for name in ("joint_pos_target", "kp", "kd", "feed_forward"):
        values = getattr(command, name).copy()
        values[3] = wrong
        with pytest.raises(ValueError, match="finite"):
            interface.write(replace(command, **{name: values}))


def test_a_robot_that_its_own_service_drives_is_not_touched_before_it_is_released(go2):
    with FakeRobot(go2, DOMAIN, service="normal") as fake:
        with pytest.raises(InputError, match="release"):
            UnitreeInterface(go2, "lo", DOMAIN, patience=PATIENCE)
        assert fake.service.name == "normal"
        assert not fake.heard
        UnitreeInterface(go2, "lo", DOMAIN, release=True, patience=PATIENCE).close()
        assert fake.service.name == ""


def test_a_call_that_is_lost_is_made_again(go2):
    with FakeRobot(go2, DOMAIN, service="normal") as fake:
        fake.deaf = 150  # 0.75 s
        UnitreeInterface(go2, "lo", DOMAIN, release=True, patience=PATIENCE).close()
        assert fake.service.name == ""


def test_a_service_that_does_not_say_whether_it_drives_the_motors_is_not_taken_for_none(go2, monkeypatch):
    monkeypatch.setattr("deploy.unitree.motion_switcher.ANSWER", 0.5)
    with FakeRobot(go2, DOMAIN, service="normal") as fake:
        fake.deaf = 10**6
        with pytest.raises(InputError, match="no answer"):
            UnitreeInterface(go2, "lo", DOMAIN, release=True, patience=PATIENCE)
        assert not fake.heard


def test_a_second_commander_is_refused(go2):
    with FakeRobot(go2, DOMAIN) as fake:
        first = UnitreeInterface(go2, "lo", DOMAIN, patience=PATIENCE)
        other = Bus("lo", DOMAIN).publisher("rt/lowcmd", GO.low_cmd)
        send(first, fake, damping_command(12, 3.0))
        stop = threading.Event()

        def talk():
            while not stop.wait(0.01):
                other.write(codec(GO.low_cmd).encode(codec(GO.low_cmd).blank()))

        talker = threading.Thread(target=talk)
        talker.start()
        try:
            with pytest.raises(InputError, match="another program"):
                UnitreeInterface(go2, "lo", DOMAIN, patience=PATIENCE)
        finally:
            stop.set()
            talker.join()
            first.close()


@pytest.mark.parametrize("connected", ["unitree_go2", "unitree_g1"], indirect=True)
def test_battery_and_foreign_commands_are_in_each_sample_and_our_own_commands_are_none(connected):
    """Who begins to command later is counted; what does not measure says NaN."""
    robot, fake, interface = connected
    send(interface, fake, hold(robot))
    state = interface.read()
    assert state.foreign_commands == 0
    assert np.isnan(state.voltage)
    assert np.isnan(state.motor_temperature).all()
    if fake.family is GO:
        fake.state["power_v"] = 29.5
    else:
        fake.state["motor_state"]["vol"] = 29.5
    until(lambda: interface.read().voltage == 29.5)
    second = Bus("lo", DOMAIN).publisher(LOW_CMD, fake.family.low_cmd)
    until(lambda: second.write(codec(fake.family.low_cmd).encode(fake.heard[-1])) or time.sleep(0.01) or interface.read().foreign_commands)


def test_silence_is_an_error_that_says_where_to_look(go2):
    with pytest.raises(InputError, match=f"domain {DOMAIN + 1}"):
        UnitreeInterface(go2, "lo", DOMAIN + 1, patience=0.2)


def test_a_network_that_is_not_there_is_named(go2):
    with pytest.raises(InputError, match="network: got 'eth99'"):
        UnitreeInterface(go2, "eth99", DOMAIN)


def test_the_number_of_motors_says_which_messages_a_robot_speaks(go2):
    assert family_of(go2) is GO
    assert family_of(robots.load("unitree_g1.legs")) is HG
    with pytest.raises(InputError, match="motor_order"):
        family_of(robots.load("anymal_c"))


def test_gravity_is_the_world_s_in_the_base_frame():
    import mujoco

    rng = np.random.default_rng(0)
    for quaternion in rng.standard_normal((20, 4)):
        quaternion /= np.linalg.norm(quaternion)
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, quaternion)
        assert projected_gravity(quaternion) == pytest.approx(rotation.reshape(3, 3).T @ [0, 0, -1])
    assert np.linalg.norm(projected_gravity(np.zeros(4))) == 0  # an IMU that says nothing is not upright
