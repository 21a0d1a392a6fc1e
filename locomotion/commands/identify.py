"""locomotion identify LOG"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locomotion.files import make_folder
from locomotion.identification import result
from locomotion.identification.estimate import estimate
from locomotion.identification.recording import cut, read_recording
from locomotion.identification.unknowns import OF_THE_BASE, unknowns
from locomotion.schema import check
from locomotion.settings import IdentifySettings


def run(config: dict[str, Any], given: dict[str, Any]) -> int:
    """A log to parameters, a page and a randomization."""
    settings = check(IdentifySettings, config)
    log = Path(settings.log)
    recording = read_recording(log, settings.robot, settings.place)
    sought = unknowns(recording.robot, settings.parameters, settings.joints, recording.held)
    left_out = [name for name in settings.parameters if recording.held and name in OF_THE_BASE]
    windows = cut(recording, settings.window, settings.lead, settings.judge)
    output = Path(settings.output) if settings.output else log.with_name(f"{log.stem}_identified")
    make_folder(output / "configs" / "randomization", "output")  # before the work, so that it is not lost
    print(f"{len(sought)} parameters, {len(windows.first)} windows of {settings.window:g} s, {windows.judge.sum()} held out", flush=True)
    found = estimate(recording, windows, sought, settings.threads, lambda words: print(f"  {words}", flush=True))
    written = result.write(found, recording, output, settings.randomization, log, left_out)
    print("\n".join(result.lines(written)))
    print(output / "identification.html")
    print(f"Next: LOCOMOTION_CONFIGS={output / 'configs'} locomotion train robot={recording.robot.name} "
          f"randomization={Path(written['randomization']).stem}")  # fmt: skip
    return 0
