"""locomotion evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion import plugins
from locomotion.commands import robustness
from locomotion.evaluation import scorecard, sim_to_sim, sim_to_sim_page
from locomotion.evaluation.rollout import load_policy
from locomotion.files import output_file, write_json
from locomotion.schema import check, refuse_unused
from locomotion.settings import SCORING, EvaluateSettings
from locomotion.view import LiveView, print_scores, print_table
from robots.errors import InputError
from sim import engines_with

OF_A_SCORECARD = dict.fromkeys(("episodes", "gait"), "A sweep has trials of its own")


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Bundle to scorecard; in several engines, to a gate with its page."""
    settings = check(EvaluateSettings, config)
    refuse_unused(given, SCORING | (OF_A_SCORECARD if settings.sweep else {}))
    plugins.load(settings.plugins)
    engines = [one.engine for one in settings.sim]
    if given.get("gait") and "mujoco" not in engines:
        raise InputError("gait", True, "sim=mujoco, in which gait is measured", "Leave gait out, or name mujoco among the engines.")
    asked = sim_to_sim.check_gate(engines, settings.gate)
    if "others" in given and settings.sweep != "randomization":
        raise InputError("others", settings.others, "sweep=randomization beside it", "It is the world of that sweep alone: leave it out.")
    if settings.sweep:
        return robustness.run(settings)
    if settings.against:
        raise InputError(
            "against", settings.against, "a policy to draw beside in a sweep", "Add sweep=randomization, or see 'locomotion compare'."
        )
    policy = Path(settings.policy)
    output = settings.output or (str(policy.with_name(f"{policy.stem}_engines.json")) if len(engines) > 1 else None)
    if output:
        output_file(Path(output), "output", policy)  # before the work, so that it is not lost
    with LiveView(f"locomotion evaluate  {policy}") as view:
        card = scorecard.score_file(
            policy,
            dict.fromkeys(engines, settings.episodes),
            settings.randomization,
            settings.seed,
            view.phase,
            settings.gait,
            settings.sim[0].actuator,
            next((one.device for one in settings.sim if one.device), None),
        )
        matched = _matched(settings, view) if len(engines) > 1 else []
    print_scores(card["scores"])
    for engine, conditions in card["scores"].items():
        lacking = [name for name in settings.randomization.parameters if engine not in engines_with(name)]
        if lacking and "randomized" not in conditions:
            print(f"not randomized in {engine}, which has no {', '.join(lacking)}")
    outside = max(figures["outside"] for conditions in card["scores"].values() for figures in conditions.values())
    if outside:
        print(f"{outside} of the commands lie outside the range that the policy was trained for: clipped to it, as on the robot")
    if matched:
        return _judge(settings, card, matched, asked, Path(output or ""))
    if output:
        write_json(Path(output), card, "output")
    return 0


def _matched(settings: EvaluateSettings, view: LiveView) -> list[sim_to_sim.Matched]:
    engines = {one.engine: (one.actuator, one.device) for one in settings.sim}
    return sim_to_sim.compare(load_policy(Path(settings.policy)), engines, settings.randomization, settings.seed, view.phase)


def _judge(settings: EvaluateSettings, card: dict[str, Any], matched: list[sim_to_sim.Matched], asked: bool, output: Path) -> int:
    """Print the matrix and what parts first, write file and page, and say whether the gate is passed."""
    policy, rows = load_policy(Path(settings.policy)), sim_to_sim.matrix(card["scores"])
    failed = sim_to_sim.shortfalls(rows, settings.gate)
    print_table(f"nominal, and as a share of {rows[0]['engine']}'s", *sim_to_sim_page.table(rows))
    names = policy.contract.command_names
    for engine in [row["engine"] for row in rows[1:]]:
        print(f"parts first in {engine}, told")
        for one in matched:
            print(f"  {sim_to_sim_page.told(one, names)}: {sim_to_sim_page.first(one, engine)}")
    card["engines"] = {"matrix": rows, "gate": settings.gate.model_dump(), "failed": failed, "matched": sim_to_sim.summary(matched)}
    write_json(output, card, "output")  # first: a page is larger, and a disk may be full
    written = sim_to_sim_page.write(
        output.with_suffix(".html"), settings.policy, policy.robot, rows, failed if asked else None, matched, names
    )
    print(written)
    if asked:
        print("\n".join(f"gate: {line}" for line in failed) or "gate: passed")
    return 1 if failed else 0
