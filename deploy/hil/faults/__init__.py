"""Faults by name: each a function of a bench and its settings that says what it breaks, and where."""

from deploy.hil.faults import motors, packets, runtime, sensors, world  # noqa: F401  # each makes its faults known
from deploy.hil.faults.fault import FAULTS, MODES, NOTHING, SIDES, During, Hooks, Side, check, make

__all__ = ["FAULTS", "MODES", "NOTHING", "SIDES", "During", "Hooks", "Side", "check", "make"]
