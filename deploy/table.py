"""The whole of the safety layer as a page: ``python -m deploy.table > docs/safety.md``."""

from __future__ import annotations

from dataclasses import fields

from deploy.filters import FILTERS
from deploy.guard import LATE, MAX_STATE_AGE
from deploy.limits import Limits
from deploy.monitors import MONITORS, SAMPLE_CHECKS, SHARES, Response
from deploy.states import TABLE

PAGE = """# The safety layer

Generated from the code by `python -m deploy.table > docs/safety.md`. It certifies nothing.

The policy proposes, the supervisor decides what the robot hears. Each control step it looks at one sample of the robot's sensors, lets the
monitors of the present state look, and passes the target through the filters. Whatever ends a run, the last thing that the robot hears is
damping, for up to 5 s, until it has been seen to rest for `dwell_seconds`.

## States

Damping may be asked for everywhere, and a fault is possible everywhere.

{states}

In `check` the robot must be level, in its default pose and its own mirror image for `dwell_seconds`; then each joint in turn is moved by
`wiggle`, up to three times, and must answer: it moves that way by `wiggle_share` of it, and its motion and its spring's torque together
come to `wiggle_answer` of it. A joint that does not is a fault.

## Samples

A sample that fails one of these, or whose tick or time does not grow, is not believed: the last good one stands in for it.

{samples}

## Monitors

What follows a finding: *derate* gives the robot {derate:.0%} of the command (less the one to rest) while it lasts, *hold* the command to
rest, *settle* the command to rest and then the state settle, whatever is measured from then on, *damping* is a fault, which stays until a
person asks for the state damping.

A walk is never lain down from: it goes on, told to rest, until the joints have rested for `dwell_seconds`, for `stop_seconds` at most;
then the way to the default pose brings the feet down, and once the joints rest there, or after twice `ramp_seconds`, the robot lies down.
So ends a run whose time is over, too, and so begins *ready* after a walk: who asks a walk to stand is told to wait until it rests.
Whatever a walk is told, its command takes `command_seconds` at least from one end of its range to the other.
**A robot on two feet cannot lie down.** The policy, told to rest, keeps it standing for `hold_seconds` (from other states: the default
pose does), and the event says so: somebody holds it or hangs it up and damps it, for after that it is damped where it stands, and falls.
Damping remains the last word: a person's, `cut`'s, a lost e-stop's and every fault's comes at once.

An operator (keys `z` and `c`), or an e-stop (`python -m deploy estop`), asks for *settle*, or for *cut*, which is a fault at once. Until a
person asks for damping, nothing else is granted.

{monitors}

Behind the supervisor [the guard](guard.md) looks every 2 ms. It damps where at two of its turns no state that can be used is younger than
{age:.0f} ms, and where a command comes later than a control period and {late:.0f} ms after the one before: within 20 ms of what is missing.
`stale_state` and `stall` are what is left where no guard runs, as in a dry run.

## Filters

In this order. Position and torque limits are one interval: where it is empty there is no safe target, which is a fault. They come after
the others, and beat them. A motor warmer than `warm_winding` has less of its torque, half of it at `hot_winding`; without a sensor its
warmth is reckoned from its torque since the start, by generic figures (`robots/heat.py`). A robot that was limp is held with a kp that
grows over `gain_seconds`, under its whole kd.

The power of all motors is reckoned as mechanical power, where it is positive, and copper loss by the torque-speed curve; what drives,
gears and computers take is not in it. `battery_power` and `battery_voltage` of the robot's file are what the maker says; where they are
missing (G1's power is not published), these monitors and the filter do nothing.

A policy takes over in the default pose alone, and its first target must lie within `takeover_jump` of the one that is held: else the walk
is refused, and the robot stays in ready.

{filters}

## Limits

`deploy.limits.NAME=VALUE` overrides one; every override is an event in the log.

{limits}
"""


def _table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *body))


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def page() -> str:
    """Markdown."""
    default = vars(Limits())

    def guarded(name: str) -> str:
        return _names(tuple(state for state, row in TABLE.items() if name in row.monitors))

    return PAGE.format(
        derate=SHARES[Response.DERATE],
        age=1e3 * MAX_STATE_AGE,
        late=1e3 * LATE,
        states=_table(
            ("state", "the motors are told", "on request to", "of itself to", "monitors"),
            *((f"`{s}`", r.motors, _names(r.granted), _names(r.leads_to), _names(r.monitors)) for s, r in TABLE.items()),
        ),
        samples=_table(("check", "what it wants"), *((f"`{check.name}`", check.text) for check in SAMPLE_CHECKS)),
        monitors=_table(
            ("monitor", "finds more than", "what", "what follows", "guards"),
            *(
                (f"`{m.name}`", f"{default[m.limit]:g}", f"`{m.limit}`", m.response, guarded(m.name))
                for m in MONITORS
            ),
        ),
        filters=_table(("filter", "keeps the target"), *((f"`{item.name}`", item.text) for item in FILTERS)),
        limits=_table(
            ("limit", "default", "may be", "unit", "what"),
            *(
                (f"`{f.name}`", f"{f.default:g}", "{low:g} to {high:g}".format(**f.metadata), f.metadata["unit"], f.metadata["text"])
                for f in fields(Limits)
            ),
        ),
    )  # fmt: skip


if __name__ == "__main__":
    print(page(), end="")
