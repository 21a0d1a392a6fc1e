"""What the critic sees beside the policy's observation: what only a simulator knows. Never exported."""

from __future__ import annotations

from torch import Tensor

from locomotion.environment import MirrorMap, concatenate_mirrors, fixed
from locomotion.task.frame import CONTACT_FORCE
from locomotion.task.observations import POLAR, Context
from locomotion.task.terms import privileged
from sim import PARAMETERS


class PrivilegedTerm:
    """A part of the critic's observation that only a simulator knows; never exported."""

    def __init__(self, mirror: MirrorMap) -> None:
        self.mirror = mirror
        self.width = len(mirror[0])

    def __call__(self, signals: dict[str, Tensor], told: Tensor) -> Tensor:
        """[n, width] of signals by name and of the physics told to the critic [n, K]."""
        raise NotImplementedError


@privileged
class base_lin_vel(PrivilegedTerm):
    def __init__(self, context: Context) -> None:
        super().__init__(POLAR)

    def __call__(self, signals: dict[str, Tensor], told: Tensor) -> Tensor:
        return signals["base_lin_vel"]


@privileged
class base_height(PrivilegedTerm):
    def __init__(self, context: Context) -> None:
        super().__init__(fixed(1))

    def __call__(self, signals: dict[str, Tensor], told: Tensor) -> Tensor:
        return signals["base_pos"][..., 2:]


@privileged
class foot_contact(PrivilegedTerm):
    def __init__(self, context: Context) -> None:
        super().__init__(context.foot_mirror)

    def __call__(self, signals: dict[str, Tensor], told: Tensor) -> Tensor:
        return (signals["foot_contact_force"][..., 2] > CONTACT_FORCE).float()


@privileged
class foot_height(PrivilegedTerm):
    def __init__(self, context: Context) -> None:
        super().__init__(context.foot_mirror)

    def __call__(self, signals: dict[str, Tensor], told: Tensor) -> Tensor:
        return signals["foot_pos"][..., 2]


@privileged
class physics(PrivilegedTerm):
    """The randomized parameters that the table of :data:`sim.PARAMETERS` tells."""

    def __init__(self, context: Context) -> None:
        super().__init__(concatenate_mirrors(*(_parameter_mirror(name) for name in TOLD)))

    def __call__(self, signals: dict[str, Tensor], told: Tensor) -> Tensor:
        return told


TOLD = tuple(name for name, parameter in PARAMETERS.items() if parameter.told is not None)


def _parameter_mirror(name: str) -> MirrorMap:
    return {"even": fixed(1), "polar": POLAR, "slope": fixed(1, -1)}[PARAMETERS[name].mirror]
