"""Facts of the computer at hand, for the doctor: its networks, libraries, priorities, and how punctually a loop wakes. For Linux."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.metadata
import os
import socket
import struct
import time
from pathlib import Path

import numpy as np

from deploy.doctor import LOOPBACK, Computer, Network
from deploy.interface import Floats

PRIORITY = 50  # of SCHED_FIFO, as the runtime takes
UP, RUNNING, MULTICAST = 0x1, 0x40, 0x1000  # flags of netdevice(7)
GET_FLAGS, GET_ADDRESS = 0x8913, 0x8915
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
LIBRARIES = ("cyclonedds", "unitree_sdk2py", "unitree-sdk2py-dimos", "unitree-sdk2", "unitree-dds-wrapper")


def look(control_dt: float, seconds: float) -> Computer:
    """Takes ``seconds`` s, for an empty loop of ``control_dt`` s under the priority that the runtime would get."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    libc = ctypes.CDLL(None, use_errno=True)
    locked = libc.mlockall(1) == 0 and libc.munlockall() == 0
    priority, lateness = _loop(control_dt, max(2, round(seconds / control_dt)))
    governor = GOVERNOR.read_text().strip() if GOVERNOR.exists() else ""
    return Computer(networks(), versions, os.environ.get("LD_LIBRARY_PATH", ""), priority, locked, governor, lateness)


def networks() -> dict[str, Network]:
    """By name."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            (flags,) = struct.unpack_from("<H", fcntl.ioctl(any_socket, GET_FLAGS, request), 16)
            address = ""
            with contextlib.suppress(OSError):  # it has none
                address = socket.inet_ntoa(fcntl.ioctl(any_socket, GET_ADDRESS, request)[20:24])
            up = bool(flags & UP) and (bool(flags & RUNNING) or name == LOOPBACK)
            found[name] = Network(up, bool(flags & MULTICAST), address)
    return found


def _loop(period: float, steps: int) -> tuple[bool, Floats]:
    """Whether real-time priority was granted, and by how much each wake was late, s."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    granted = True
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        granted = False
    lateness, due = np.zeros(steps), time.monotonic()
    try:
        for i in range(steps):
            due += period
            time.sleep(max(0.0, due - time.monotonic()))
            lateness[i] = time.monotonic() - due
            due = max(due, time.monotonic() - period)
    finally:
        os.sched_setscheduler(0, *before)
    return granted, lateness
