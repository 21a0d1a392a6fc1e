"""The doctor's checks of a Unitree robot's wire. Needs no DDS: it looks at what was heard."""

from __future__ import annotations

import numpy as np

from deploy.doctor import Check, Facts, Wire

RATE = 100.0  # Hz of states at least
GAP = 0.02  # s between two states, one in a hundred
SPOILED = 0.01  # share of states with a wrong checksum
# Of the G1, by its README in unitree_ros and the vendor's documents: joints that it has, 27 where the waist is fastened.
MACHINES = {1: 23, 4: 23, 10: 23, 2: 29, 5: 29, 11: 29, 13: 29, 15: 29, 3: 27, 6: 27, 12: 27, 14: 27, 16: 27}
FITTING = {"unitree_g1.23dof": (23,), "unitree_g1.27dof": (27, 29), "unitree_g1.fixed_waist": (27, 29)}  # else 29
TESTED_FIRMWARE = {(0, 0): "locomotion hil serve"}  # by the version in the robot's states; no robot has been tested


def _domain(facts: Facts, wire: Wire) -> str | None:
    return None if len(wire.arrivals) or not wire.elsewhere else f"silence in {facts.domain}, and states in {wire.elsewhere[0]}"


def _family(facts: Facts, wire: Wire) -> str | None:
    others = [name for name in wire.offered if name != wire.wanted]
    return others[0] if others else None


def _types(facts: Facts, wire: Wire) -> str | None:
    return f"{wire.offered.count(wire.wanted)} that cannot be heard" if wire.wanted in wire.offered and not wire.publishers else None


def _silence(facts: Facts, wire: Wire) -> str | None:
    explained = wire.elsewhere or wire.offered or wire.rejected
    return None if len(wire.arrivals) or explained else f"silence for {wire.seconds:g} s"


def _mute(facts: Facts, wire: Wire) -> str | None:
    """It is there and says nothing."""
    return None if len(wire.arrivals) or sum(wire.rejected.values()) or not wire.publishers else f"silence for {wire.seconds:g} s"


def _spoiled(facts: Facts, wire: Wire) -> str | None:
    spoiled = wire.rejected.get("crc", 0) + wire.rejected.get("size", 0)
    return f"{spoiled} of {spoiled + len(wire.arrivals)} wrong" if spoiled > SPOILED * (spoiled + len(wire.arrivals)) else None


def _ticks(facts: Facts, wire: Wire) -> str | None:
    stuck = wire.rejected.get("tick", 0)
    return f"{stuck} of {stuck + len(wire.arrivals)} that do not" if stuck > SPOILED * (stuck + len(wire.arrivals)) else None


def _twins(facts: Facts, wire: Wire) -> str | None:
    return f"{wire.publishers}" if wire.publishers > 1 else None


def _rate(facts: Facts, wire: Wire) -> str | None:
    rate = len(wire.arrivals) / wire.seconds
    return f"{rate:.0f} Hz" if 0.0 < rate < RATE else None


def _gaps(facts: Facts, wire: Wire) -> str | None:
    gap = float(np.quantile(np.diff(wire.arrivals), 0.99)) if len(wire.arrivals) > 1 else 0.0
    return f"{1e3 * gap:.0f} ms, one in a hundred" if gap > GAP else None


def _commands(facts: Facts, wire: Wire) -> str | None:
    return f"{wire.commands} commands in {wire.seconds:g} s" if wire.commands else None


def _commanders(facts: Facts, wire: Wire) -> str | None:
    return f"{wire.commanders} that are silent so far" if wire.commanders and not wire.commands else None


def _service(facts: Facts, wire: Wire) -> str | None:
    if wire.service is None:
        return "no answer"
    return None if facts.release else wire.service or None


def _released(facts: Facts, wire: Wire) -> str | None:
    return wire.service or None if facts.release else None


def _machine(facts: Facts, wire: Wire) -> str | None:
    if wire.mode_machine is None or not facts.robot.name.startswith("unitree_g1"):
        return None
    joints = MACHINES.get(wire.mode_machine)
    fitting = joints in FITTING.get(facts.robot.name, (29,))
    return None if fitting else f"{wire.mode_machine}, {joints or 'an unknown number of'} joints, for {facts.robot.name}"


def _firmware(facts: Facts, wire: Wire) -> str | None:
    return None if wire.version is None or wire.version in TESTED_FIRMWARE else " ".join(map(str, wire.version))


WIRE_CHECKS = (
    Check(
        "domain", "wire", _domain, "the robot's domain",
        "Set domain to the one that has states: 0 for a robot, 1 for 'locomotion hil serve'.",
    ),
    Check(
        "family", "wire", _family, "states of the robot's kind",
        "The robot is another one than the policy's, or there are two on this network.",
    ),
    Check(
        "types", "wire", _types, "states whose types are ours",
        "They are published by a program with the vendor's Python package on cyclonedds 11: octet=byte, or stop it.",
    ),
    Check("states", "wire", _silence, "a robot", "Is it on, its cable in this network interface, a firewall off? Then: another domain."),
    Check("silent_robot", "wire", _mute, "states", "It is starting, or its low-level program hangs: look again, else start it anew."),
    Check("checksums", "wire", _spoiled, "states that match their checksum", "A bad cable, or another version of the robot's software."),
    Check(
        "ticks", "wire", _ticks, "states whose tick grows",
        "The robot's low-level program hangs, or two robots speak in one domain.",
    ),
    Check(
        "second_robot", "wire", _twins, "one program that publishes states",
        "Another robot or a simulation is in this domain: give each its own, or stop it.",
    ),
    Check(
        "state_rate", "wire", _rate, f"at least {RATE:g} states a second",
        "rt/lowstate has 500: wireless instead of the cable? A computer that is too busy?",
    ),
    Check(
        "state_gaps", "wire", _gaps, f"states at most {1e3 * GAP:.0f} ms apart",
        "Use the cable, not a wireless network; stop other programs.",
    ),
    Check(
        "second_commander", "wire", _commands, "nobody else who commands the motors",
        "Two programs that drive one robot fight: stop the other one.",
    ),
    Check(
        "possible_commander", "wire", _commanders, "nobody else who may command the motors",
        "A program has opened rt/lowcmd: stop it before the run.", error=False,
    ),
    Check(
        "motion_service", "wire", _service, "no motion service that has the motors",
        "Lay the robot down or hang it up, then release: true stops it, or the app (G1: L2+R2). No answer: wait until it has started.",
    ),
    Check(
        "release", "wire", _released, "no motion service to be stopped",
        "The run stops it, and whatever stands by it falls: lay the robot down or hang it up first.", error=False,
    ),
    Check(
        "mode_machine", "wire", _machine, "the machine that the policy was trained for",
        "Use a policy for this machine's variant; unitree_ros lists the numbers.",
    ),
    Check(
        "mode_pr", "wire", lambda facts, wire: str(wire.mode_pr) if wire.mode_pr else None, "0: ankles and waist as pitch and roll",
        "Another program has set it: start the robot anew.",
    ),
    Check(
        "strangers", "wire", lambda facts, wire: f"slots {list(wire.strangers)}" if wire.strangers else None,
        "no motors but the robot's joints",
        "The robot has more joints than its description: take the right robot or variant.",
    ),
    Check(
        "firmware", "wire", _firmware,
        f"a version on the tested list: {', '.join(f'{a} {b} ({who})' for (a, b), who in TESTED_FIRMWARE.items())}",
        "Nobody has tried this one: dry run first, then on a gantry, ready to damp.", error=False,
    ),
)  # fmt: skip
