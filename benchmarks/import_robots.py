"""How far each robot of a folder of descriptions gets with no hand edit: imported, standing, walking.

    python benchmarks/import_robots.py .../example-robot-data/robots [iterations=200] [bipeds=600] [only=NAME,NAME] [output=FOLDER]

The folder is that of the package example-robot-data. Robots on two legs are trained by velocity_biped, for "bipeds" iterations;
0 leaves out the training.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from locomotion.runs.folder import read_metrics
from robots import InputError, Robot
from robots.findings import findings
from robots.importer import import_robot
from robots.model import build_spec, total_mass

ROBOTS = {
    "a1": "a1_description/urdf/a1.urdf",
    "anymal_b": "anymal_b_simple_description/robots/anymal.urdf",
    "anymal_c": "anymal_c_simple_description/urdf/anymal.urdf",
    "b1": "b1_description/urdf/b1.urdf",
    "bolt": "bolt_description/robots/bolt.urdf",
    "go1": "go1_description/urdf/go1.urdf",
    "go2": "go2_description/urdf/go2.urdf",
    "g1": "g1_description/urdf/g1_29dof_rev_1_0.urdf",
    "hyq": "hyq_description/robots/hyq_no_sensors.urdf",
    "laikago": "laikago_description/urdf/laikago.urdf",
    "solo8": "solo_description/robots/solo.urdf",
    "solo12": "solo_description/robots/solo12.urdf",
    "talos": "talos_data/robots/talos_full_v2.urdf",
}


def main() -> None:
    source, *words = sys.argv[1:]
    settings = {"iterations": "200", "bipeds": "600", "only": ",".join(ROBOTS), "output": tempfile.mkdtemp(prefix="imported_")}
    settings |= dict(word.split("=", 1) for word in words)
    output, iterations = Path(settings["output"]), {4: int(settings["iterations"]), 2: int(settings["bipeds"])}
    columns = "robot", "mass, kg", "joints", "base, m", "10 s on its feet", "errors, warnings", "after training", "guessed"
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name in settings["only"].split(","):
        print(f"| {name} | {_row(Path(source) / ROBOTS[name], output / 'robots' / name, iterations)} |", flush=True)


def _row(file: Path, folder: Path, iterations: dict[int, int]) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        imported = import_robot(file, folder)
    except InputError as error:
        return f"not imported: {error} |||||| "
    robot, stood = imported.robot, imported.stood
    found = findings(folder)
    errors = sum(finding.error for finding in found)
    sag = 100 * (1 - stood.height / robot.standing_height)
    standing = "falls" if stood.fallen else f"stands, sags {sag:.1f} %, tilts {stood.tilt:.3f}"
    said = "; ".join(dict.fromkeys(line.split(":")[0].split(" of ")[0].split(" ")[0].rstrip(",") for line in imported.guessed))
    mass = total_mass(build_spec(robot).compile())
    count = iterations[len(robot.feet)]
    walking = _train(robot, folder, count) if count else "-"
    figures = f"{mass:.2f} | {robot.num_joints} | {robot.standing_height:.3f}"
    return f"{figures} | {standing} | {errors}, {len(found) - errors} | {walking} | {said}"


def _train(robot: Robot, folder: Path, iterations: int) -> str:
    """The training's own scores at its end: tracking 0.40 is standing still."""
    run = folder.parent.parent / "runs" / robot.name
    abduction = [] if "abduction" in robot.joint_groups else ["task.rewards.abduction=null"]
    command = [
        sys.executable,
        "-m",
        "locomotion.cli",
        "train",
        f"robot={robot.name}",
        f"task={'velocity_biped' if len(robot.feet) == 2 else 'velocity_flat'}",
        f"iterations={iterations}",
        "score_every=0",
        f"run={run}",
    ]
    environment = os.environ | {"LOCOMOTION_ROBOTS": str(folder.parent)}
    result = subprocess.run([*command, *abduction], env=environment, capture_output=True, text=True)
    if result.returncode:
        return f"refused: {result.stderr.strip().splitlines()[-1]}"
    last = read_metrics(run)[-1]
    tracking, yaw, gait = (last[f"metric/{name}"] for name in ("tracking", "yaw", "gait"))
    return f"tracking {tracking:.2f}, yaw {yaw:.2f}, gait {gait:.2f} after {iterations} iterations"


if __name__ == "__main__":
    main()
