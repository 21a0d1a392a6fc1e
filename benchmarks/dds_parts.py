"""The processes of ``benchmarks.dds_walk``: a robot on the wire, a guard that writes down its times, a runtime, the vendor's loop."""

from __future__ import annotations

import functools
import time
from array import array
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import robots
from deploy.gate import Gate
from deploy.guard import lease
from deploy.guard_process import PERIOD, GuardedInterface
from deploy.hil.plant import PlantSettings
from deploy.hil.server import Server, ServerSettings
from deploy.interface import MotorCommand, RealTime, RobotState, real_time_priority
from deploy.limits import Limits
from deploy.log import STAGES
from deploy.operator import ScriptedOperator
from deploy.policy import RobotPolicy, load
from deploy.runtime import Runtime
from deploy.summary import summarize
from deploy.supervisor import Supervisor
from deploy.unitree.interface import UnitreeInterface, projected_gravity
from deploy.unitree.transport import checked_codec
from robots import Robot

OVERRUN = 0.002  # s
SETTLED = 500  # commands, 1 s, until processes have found each other
STAND_SECONDS = 2.5  # of the vendor's loop
TOUR = [[0.0, [0.5, 0.0, 0.0]], [10.0, [0.5, 0.0, 0.5]], [20.0, [0.3, 0.2, 0.0]], [30.0, [0.0, 0.0, 0.0]], [35.0, [0.5, 0.0, -0.5]]]


class Counting(Server):
    """Counts the commands by their numbers. All figures are of from the command SETTLED on."""

    first = last = received = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.over: list[tuple[float, float]] = []  # s: when a step began more than OVERRUN late, and how late

    def _step(self) -> None:
        if self.first and self.late and self.late[-1] > OVERRUN:
            self.over.append((time.monotonic(), self.late[-1]))
        super()._step()

    def _hear(self, data: bytes) -> None:
        number = int(np.ravel(checked_codec(self.wire.family.low_cmd).decode(data)["reserve"])[0])
        if number >= SETTLED:
            if not self.first:
                self.first, self.late, self.work, self.skipped = number, array("d"), array("d"), 0.0
            self.last, self.received = number, self.received + 1
        super()._hear(data)


def serve(robot: str, domain: int, octet: str, pipe: Connection) -> None:
    """Until told to stop; then the summary."""
    server = Counting(
        robots.load(robot), ServerSettings(domain=domain, octet=octet, service="", report_every=1e9), PlantSettings(), lambda line: None
    )
    answer = server._answer

    def turn() -> None:
        answer()
        server.stopped |= pipe.poll()

    server._answer = turn  # pyright: ignore[reportAttributeAccessIssue]
    pipe.send("up")
    summary = server.run()
    lost = server.last - server.first + 1 - server.received if server.first else None
    raw = {"late": np.array(server.late), "step": np.array(server.work), "over": np.array(server.over).reshape(-1, 2)}
    pipe.send(summary | {"lost_commands": lost, "max_tilt_at_end": server.plant.tilt, "raw": raw})


class Recorded(UnitreeInterface):
    """Numbers its commands, and leaves its times, s, in ``file``."""

    def __init__(self, file: Path, robot: Robot, domain: int) -> None:
        self._file, self._count = file, 0
        self._times = {name: array("d") for name in ("read", "write", "written", "arrived", "tick")}
        super().__init__(robot, "lo", domain)

    def read(self) -> RobotState:
        before = time.monotonic()
        state = super().read()
        self._times["read"].append(time.monotonic() - before)
        return state

    def write(self, command: MotorCommand) -> None:
        self._count += 1
        self._command["reserve"] = self._count
        before = time.monotonic()
        super().write(command)
        self._times["write"].append(time.monotonic() - before)
        self._times["written"].append(before)

    def close(self) -> None:
        super().close()
        np.savez(self._file, **{name: np.array(values) for name, values in self._times.items()})

    def _accept(self, data: bytes, arrived: float) -> None:
        super()._accept(data, arrived)
        self._times["arrived"].append(arrived)
        self._times["tick"].append(float(self._newest[0]["tick"]) if self._newest else 0.0)


def guard_times(file: Path) -> dict[str, Any]:
    """What the guard's process wrote down: counts, and arrays (s) as ``raw``. Nothing of one that did not come so far."""
    times = np.load(file)
    written = times["written"][SETTLED:]
    if len(written) < 2:
        return {}
    heard = (times["arrived"] > written[0]) & (times["arrived"] < written[-1])
    gaps, ticks = np.diff(times["arrived"][heard]), np.diff(times["tick"][heard]) / 1e3
    late = np.abs(np.diff(written) - PERIOD)
    over = late > OVERRUN
    return {
        "commands": len(written),
        "states": int(heard.sum()),
        "lost_states": int(np.maximum(np.round(ticks / PERIOD) - 1, 0).sum()),
        "raw": {
            "read": times["read"][SETTLED:], "write": times["write"][SETTLED:], "cycle_late": late, "state_gap": gaps,
            "over": np.column_stack([written[1:][over], late[over]]),
        },
    }  # fmt: skip


def walk(bundle: Path, domain: int, seconds: float, file: Path, pipe: Connection) -> None:
    """The runtime and its guard: stand up, walk for so long, and what came of it."""
    policy, limits = _loaded(bundle), Limits()
    robot, dt = policy.robot, policy.contract.control_dt
    interface = GuardedInterface(functools.partial(Recorded, file, robot, domain), robot, limits.damping_kd, lease(dt))
    runtime = Runtime(policy, interface, Supervisor(robot, dt, limits), RealTime())
    before = limits.stand_up_seconds + Gate.seconds(robot, limits) + 1.0
    error = ""
    try:
        runtime.run(before + seconds, ScriptedOperator(_tour(seconds, policy), policy.contract))
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    summary, columns = summarize(runtime), runtime.log.columns()
    late = columns["timing/lateness"]
    over = late > OVERRUN
    raw = {stage: (values := columns[f"timing/{stage}"])[np.isfinite(values)] for stage in STAGES}
    start = runtime.moment.start if runtime.moment else 0.0
    raw["over"] = np.column_stack([start + columns["time"][over], late[over]])
    kept = {name: summary[name] for name in ("passed", "warnings")}
    pipe.send({"error": error, "walked": _walked(runtime), "raw": raw, "events": summary["events"][-6:]} | kept)


def _loaded(bundle: Path) -> RobotPolicy:
    """Without what learning needs, which takes its time to import."""
    made = load(bundle)
    return RobotPolicy(made, robots.load(made.contract.robot))


def _walked(runtime: Runtime) -> float:
    """s from the beginning of the walk to what ended it."""
    changes = [event for event in runtime.supervisor.events if event.kind == "transition"]
    ends = [*(event.time for event in changes[1:]), runtime.clock.now()]
    return sum(end - event.time for event, end in zip(changes, ends, strict=True) if "-> walk" in event.detail)


def _tour(seconds: float, policy: RobotPolicy) -> list[list[Any]]:
    """Rows of the script, again and again, as far as the policy has these channels."""
    channels, period = len(policy.contract.command_names), 45.0
    return [
        [start + turn * period, (command + [0.0] * channels)[:channels]]
        for turn in range(int(seconds / period) + 1) for start, command in TOUR
    ]  # fmt: skip


def hold(name: str, domain: int, seconds: float, file: Path, pipe: Connection) -> None:
    """The guard, under a program that leads the robot to its default pose and holds it there, at 50 Hz."""
    robot, limits, dt = robots.load(name), Limits(), 0.02
    interface = GuardedInterface(functools.partial(Recorded, file, robot, domain), robot, limits.damping_kd, lease(dt))
    pose, began, error = interface.read().joint_pos, time.monotonic(), ""
    try:
        with real_time_priority(50):
            for step in range(round(seconds / dt)):
                share = min(step * dt / 3.0, 1.0)
                interface.read()
                target = pose + share * (robot.default_joint_pos - pose)
                interface.write(MotorCommand(target, robot.kp, robot.kd, np.zeros(robot.num_joints)))
                time.sleep(max(0.0, began + (step + 1) * dt - time.monotonic()))
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    interface.close()
    pipe.send({"error": error})


def vendor(bundle: Path, domain: int, seconds: float, pipe: Connection) -> None:
    """The vendor's Python client at 500 Hz with the same policy, and nothing of ours on the wire: what everybody's first script does."""
    try:
        from unitree_sdk2py.core.channel import ChannelFactoryInitialize, ChannelPublisher, ChannelSubscriber
        from unitree_sdk2py.idl.default import unitree_go_msg_dds__LowCmd_
        from unitree_sdk2py.idl.unitree_go.msg.dds_ import LowCmd_, LowState_
        from unitree_sdk2py.utils.crc import CRC
    except ImportError as error:
        pipe.send({"error": f"{error}: pip install --no-deps unitree-sdk2py-dimos rich-click"})
        return
    policy, arrived, newest = _loaded(bundle), array("d"), []

    def hear(state: Any) -> None:
        arrived.append(time.monotonic())
        newest[:] = [state]

    ChannelFactoryInitialize(domain, "lo")
    subscriber = ChannelSubscriber("rt/lowstate", LowState_)
    subscriber.Init(hear, 10)
    while not newest:
        time.sleep(0.01)
    publisher = ChannelPublisher("rt/lowcmd", LowCmd_)
    publisher.Init()
    command, crc = unitree_go_msg_dds__LowCmd_(), CRC()
    command.head[0], command.head[1], command.level_flag = 0xFE, 0xEF, 0xFF

    def write(number: int, target: np.ndarray) -> None:
        robot = policy.robot
        assert robot.motor_index is not None
        for joint, slot in enumerate(robot.motor_index):
            motor = command.motor_cmd[slot]
            motor.mode, motor.q, motor.dq, motor.tau = 0x01, float(target[joint]), 0.0, 0.0
            motor.kp, motor.kd = float(robot.kp[joint]), float(robot.kd[joint])
        command.reserve, command.crc = number, 0
        command.crc = crc.Crc(command)
        publisher.Write(command)

    result = _sdk_loop(policy, newest, write, seconds)
    result["raw"]["state_gap"] = np.diff(arrived)
    pipe.send(result)


def _sdk_loop(policy: RobotPolicy, newest: list[Any], write: Callable[[int, np.ndarray], None], seconds: float) -> dict[str, Any]:
    late, work, inference, over = array("d"), array("d"), array("d"), list[tuple[float, float]]()
    slots, pose = policy.robot.motor_index, policy.robot.default_joint_pos
    start = np.array([newest[0].motor_state[slot].q for slot in slots])
    every, command = round(policy.contract.control_dt / PERIOD), np.array(TOUR[0][1], dtype=np.float32)
    target, began, used = start, time.monotonic(), time.process_time()
    with real_time_priority(50):
        for step in range(round((STAND_SECONDS + seconds) / PERIOD)):
            woke = time.monotonic()
            late.append(max(woke - (began + step * PERIOD), 0.0))
            if late[-1] > OVERRUN:
                over.append((woke, late[-1]))
            if step * PERIOD < STAND_SECONDS:
                target = start + min(step * PERIOD / 2.0, 1.0) * (pose - start)
            elif step % every == 0:
                signals, before = _signals(newest[0], slots, command), time.monotonic()
                target = policy.step({name: signals[name][None] for name in policy.inputs})[0][0]
                inference.append(time.monotonic() - before)
            write(step + 1, target)
            work.append(time.monotonic() - woke)
            time.sleep(max(0.0, began + (step + 1) * PERIOD - time.monotonic()))
    passed = time.monotonic() - began
    raw = {"late": np.array(late), "cycle": np.array(work), "inference": np.array(inference), "over": np.array(over).reshape(-1, 2)}
    return {"error": "", "raw": raw, "cycles": len(late), "cpu_share": (time.process_time() - used) / passed}


def _signals(state: Any, slots: Any, command: np.ndarray) -> dict[str, np.ndarray]:
    motors = [state.motor_state[slot] for slot in slots]
    return {
        "command": command,
        "base_ang_vel": np.array(state.imu_state.gyroscope),
        "projected_gravity": projected_gravity(np.array(state.imu_state.quaternion)),
        "joint_pos": np.array([motor.q for motor in motors]),
        "joint_vel": np.array([motor.dq for motor in motors]),
    }
