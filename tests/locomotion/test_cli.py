"""What a person types, right and wrong."""

import json
import subprocess
import sys
import time

import pytest
from matplotlib.image import imread

from locomotion.cli import COMMANDS, main
from locomotion.commands.train import learns_from_data
from locomotion.config import compose, options
from locomotion.export import export_checkpoint
from robots.errors import InputError
from tests.conftest import TINY
from tests.robots.broken import go2_copy
from tests.robots.importer_files import dog


@pytest.mark.parametrize("words", [[], ["--help"], *[[name, "--help"] for name in COMMANDS]])
def test_help_reads_well_and_imports_nothing_heavy(words):
    code = (
        "import sys; from locomotion.cli import main; status = main(sys.argv[1:]);"
        "assert not {'torch', 'mujoco', 'hydra'} & set(sys.modules); sys.exit(status)"
    )
    began = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - began < 5  # a second when nothing else runs
    assert "usage: locomotion" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 140


@pytest.mark.parametrize(
    ("words", "own", "other"),
    [
        (["hil", "run"], "suite:", "octet:"),
        (["hil", "serve"], "octet:", "suite:"),
        (["dataset", "from-logs"], "logs:", "steps:"),
        (["identify", "excite"], "hold:", "window:"),
    ],
)
def test_an_actions_help_shows_its_own_settings_alone(words, own, other, capsys):
    assert main([*words, "--help"]) == 0
    settings = capsys.readouterr().out.partition("Settings")[2]
    assert f"\n  {own}" in settings
    assert f"\n  {other}" not in settings


def test_help_lists_the_algorithms_that_the_command_can_take(capsys):
    listed = {}
    for command in ("train", "offline"):
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out.split("algorithm=  ", 1)[1].split("\n\n")[0].split("=")[0]
        listed[command] = {name for name in options("algorithm") if name in text.replace("|", " ").split()}
    of_data = {
        name
        for name in set(options("algorithm")) - {"distill"}
        if learns_from_data(compose("train", [f"algorithm={name}"])["algorithm"]["name"])
    }
    assert listed["offline"] == of_data
    assert listed["train"] == set(options("algorithm")) - listed["offline"]
    assert {"bc_gymnasium", "iql", "cql", "td3_bc"} <= listed["offline"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "Did you mean train?"),
        (["deploy", "docter", "go2.yaml"], "Did you mean doctor?"),
        (["deploy", "inspect", "missing.onnx"], "missing.onnx"),
        (["train", "algorithm=iql"], "locomotion offline algorithm=iql dataset="),
        (["train", "robot=unitree_gos2"], "Did you mean unitree_go2"),
        (["train", "task=velocity_flt"], "Did you mean velocity_flat"),
        (["train", "task.protocol=velocty"], "Did you mean velocity?"),
        (["train", "randomization.dead_joint=2"], "less than or equal to 1"),
        (["train", "randomization=none", "randomization.imu_tilt=-1"], "greater than or equal to 0"),
        (["train", "sim=mujco"], "Did you mean mujoco or mujoco_warp?"),
        (["train", "algorithm=pp0"], "Did you mean ppo"),
        (["train", "num_envs=4"], "Did you mean algorithm.num_envs?"),
        (["train", "task.rewards.foot_slp.weight=1"], "Did you mean foot_slip"),
        (["train", "+task.rewards.foot_slp.weight=1"], "Did you mean foot_slip"),
        (["train", "~task.rewards.foot_slip"], "key=null removes a term"),
        (["train", "+algorithm.foo=1"], "the name of a setting"),
        (["train", "task.rewards.fot_slip=null"], "Did you mean task.rewards.foot_slip"),
        (["train", "task.rewards={}"], "task.rewards.NAME=null"),
        (["train", "task.name=../escape"], "task.name"),
        (["train", "task.terminations.low_base.share=1e308"], "less than or equal to"),
        (["train", "task.rewards.foot_slip.term={a: 1}"], "the name of a term"),
        (["train", "task.observations.actor.gait_clock=null"], "clock of the task's gait"),
        (["train", "resume=1"], "resume"),
        (["report", "runs/mine"], "Did you mean run=runs/mine"),
        (["compare", "runs=[a,b]", "output=."], "the name of a file"),
        (["train", "algorithm.name=soc"], "the name of an algorithm"),
        (["train", "seed=one"], "a valid integer"),
        (["train", "seed=-1"], "greater than or equal to 0"),
        (["train", "seed=99999999999999999999"], "less than"),
        (["train", "seed=[1"], "key=value"),
        (["train", "task.control_dt=10"], "less than or equal to 0.1"),
        (["train", "task.control_dt=0"], "greater than or equal to 0.001"),
        (["train", "task.episode_seconds=0"], "greater than 0"),
        (["train", "sim.threads=-1"], "greater than or equal to 0"),
        (["train", "sim.physics_dt=null"], "valid number"),
        (["train", "algorithm.learning_rate=-1"], "greater than 0"),
        (["train", "algorithm.gamma=nan"], "algorithm.gamma"),
        (["train", "randomization.parameters.action_delay=[10,10]"], "within [0.0, 0.06]"),
        (["train", "randomization.parameters.base_mass_offset=[-1000,0]"], "within"),
        (["train", "randomization.noise.joint_vel=-1"], "greater than or equal to 0"),
        (["train", "run=3"], "a valid string"),
        (["train", "run=[1,2]"], "a valid string"),
        (["train", "plugins=[nothing.py]"], "the path of a Python file"),
        (["train", "plugins=[no_such_package]"], "a package that can be imported"),
        (["train", "init=nothing"], "a run folder"),
        (["train", "run=a\x00b"], "run"),
        (["train", "seed"], "key=value"),
        (["train", "task.commands.velocity.forward=[1,-1]"], "min <= max"),
        (["train", "randomization.parameters.friction=[2,1]"], "min <= max"),
        (["train", "algorithm.num_envs=0"], "an integer from 1"),
        (["train", "algorithm.num_envs=-4"], "an integer from 1"),
        (["train", "iterations=0"], "greater than or equal to 1"),
        (["train", "sim.physics_dt=0.003"], "divisor"),
        (["train", "run=/proc/nowhere/run"], "folder that can be written to"),
        (["train", "resume=runs/nothing_here"], "a run folder"),
        (["export", "checkpoint=none.pt"], "a run folder"),
        (["export"], "checkpoint=..."),
        (["evaluate", "policy=none.onnx"], "path of a policy.onnx"),
        (["deploy", "policy=none.onnx", "interface=real"], "'sim'"),
        (["deploy", "policy=none.onnx"], "path of a policy.onnx"),
        (["play", "policy=none.onnx"], "path of a policy.onnx"),
        (["report", "run=none"], "run"),
        (["dataset", "from-logs", "output=d"], "Name them: locomotion dataset from-logs a.mcap"),
        (["evaluate", "policy=none.onnx", "episodes=0"], "greater than or equal to 1"),
        (["play", "policy=none.onnx", "duration=0"], "greater than 0"),
        (["play", "policy=none.onnx", "command=[a,b]"], "valid number"),
        (["compare", "runs=[a]"], "at least 2"),
        (["compare", "runs=[a,b]"], "run"),
        (["robots", "lst"], "Did you mean list"),
        (["robots", "check"], "a robot"),
        (["robots", "import", "none.urdf"], "none.urdf"),
        (["robots", "show", "go2"], "Did you mean unitree_go2?"),
        (["train", "sim=pybullet", "sim.actuator=net"], "sim.actuator"),
        (["train", "robot=go2"], "Did you mean unitree_go2?"),
        (["train", "randomization.parameters.restitution=[0,0.5]"], "Engines with restitution: pybullet."),
        (["train", "sim=isaacgym"], "env=isaacgym:"),
        (["train", "algorithm.name={a: 1}"], "the name of an algorithm"),
        (["actuator", "fit", "output=d"], "Name them: locomotion actuator fit a.mcap"),
        (["train", "seed=ü"], "a valid integer"),
        (["offline", "algorithm.name={a: 1}"], "dataset"),
        (["deploy", "policy=none.onnx", "deploy.limits=5"], "settings as {key: value}"),
        (["finetune", "policy=none", "output=f", "network=eth0"], "network: got 'eth0'; expected nothing"),
        (["finetune", "policy=none", "output=f", "deploy.limits=null"], "settings as {key: value}"),
        (["finetune", "policy=none", "output=f", "learner.name={a: 1}"], "one of ppo, rlpd"),
        (["sweep"], "locomotion sweep seed=1,2,3"),
        (["sweep", "jobs=2", "output=s"], "settings of 'locomotion train'"),
        (["evaluate", "policy=p", "sim.physics_dt=0.01"], "Scores are always taken at 0.002 s"),
        (["evaluate", "policy=p", "sim=[mujoco,mujoco_warp]", "sim.contacts=9"], "leave sim.contacts out"),
        (["evaluate", "policy=p", "sim=pybullet", "gait=true"], "sim=mujoco, in which gait is measured"),
        (["evaluate", "policy=p", "sweep=falsify", "episodes=3"], "A sweep has trials of its own"),
        (["play", "policy=p", "sim.threads=2"], "taskset"),
        (["export", "checkpoint=c", "sim=pybullet"], "Engines are for a gate between several"),
        (["export", "checkpoint=c", "sim=[mujoco,pybullet]", "gate.falls=0", "sim.threads=1"], "leave sim.threads out"),
        (["conformance", "sim.actuator=pd"], "Each check has its own"),
        (["evaluate", "policy=p", "zzz=1"], "more (--help)."),
    ],
)
def test_wrong_input_is_one_clear_error(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize("name", ["jürgen 名", "~me", "#1", "a=b", "(x)", "it's", "a\\'b", 'a"b', "a+b@c%20", "[x]y"])
def test_a_path_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = f"./{name}/x.json"
    assert compose("conformance", [f"output={path}"])["output"] == path
    assert compose("train", [f"run={tmp_path}/{name}", "seed=3"])["run"] == f"{tmp_path}/{name}"


def test_a_setting_goes_to_those_of_several_engines_that_have_it():
    words = ["sim=[mujoco,mujoco_warp,pybullet]", "sim.device=cpu", "sim.threads=3"]
    first, second, third = compose("evaluate", ["policy=p", *words])["sim"]
    assert "device" not in first | third
    assert second["device"] == "cpu"
    assert [one["threads"] for one in (first, second, third)] == [3, 3, 3]
    for words in (["sim=[mujoco,pybullet]", "sim.device=cpu"], ["sim=[mujoco,mujoco_warp]", "sim.devce=cpu"]):
        with pytest.raises(InputError, match="a setting of mujoco or"):
            compose("conformance", words)


def test_an_engine_brings_what_it_trains_well_with_unless_one_chooses():
    def chosen(*words):
        config = compose("train", list(words))
        return config["iterations"], config["algorithm"]["num_envs"], config["algorithm"]["steps"]

    plain, bullet = chosen(), chosen("sim=pybullet")
    assert bullet[1] * bullet[2] < plain[1] * plain[2] / 2
    assert chosen("sim=pybullet", "iterations=7", "algorithm.num_envs=9") == (7, 9, bullet[2])
    assert chosen("sim=pybullet", "algorithm=ppo_large") == chosen("algorithm=ppo_large")
    assert chosen("sim=mujoco_warp") == plain


def test_robots_list(capsys):
    assert main(["robots", "list"]) == 0
    assert "unitree_go2" in capsys.readouterr().out


def test_an_existing_run_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "last.pt").touch()
    assert main(["train", f"run={tmp_path}"]) == 2
    assert f"resume={tmp_path}" in capsys.readouterr().err


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert main(["train", *TINY, f"run={folder}"]) == 0
    return folder


def test_train_export_evaluate_deploy_report(run, tmp_path, capsys):
    """The loop with an untrained policy: every command works on what the one before it wrote."""
    bundle = run / "policy.onnx"
    assert main(["export", f"checkpoint={run}/last.pt", f"output={bundle}"]) == 0
    assert main(["evaluate", f"policy={bundle}", "episodes=2", "gait=false", f"output={run}/scorecard.json"]) == 0
    card = json.loads((run / "scorecard.json").read_text())
    assert {"scores", "gait"} <= set(card)
    assert set(card["scores"]["mujoco"]) == {"nominal", "randomized"}
    keys = {"tracking_score", "yaw_score", "lin_vel_error", "ang_vel_error", "fall_rate", "cost_of_transport"}
    keys |= {"torque_saturation", "action_rate", "foot_slip", "episodes", "outside"}
    assert set(card["scores"]["mujoco"]["nominal"]) == keys
    assert main(["export", f"checkpoint={run}/last.pt", f"output={bundle}", f"scorecard={run}/scorecard.json"]) == 0
    status = main(["deploy", f"policy={bundle}", "duration=8", f"output={run}"])
    summary = json.loads((run / "deploy.json").read_text())
    assert status == (0 if summary["passed"] else 1)
    assert summary["final_state"] in ("damping", "fault")
    assert main(["report", f"run={run}"]) == 0
    page = (run / "report.html").read_text()
    for part in ("Learning", "Scorecard", "Behind the safety layer", "Loop timing", "How it was made", "locomotion"):
        assert part in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_resume_goes_on_with_more_iterations(run, capsys):
    assert main(["train", f"resume={run}", "iterations=4"]) == 0
    assert "192 steps" in capsys.readouterr().out  # 4 x 8 x 6


def test_resume_with_the_default_number_of_iterations_counts_as_asked(run, monkeypatch):
    asked = []
    monkeypatch.setattr("locomotion.runs.train._iterate", lambda run: asked.append(run.config["iterations"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", f"resume={run}", "iterations=450"])
    assert asked == [450]


def test_resume_with_another_setting_is_refused(run, capsys):
    assert main(["train", f"resume={run}", "seed=5"]) == 2
    assert "a run goes on with its own" in capsys.readouterr().err


def test_a_snapshot_can_be_exported_but_not_resumed(run, tmp_path, capsys):
    assert main(["train", f"resume={run}", "iterations=20"]) == 0
    snapshot = run / "checkpoints" / "000020.pt"
    export_checkpoint(snapshot, tmp_path / "policy.onnx")
    assert main(["train", f"resume={snapshot}"]) == 2
    assert "complete checkpoint" in capsys.readouterr().err


def test_a_reader_who_leaves_early_is_no_error(run):
    """``locomotion train --help | head -1``"""
    command = f"{sys.executable} -m locomotion.cli train --help | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("gl", ["egl", "nonsense", "osmesa", ""])
def test_without_a_library_to_render_with_all_but_videos_work(gl, tmp_path):
    code = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from locomotion.cli import main; import sys; status = main(['train', 'run=none', 'seed=-1']); import mujoco; sys.exit(status)"
    )
    environment = {**__import__("os").environ, "MUJOCO_GL": gl}
    environment.pop("DISPLAY", None)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr


def test_robots_check_says_what_is_wrong(tmp_path, capsys):
    assert main(["robots", "check", "unitree_go2"]) == 0
    assert "it stands" in capsys.readouterr().out
    broken = go2_copy(tmp_path / "mine", {"standing_height": 0.4, "gaits": {"trot": [0.0, 0.5, 0.0, 0.5]}})
    assert main(["robots", "check", str(broken)]) == 1
    out = capsys.readouterr().out
    assert "error: standing_height: got 0.4" in out
    assert "error: gaits: trot" in out
    assert "2 errors" in out


def test_robots_import(tmp_path, capsys):
    file, folder = tmp_path / "dog.urdf", tmp_path / "mine"
    file.write_text(dog())
    assert main(["robots", "import", str(file), f"output={folder}"]) == 0
    out = capsys.readouterr().out
    assert "12 joints, 4 feet" in out
    assert "armature" in out  # guessed
    assert "it stands for 10 s" in out
    assert main(["robots", "check", f"{folder}/"]) == 0
    assert main(["robots", "import", str(file), f"output={folder}"]) == 2


def test_robots_show(tmp_path, capsys, go2):
    picture = tmp_path / "new" / "go2.png"
    status = main(["robots", "show", "unitree_go2", f"output={picture}"])
    out = capsys.readouterr().out
    assert all(name in out for name in (*go2.joint_names, *go2.feet))
    assert "15.21 kg" in out
    if status == 0:
        pixels = imread(picture)
        assert pixels.shape[:2] == (480, 720)
        assert pixels[..., :3].std() > 0.05
    else:
        assert "no picture: nothing here can render" in out
        assert not picture.exists()
