"""What a robot may do while it learns: limits never wider than a deployment's, and an action box that widens with clean time."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from deploy.contract import Contract
from deploy.limits import Limits
from deploy.supervisor import Supervisor
from robots.errors import InputError

TIGHTER_ABOVE = frozenset(  # a larger one is the stricter one
    {
        "position_margin", "wiggle_share", "wiggle_answer", "dwell_seconds", "damping_kd",
        "gain_seconds", "stand_up_seconds", "lie_down_seconds", "ramp_seconds", "command_seconds", "hold_seconds",
    }
)  # fmt: skip
FIXED = frozenset({"stop_seconds", "wiggle"})  # neither is stricter: a stop that comes sooner is harder, a small move shows less


def widest(contract: Contract) -> Limits:
    """What a deployment of the base grants: the limits as they come, within the envelope that its contract names."""
    default = Limits()
    return replace(default, max_tilt=min(default.max_tilt, contract.envelope.get("max_tilt", default.max_tilt)))


def refuse_wider(limits: Limits, base: Limits) -> None:
    """Raises InputError for the first of ``limits`` that lets a robot that learns do what ``base`` does not."""
    for item in fields(Limits):
        ours, theirs = getattr(limits, item.name), getattr(base, item.name)
        above, fixed = item.name in TIGHTER_ABOVE, item.name in FIXED
        if ours != theirs if fixed else ours < theirs if above else ours > theirs:
            allowed = f"{'just' if fixed else 'at least' if above else 'at most'} {theirs:g}, the base policy's, while it learns"
            raise InputError(f"deploy.limits.{item.name}", ours, allowed, "Leave it out, or make it stricter.")


def refuse_unsupervised(supervisor: object, base: Limits) -> Supervisor:
    """The supervisor. Raises InputError where there is none, where it only looks on, or where its limits are wider than ``base``."""
    if type(supervisor) is not Supervisor:
        got = None if supervisor is None else type(supervisor).__name__
        raise InputError("supervisor", got, "a deploy.supervisor.Supervisor: nothing learns on a robot without one", "Give it one.")
    refuse_wider(supervisor.limits, base)
    return supervisor


@dataclass(frozen=True)
class ActionBox:
    """``size`` (rad) around the default pose that targets are kept to; it widens by ``growth`` (rad/s) of clean walking, to ``most``.

    After a walk that was not clean it is back at ``start``.
    """

    start: float
    growth: float
    most: float
    size: float

    @classmethod
    def around(cls, reach: float, margin: float, growth: float) -> ActionBox:
        """About a policy whose own targets stay within ``reach``, at first with half the ``margin`` (rad)."""
        start = reach + 0.5 * margin
        return cls(start, growth, reach + margin, start)

    def limits(self, base: Limits) -> Limits:
        """``base`` with this box. Raises InputError where it is no box that limits can have."""
        return replace(base, action_box=min(self.size, base.action_box), box_growth=0.0)

    def after(self, clean: bool, seconds: float) -> ActionBox:
        """After ``seconds`` of walking."""
        return replace(self, size=min(self.size + self.growth * seconds, self.most) if clean else self.start)


def reach_of(target: np.ndarray, default_joint_pos: np.ndarray) -> float:
    """The furthest that targets [..., J] go from the default pose, rad."""
    return float(np.abs(target - default_joint_pos).max())
