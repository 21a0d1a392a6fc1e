"""Unitree's low-level messages as tables: the IDL of unitree_ros2 (``unitree_go``, ``unitree_hg``, ``unitree_api``), nothing else.

A field is (name, kind, count): kind is a numpy code (``u1`` is the IDL's octet), another :class:`Struct`, or, in messages without a
fixed size, ``str``, ``bytes`` or ``bool``. Count 0 is a single value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Field = tuple[str, "str | Struct", int]


@dataclass(frozen=True)
class Struct:
    """A message, or a part of one."""

    typename: str
    fields: tuple[Field, ...]

    @cached_property
    def dtype(self) -> np.dtype:
        """The C struct, little-endian: what the checksum is taken over."""
        parts = [
            (name, kind.dtype if isinstance(kind, Struct) else f"<{kind}", *((count,) if count else ()))
            for name, kind, count in self.fields
        ]
        return np.dtype(parts, align=True)


def _struct(package: str, name: str, **fields: str | Struct | tuple[str | Struct, int]) -> Struct:
    pairs = ((key, value if isinstance(value, tuple) else (value, 0)) for key, value in fields.items())
    return Struct(f"{package}.msg.dds_.{name}_", tuple((key, kind, count) for key, (kind, count) in pairs))


_IMU = {"quaternion": ("f4", 4), "gyroscope": ("f4", 3), "accelerometer": ("f4", 3), "rpy": ("f4", 3)}
_TARGET = dict.fromkeys(("q", "dq", "tau", "kp", "kd"), "f4")
_FRAME = {"head": ("u1", 2), "level_flag": "u1", "frame_reserve": "u1", "sn": ("u4", 2), "version": ("u4", 2), "bandwidth": "u2"}

GO_LOW_CMD = _struct(
    "unitree_go", "LowCmd",
    **_FRAME,
    motor_cmd=(_struct("unitree_go", "MotorCmd", mode="u1", **_TARGET, reserve=("u4", 3)), 20),
    bms_cmd=_struct("unitree_go", "BmsCmd", off="u1", reserve=("u1", 3)),
    wireless_remote=("u1", 40), led=("u1", 12), fan=("u1", 2), gpio="u1", reserve="u4", crc="u4",
)  # fmt: skip
GO_LOW_STATE = _struct(
    "unitree_go", "LowState",
    **_FRAME,
    imu_state=_struct("unitree_go", "IMUState", **_IMU, temperature="u1"),
    motor_state=(
        _struct(
            "unitree_go", "MotorState", mode="u1", q="f4", dq="f4", ddq="f4", tau_est="f4", q_raw="f4", dq_raw="f4", ddq_raw="f4",
            temperature="u1", lost="u4", reserve=("u4", 2),
        ),
        20,
    ),
    bms_state=_struct(
        "unitree_go", "BmsState", version_high="u1", version_low="u1", status="u1", soc="u1", current="i4", cycle="u2",
        bq_ntc=("u1", 2), mcu_ntc=("u1", 2), cell_vol=("u2", 15),
    ),
    foot_force=("i2", 4), foot_force_est=("i2", 4), tick="u4", wireless_remote=("u1", 40), bit_flag="u1", adc_reel="f4",
    temperature_ntc1="u1", temperature_ntc2="u1", power_v="f4", power_a="f4", fan_frequency=("u2", 4), reserve="u4", crc="u4",
)  # fmt: skip
HG_LOW_CMD = _struct(
    "unitree_hg", "LowCmd",
    mode_pr="u1", mode_machine="u1",
    motor_cmd=(_struct("unitree_hg", "MotorCmd", mode="u1", **_TARGET, reserve="u4"), 35),
    reserve=("u4", 4), crc="u4",
)  # fmt: skip
HG_LOW_STATE = _struct(
    "unitree_hg", "LowState",
    version=("u4", 2), mode_pr="u1", mode_machine="u1", tick="u4",
    imu_state=_struct("unitree_hg", "IMUState", **_IMU, temperature="i2"),
    motor_state=(
        _struct(
            "unitree_hg", "MotorState", mode="u1", q="f4", dq="f4", ddq="f4", tau_est="f4", temperature=("i2", 2), vol="f4",
            sensor=("u4", 2), motorstate="u4", reserve=("u4", 4),
        ),
        35,
    ),
    wireless_remote=("u1", 40), reserve=("u4", 4), crc="u4",
)  # fmt: skip

_IDENTITY = _struct("unitree_api", "RequestIdentity", id="i8", api_id="i8")
REQUEST = _struct(
    "unitree_api", "Request",
    header=_struct(
        "unitree_api", "RequestHeader", identity=_IDENTITY, lease=_struct("unitree_api", "RequestLease", id="i8"),
        policy=_struct("unitree_api", "RequestPolicy", priority="i4", noreply="bool"),
    ),
    parameter="str", binary="bytes",
)  # fmt: skip
RESPONSE = _struct(
    "unitree_api", "Response",
    header=_struct("unitree_api", "ResponseHeader", identity=_IDENTITY, status=_struct("unitree_api", "ResponseStatus", code="i4")),
    data="str", binary="bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """The messages that a kind of robot speaks."""

    name: str
    low_cmd: Struct
    low_state: Struct
    slots: int  # of motors, used or not


GO = Family("unitree_go", GO_LOW_CMD, GO_LOW_STATE, 20)
HG = Family("unitree_hg", HG_LOW_CMD, HG_LOW_STATE, 35)

ENABLED, DISABLED = 1, 0  # a motor's mode
NO_POSITION, NO_VELOCITY = 2.146e9, 16000.0  # the vendor's PosStopF and VelStopF: "not commanded"
GO_HEAD, GO_LEVEL_FLAG = (0xFE, 0xEF), 0xFF
PITCH_ROLL = 0  # mode_pr: ankles and waist as pitch and roll; 1 would be the two motors that move them
