"""What a task is to a learner: widths, names and mirrors of what goes in and out of it. It needs no simulator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from locomotion.environment import ActionSpace, Spaces, Symmetry, concatenate_mirrors
from locomotion.task.actions import ActionDecoder
from locomotion.task.observations import Encoder
from locomotion.task.privileged import PrivilegedTerm
from robots import Robot
from robots.errors import InputError


def make_spaces(
    encoder: Encoder, privileged: Mapping[str, PrivilegedTerm], decoder: ActionDecoder, robot: Robot, constraints: Iterable[str]
) -> Spaces:
    """The critic sees what the actor does, without noise, and beside it the ``privileged`` terms."""
    actor, extra = encoder.widths, {name: term.width for name, term in privileged.items()}
    for name in extra:
        if name in actor:
            raise InputError(
                "task.observations.critic", name, "a name that the actor's terms have not", f"Write own_name: {{term: {name}}}."
            )
    mirror, symmetry = encoder.mirror, None
    if mirror is not None:
        groups = {"actor": mirror, "critic": concatenate_mirrors(mirror, *(term.mirror for term in privileged.values()))}
        symmetry = Symmetry(groups, (robot.mirror.joint_index, robot.mirror.joint_sign))
    parts = {"actor": actor, "critic": {**actor, **extra}}
    widths = {name: sum(group.values()) for name, group in parts.items()}
    return Spaces(widths, ActionSpace(*decoder.bounds), symmetry, parts, tuple(constraints))
