"""The states of a deployment: what leads from each to which other, and which monitors guard it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    IDLE = "idle"
    STAND_UP = "stand_up"
    CHECK = "check"
    READY = "ready"
    WALK = "walk"
    SETTLE = "settle"
    DAMPING = "damping"
    FAULT = "fault"


@dataclass(frozen=True)
class Row:
    """Of the table of states. DAMPING is granted everywhere, and a fault is possible everywhere."""

    motors: str  # what they are told
    granted: tuple[State, ...] = ()  # on request
    leads_to: tuple[State, ...] = ()  # of itself
    monitors: tuple[str, ...] = ()


SENSORS = (
    "bad_sample",
    "stale_state",
    "base_ang_vel",
    "gravity_drift",
    "frozen",
    "stuck",
    "position_drift",
    "torque_error",
    "hot_motor",
    "second_commander",
    "estop_lost",
)
SETTLES = ("estop_silent", "empty_battery", "hot_winding", "odd_reading")
DERATES = ("warm_motor", "warm_winding", "low_battery", "mean_power")
OPERATOR = ("operator_lost", "operator_silent")

# A loop that stalls ends a walk alone: elsewhere the motors hold the pose meanwhile, and what follows goes on from there, a step a step.
TABLE: dict[State, Row] = {
    State.IDLE: Row("nothing: no torque", (State.STAND_UP,)),
    State.STAND_UP: Row(
        "the way from where the joints are to the default pose, with `stand_up_torque`", (), (State.CHECK,),
        (*SENSORS, *SETTLES, "slow", "standing_tilt", "tracking_error"),
    ),
    State.CHECK: Row(
        "the default pose; once level and symmetric, a small move of each joint in turn", (), (State.READY,),
        (*SENSORS, *SETTLES, "slow", "standing_tilt"),
    ),
    State.READY: Row("the default pose; after a walk, the way to it", (State.WALK,), (), (*SENSORS, *SETTLES, "standing_tilt")),
    State.WALK: Row(
        "the policy's targets", (State.READY,), (),
        (*SENSORS, *SETTLES, *DERATES, "stall", "slow", "tilt", "filtered", "blocked", "stuck_policy", *OPERATOR),
    ),
    State.SETTLE: Row(
        "the way to the default pose, and at rest there, to lying; then a fault. On two feet: the default pose, for `hold_seconds`",
        (), (), (*SENSORS, "tilt"),
    ),
    State.DAMPING: Row("damping", (State.IDLE,)),
    State.FAULT: Row("damping, until a person asks for the state damping"),
}  # fmt: skip
ACTIVE = frozenset(state for state, row in TABLE.items() if row.monitors)  # the motors hold the robot up


def granted(state: State) -> frozenset[State]:
    """What may be asked for."""
    return frozenset({*TABLE[state].granted, State.DAMPING})


def possible(state: State) -> frozenset[State]:
    """Every state that may follow."""
    return granted(state) | {*TABLE[state].leads_to, State.FAULT}
