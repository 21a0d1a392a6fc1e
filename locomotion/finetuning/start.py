"""From what a person asked for to a fine-tuning that runs, goes on, or shows what it would send."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deploy import calibration, estop
from deploy.connect import Extras
from deploy.limits import Limits
from deploy.policy import load as load_bundle
from locomotion.data.kinematics import Kinematics
from locomotion.deployment import conditions_of, limits_of
from locomotion.files import make_folder
from locomotion.finetuning import base as bases
from locomotion.finetuning.area import Area
from locomotion.finetuning.base import Base
from locomotion.finetuning.bounds import refuse_wider, widest
from locomotion.finetuning.exploring import Noise
from locomotion.finetuning.keeping import base_bundle, cut_logs
from locomotion.finetuning.runner import Connection, EpisodeRunner, real, simulated
from locomotion.finetuning.session import Session
from locomotion.finetuning.settings import FinetuneSettings, RecipeSettings
from locomotion.finetuning.walks import Ends, Walk, script_of
from locomotion.finetuning.word import Auto, Enter, Word
from locomotion.runs import checkpoint
from locomotion.runs.folder import OURS, alone
from locomotion.schema import plain
from robots import Robot
from robots.errors import InputError

Say = Callable[[str], None]
LEAST_EPISODES = 12  # of the gate
MOST = {
    "margin": 0.2, "intervention_margin": 0.2, "posture_margin": 0.2, "load_margin": 1.0, "gate.margin": 0.2,
    "learner.kl_limit": 20.0, "box.margin": 0.5, "box.growth": 0.01,
}  # fmt: skip
PERSONAL = ("minutes", "final_pairs")  # what may change from one start to the next


def start(settings: FinetuneSettings, say: Say = print) -> tuple[str, dict[str, Any] | None]:
    """Fine-tune into ``settings.output``, or go on there. Returns how it ended (see Session.run) and the last test's verdict.

    Raises InputError for settings that are refused before anything moves: limits that are wider than a deployment's, a policy that
    cannot be fine-tuned, an operator who is no person where a robot is none of ours.
    """
    torch.set_num_threads(settings.threads)
    word, limits, base = _word(settings), limits_of(settings.deploy), bases.load(settings.policy, settings.robot)
    connection = _connection(settings, base.robot)
    folder = make_folder(Path(settings.output), "output")
    make_folder(folder / "logs", "output")
    with alone(folder, "output"):
        _refuse_if_used(folder)
        if settings.dry_run:
            return dry_run(base, connection, settings, limits, folder, say)
        wait = time.sleep if settings.interface != "sim" else lambda seconds: None
        recipe = RecipeSettings.model_validate({name: getattr(settings, name) for name in RecipeSettings.model_fields})
        if settings.interface != "sim":
            refuse_lax(recipe)
        session = Session(base, recipe, connection, word, folder, settings.seed, limits, wait, say, _where(settings))
        if (folder / "state.pt").exists():
            _go_on(session, folder, say)
        else:
            session.refuse_too_short()
        _after_a_kill(session, folder, say)
        return session.run(), session.final


def refuse_lax(recipe: RecipeSettings) -> None:
    """Raises InputError for margins that would tell nothing apart: on a robot, the gate and the pairs stay what they are."""
    gate = recipe.gate
    if gate.episodes < LEAST_EPISODES:
        raise InputError("gate.episodes", gate.episodes, f"at least {LEAST_EPISODES}, before a robot moves", "For example 36.")
    given = {name: getattr(recipe, name) for name in MOST if "." not in name} | {"gate.margin": gate.margin}
    given |= {"learner.kl_limit": recipe.learner.kl_limit, "box.margin": recipe.box.margin, "box.growth": recipe.box.growth}
    for name, value in given.items():
        if not value <= MOST[name]:
            raise InputError(name, value, f"at most {MOST[name]:g}, on a robot", "Leave it out.")


def _refuse_if_used(folder: Path) -> None:
    """A run's files, such as the base's own best.pt, would be written over in the end."""
    there = [name for name in OURS if name != "metrics.jsonl" and (folder / name).exists()]
    if there and not (folder / "state.pt").exists():
        raise InputError("output", str(folder), f"a folder of its own, without {there[0]}", "Choose another: it would be written over.")


def _word(settings: FinetuneSettings) -> Word:
    if settings.operator == "enter":
        return Enter()
    if settings.interface != "sim":
        raise InputError("operator", "auto", "enter: a person gives the word for each walk of a robot", "Leave operator out.")
    return Auto()


def _connection(settings: FinetuneSettings, robot: Robot) -> Connection:
    """Raises InputError for what the interface has not, a key or a calibration that is none, a port that another program has."""
    if settings.interface == "sim":
        for name in ("estop", "calibration"):
            if getattr(settings, name) is not None:
                remedy = "The simulated robot lives in a time of its own: locomotion hil serve is one in ours."
                raise InputError(name, getattr(settings, name), "interface=unitree_dds", remedy)
        return simulated(conditions_of(settings.plant), settings.dry_run)
    if settings.plant:
        raise InputError("plant", settings.plant, "interface=sim: what a robot meets, it meets", "Leave plant out.")
    if settings.estop is not None:  # before anything is asked of a person
        estop.EStopServer(estop.place(settings.estop, Path())).close()
    own = calibration.read(Path(settings.calibration), robot) if settings.calibration else None
    way = {"network": settings.network, "domain": settings.domain, "release": settings.release}
    return real({"name": settings.interface, **way}, settings.dry_run, Extras(settings.estop), own)


def _where(settings: FinetuneSettings) -> dict[str, Any]:
    """What another start in the same folder must leave as it is: a candidate that was kept on one robot is not trusted on another."""
    ways = {"sim": ("plant",), "unitree_dds": ("network", "domain", "calibration")}[settings.interface]
    return {name: plain(settings)[name] for name in ("interface", *ways)}


def _go_on(session: Session, folder: Path, say: Say) -> None:
    """From ``state.pt``. Raises InputError where it is of another policy, or began under other settings."""
    state, _ = checkpoint.unpack(folder / "state.pt")
    ours: Mapping[str, Any] = session.state_dict()
    for name in ("policy", "seed"):
        if state[name] != ours[name]:
            raise InputError(name, ours[name], f"that of {folder}: {state[name]}", "Choose another output.")
    before, now = ({**one["settings"], **one["where"]} for one in (state, ours))
    for name, value in before.items():
        if name not in PERSONAL and value != now.get(name):
            raise InputError(name, now.get(name), f"as {folder} began: {value}", "Leave it out, or choose another output.")
    session.load_state_dict(state)
    session.runner.area.carried = True
    say(f"going on in {folder} after {session.number} runs, {session.seconds / 60:.1f} minutes of the robot")


def _after_a_kill(session: Session, folder: Path, say: Say) -> None:
    """The next run was begun before: of one that was killed, the first one too, nobody noted how warm its motors were."""
    name, state = f"run_{session.number:03d}", folder / "state.pt"
    log = folder / "logs" / f"{name}.mcap"
    if log.exists() and not (state.exists() and log.stat().st_mtime <= state.stat().st_mtime):
        session.was_warm(max(time.time() - log.stat().st_mtime, 0.0))
    if log.exists():
        again = sum(other.startswith(f"{name}.") for other in cut_logs(folder)) + 1
        say(f"run {session.number} was cut short, and is walked again: its log is logs/{name}.mcap, and will be logs/{name}.{again}.mcap")


def dry_run(
    base: Base, connection: Connection, settings: FinetuneSettings, limits: Limits, folder: Path, say: Say
) -> tuple[str, None]:  # fmt: skip
    """One walk of the base with exploration, of which no motor hears; says what was decided and what would have been sent."""
    contract = load_bundle(base_bundle(base, folder), base.robot).contract
    refuse_wider(limits, widest(contract))
    dt = contract.control_dt
    runner = EpisodeRunner(
        base, contract, connection, Noise(settings.std, settings.correlation, dt),
        Ends(settings.ends.tilt, settings.ends.temperature), Auto(), Area(Kinematics(base.robot), settings.ends.radius, dt), dry_run=True,
    )  # fmt: skip
    script = script_of(settings.commands[:3], settings.walk_seconds, contract.command_rest.tolist())
    outcome = runner.run(
        [Walk("base", script, settings.walk_seconds, settings.seed)], {"base": base.actor}, limits, 0, folder / "logs" / "dry_run.mcap"
    )  # fmt: skip
    say(f"dry run of {settings.policy} on {settings.interface}: nothing was sent. The robot would be told, by joint:")
    for episode in outcome.episodes:
        asked, sent = (episode.columns[name] for name in ("asked_joint_pos_target", "joint_pos_target"))
        ends = np.stack([sent.min(axis=0), sent.max(axis=0), asked.min(axis=0), asked.max(axis=0)], axis=-1)
        for name, (low, high, least, most) in zip(base.robot.joint_names, ends, strict=True):
            say(f"  {name:20} {low:6.2f} to {high:6.2f} rad (asked: {least:6.2f} to {most:6.2f})")
        say(f"filters would change {100 * float(np.mean(episode.changed)):.1f} % of {len(episode)} steps")
    for event in outcome.events:  # a robot's clock is the computer's: the first one is at 0
        say(f"  {event.time - outcome.events[0].time:7.2f} s  {event.kind:14} {event.detail}")
    say(f"log: {folder / 'logs' / 'dry_run.mcap'}")
    return "done", None
