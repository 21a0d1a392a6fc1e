"""locomotion policies import FILE.yaml [output=policy.onnx] | check FILE.yaml"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from locomotion.files import output_file
from robots.errors import InputError, nearest

SHOWN = 8  # outcomes of a search


def run(words: list[str]) -> int:
    """Exit status 0: done; 1: the policy falls as described, or another description does better."""
    action, *rest = words or [""]
    if action not in ACTIONS:
        raise InputError("policies", action, f"one of {', '.join(ACTIONS)}", nearest(action, ACTIONS))
    return ACTIONS[action](rest)


def _arguments(action: str, words: list[str], keys: tuple[str, ...] = ()) -> tuple[Path, dict[str, str]]:
    """The one description, and what is given as key=value."""
    names = [word for word in words if "=" not in word]
    given = {key: value for key, _, value in (word.partition("=") for word in words if "=" in word)}
    if len(names) != 1 or not set(given) <= set(keys) or "" in given.values():
        allowed = f"one description, such as walk.yaml{''.join(f', and at most one {key}=' for key in keys)}"
        raise InputError(f"policies {action}", " ".join(words), allowed, "See 'locomotion policies --help'.")
    return Path(names[0]), given


def _import(words: list[str]) -> int:
    """A bundle of a policy that was trained elsewhere."""
    path, given = _arguments("import", words, ("output",))
    from locomotion.adapters.foreign_import import import_policy
    from locomotion.adapters.foreign_policy import read

    found = read(path)
    output = output_file(Path(given.get("output", "policy.onnx")), "output", path, found.file)
    graph = import_policy(found, output)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, verified, for {found.robot.name}")
    print(f"it takes {', '.join(graph.inputs)}, and remembers {graph.memory or 'nothing'}")
    print(f"next: locomotion policies check {path}    does it stand and walk so?")
    return 0


def _check(words: list[str]) -> int:
    """Whether the policy stands and walks as described, and which change of the description would make it."""
    path, _ = _arguments("check", words)
    from locomotion.gl import prepare_gl

    prepare_gl()  # before mujoco is imported
    from locomotion.adapters.foreign_check import TRIALS, search
    from locomotion.adapters.foreign_policy import read
    from locomotion.view import LiveView

    found, cures, described = read(path), [], None
    print(f"{found.file.name} on {found.robot.name}, {len(TRIALS)} commands: as described, and with every single thing changed")
    with LiveView(f"locomotion policies check  {path}") as view:
        rounds = list(search(found, lambda share: view.phase("search", share)))
    for number, one in enumerate(rounds):
        described = described or one.described
        print(f"\n{'after that change' if number else 'as described'}: upright {one.described.upright:4.0%}, "
              f"tracking {one.described.tracking:.2f}; of {len(one.outcomes)} descriptions the best:")  # fmt: skip
        for outcome in [outcome for outcome in one.outcomes if not outcome.given_up][:SHOWN]:
            change = f"{outcome.variation.kind}: {outcome.variation.words}"
            print(f"  upright {outcome.upright:4.0%}  tracking {outcome.tracking:.2f}  {change}")
        if one.better:
            cures.append(" or ".join(outcome.variation.words for outcome in one.better))
    best = rounds[-1].outcomes[0] if rounds[-1].better else rounds[-1].described
    assert described is not None
    if not cures and described.stands:
        print("\nit stands and walks as described; no single change does much better")
        return 0
    if not best.stands:
        print("\nit falls under every description tried" + (f"; the best of them has {'; and '.join(cures)}" if cures else ""))
        return 1
    print(f"\nit {'walks worse' if described.stands else 'falls'} as described; it stands and walks with {'; and '.join(cures)}")
    return 1


ACTIONS: dict[str, Callable[[list[str]], int]] = {"import": _import, "check": _check}
