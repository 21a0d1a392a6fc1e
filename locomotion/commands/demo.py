"""locomotion demo: the whole loop, with everything it makes in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion import plugins
from locomotion.commands import faults
from locomotion.deployment import run_deployment
from locomotion.evaluation import report, scorecard
from locomotion.export import export_checkpoint
from locomotion.files import write_json
from locomotion.runs import checkpoint
from locomotion.runs.start import resume, start
from locomotion.schema import check, plain
from locomotion.settings import DemoSettings, TrainSettings
from locomotion.view import LiveView, print_scores
from robots.errors import InputError


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """Train, export, score, run behind the safety layer, report."""
    settings = check(DemoSettings, config)
    training = check(TrainSettings, {key: value for key, value in config.items() if key in TrainSettings.model_fields})
    plugins.load(settings.plugins)
    if settings.pybullet_episodes:
        import_pybullet()  # before the training, which would be for nothing
    folder = Path(settings.run or "runs/demo")
    bundle = folder / "policy.onnx"
    with LiveView(f"locomotion demo  {folder}") as view:
        done, _ = _train(training, folder, view)
        view.phase("export")
        export_checkpoint(folder / "best.pt", bundle)
        engines = {"mujoco": settings.episodes} | ({"pybullet": settings.pybullet_episodes} if settings.pybullet_episodes else {})
        card = scorecard.score_file(
            bundle,
            engines,
            settings.randomization,
            0,
            lambda name, share: view.phase(f"score {name}", share),
            actuator=settings.sim.actuator,
        )
        card |= {"train_seconds": done.seconds, "train_steps": done.steps}
        write_json(folder / "scorecard.json", card, "run")
        export_checkpoint(folder / "best.pt", bundle, card["scores"])
        view.phase("deploy", 0.0)
        summary = run_deployment(
            bundle, settings.duration, settings.commands, settings.deploy, folder, progress=lambda share: view.phase("video", share)
        )
        safe = faults.few(bundle, folder, lambda share: view.phase("faults", share))
        view.phase("report", 0.5)
        page = report.write(folder)
        view.phase("done", 1.0)
    print_scores(card["scores"])
    print(f"\nLook at {page}, {folder / 'video.mp4'} and the other files of {folder}/. Then try:")
    print(f'  locomotion play policy={bundle} command="[0.8,0,0.3]" output=walk.mp4')
    print(f"  locomotion evaluate policy={bundle} sim=mujoco episodes=144 seed=1 output=scorecard.json")
    print("  locomotion train seed=2 task.gait.swing_height=0.1")
    if not summary["passed"]:
        print(f"\nThe run behind the safety layer did not pass: see {folder / 'deploy.json'}.")
    if not safe:
        print(f"\nNot every fault ended as it must: see {page} and {folder / 'faults.json'}.")
    return 0 if summary["passed"] and safe else 1


def _train(training: TrainSettings, folder: Path, view: LiveView):  # -> tuple[Run, Path]
    if not (folder / "last.pt").is_file():
        return start(training.model_copy(update={"run": str(folder)}), lambda _: view, view.say)
    before = checkpoint.load(folder / "last.pt")["config"]
    asked = plain(training)
    for name in asked.keys() - {"run", "resume", "threads"}:
        if before.get(name) != asked[name]:
            raise InputError(
                "run",
                str(folder),
                f"a folder of a run with the same settings ('{name}' differs)",
                f"Remove {folder}, or choose run=runs/demo2.",
            )
    return resume(str(folder), {}, lambda _: view, view.say)


def import_pybullet() -> None:
    """Raises InputError where PyBullet is not installed."""
    from sim.pybullet import load_bullet

    load_bullet()
