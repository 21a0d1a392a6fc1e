"""locomotion sweep"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from locomotion.config import compose
from locomotion.evaluation import seeds
from locomotion.runs import sweep
from locomotion.runs.folder import alone
from locomotion.schema import check
from locomotion.settings import SweepSettings
from locomotion.view import print_table
from robots.errors import InputError


def run(words: list[str]) -> int:
    """Train every combination of the values given; exit status 1 where a training failed."""
    own = [word for word in words if word.partition("=")[0] in SweepSettings.model_fields]
    settings = check(SweepSettings, compose("sweep", own))
    sweep.check_launcher(settings.launcher)
    trainings = [word for word in words if word not in own]
    if settings.resume and (trainings or settings.output):
        raise InputError("resume", settings.resume, "nothing beside jobs and launcher: a sweep goes on with its own", "Leave the rest out.")
    if not settings.resume and not trainings:
        remedy = "For example locomotion sweep seed=1,2,3; to go on with one: resume=FOLDER. See 'locomotion sweep --help'."
        raise InputError("sweep", "nothing to train", "settings of 'locomotion train', with several values", remedy)
    if settings.resume:
        task = sweep.load(Path(settings.resume))
    else:
        trials = sweep.plan(trainings)
        task = sweep.create(Path(settings.output or f"runs/sweep_{datetime.now():%Y-%m-%d_%H-%M-%S}"), trials)
    with alone(task.folder, "resume" if settings.resume else "output"):
        failed = sweep.run(task, settings, lambda line: print(line, flush=True))
    folders = [task.folder / trial.name for trial in task.trials if (task.folder / trial.name / "metrics.jsonl").exists()]
    print_table("sweep, best first", seeds.HEAD, seeds.write(folders, task.folder / "sweep.html"))
    print(f"page: {task.folder / 'sweep.html'}")
    if failed:
        print(f"{len(failed)} of {len(task.trials)} failed: see {task.folder / 'logs'}, then locomotion sweep resume={task.folder}")
    return 1 if failed else 0
