"""The wire's other end without a body: a thread that sends the LowState that a test has set, hears commands and answers calls."""

from __future__ import annotations

import os
import threading
from types import TracebackType

import numpy as np

from deploy.unitree.interface import LOW_CMD, LOW_STATE, family_of
from deploy.unitree.motion_switcher import MotionService
from deploy.unitree.transport import Bus, checked_codec
from robots import Robot

PERIOD = 0.005  # s
DOMAIN = 10 + os.getpid() % 80  # of this process: others may test on the same machine


class FakeRobot:
    """``state`` is what it sends, with a tick that grows unless ``frozen``; ``heard`` are the commands that came."""

    def __init__(self, robot: Robot, domain: int, service: str = "") -> None:
        self.family = family_of(robot)
        self.codec, self._commands_codec = checked_codec(self.family.low_state), checked_codec(self.family.low_cmd)
        self.state = self.codec.blank()
        self.state["imu_state"]["quaternion"] = 1, 0, 0, 0
        self.heard: list[np.ndarray] = []
        self.spoil = False  # send wrong checksums
        self.frozen = False
        self.deaf = 0  # rounds in which calls are lost
        bus = Bus("lo", domain)
        self._publisher = bus.publisher(LOW_STATE, self.family.low_state)
        self._subscriber = bus.subscriber(LOW_CMD, self.family.low_cmd)
        self.service = MotionService(bus, service)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> FakeRobot:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD):
            if not self.frozen:
                self.state["tick"] += 1
            data = bytearray(self.codec.encode(self.state))
            if self.spoil:
                data[-1] ^= 1
            self._publisher.write(bytes(data))
            self.heard += [self._commands_codec.decode(data) for data in self._subscriber.take()]
            if self.deaf > 0:
                self.deaf -= 1
                self.service._requests.take()
            else:
                self.service.answer()
