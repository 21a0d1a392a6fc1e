"""The settings of every command, with their types and bounds: what ``configs/<command>.yaml`` and overrides are held to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from locomotion.schema import Count, Finite, NotNegative, Positive, Settings, Share, Text
from locomotion.task.randomization import RandomizationSettings
from locomotion.task.settings import TaskSettings

Seed = Annotated[int, Field(ge=0, lt=2**31)]
Path = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f]+$")]


def _outside(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind not in ("gymnasium", "gymnasium_vec", "isaacgym") or not name:
        raise ValueError("gymnasium:ID, such as gymnasium:CartPole-v1, gymnasium_vec:ID, a vector environment, or isaacgym:TASK")
    return value


Outside = Annotated[str, Field(max_length=200), AfterValidator(_outside)]  # an environment that is not ours


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str | dict) else value


Plugins = Annotated[tuple[Path, ...], BeforeValidator(_one_or_more)]


class SimSettings(Settings):
    engine: Literal["mujoco", "mujoco_warp", "pybullet"]
    physics_dt: Annotated[float, Field(ge=0.0001, le=0.02)]  # s
    threads: Annotated[int, Field(ge=0, le=1024)]  # 0: every CPU
    actuator: Text | None  # pd, dc_motor or a plugin's; None: dc_motor where the robot's figures are known, else pd
    device: Text | None = None  # of mujoco_warp: cuda, cuda:1, ... or cpu; None: a GPU where there is one
    contacts: Annotated[int, Field(ge=1, le=10_000)] | None = None  # of a robot that mujoco_warp has room for; None: all with the ground


SCORING = {  # of an engine's settings, those that training alone asks for, and why
    "sim.physics_dt": "Scores are always taken at 0.002 s, or the next shorter step that divides the policy's control step",
    "sim.threads": "Scoring uses every CPU that it may (taskset gives it fewer)",
    "sim.contacts": "Scoring has room for all of them",
}

Engines = Annotated[tuple[SimSettings, ...], Field(min_length=1), BeforeValidator(_one_or_more)]


class TrainSettings(Settings):
    env: Outside | None  # None: the task, on the robot, in the engine
    robot: Text
    task: TaskSettings
    sim: SimSettings
    algorithm: dict[str, Any]  # "name" and the settings of that algorithm
    randomization: RandomizationSettings
    plugins: Plugins
    seed: Seed
    iterations: Count
    threads: Annotated[int, Field(ge=1, le=1024)]
    snapshot_every: Count
    score_every: Annotated[int, Field(ge=0)]
    score_sim: Literal["mujoco", "mujoco_warp", "pybullet"] = "mujoco"  # the engine whose scorecards choose best.pt
    run: Path | None
    resume: Path | None
    init: Path | None


class CollectSettings(Settings):
    policy: Path
    output: Path
    env: Outside | None
    robot: Text
    task: TaskSettings
    sim: SimSettings
    randomization: RandomizationSettings
    plugins: Plugins
    steps: Annotated[int, Field(ge=1, le=1_000_000_000)]
    num_envs: Count
    noise: NotNegative | None
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=1024)]


class FromLogsSettings(Settings):
    logs: tuple[Path, ...]
    output: Path
    robot: Text | None
    task: TaskSettings
    sim: SimSettings
    randomization: RandomizationSettings
    plugins: Plugins


class OfflineSettings(Settings):
    dataset: Path | None
    rewards: dict[str, dict[str, Any] | None]  # laid over those of the dataset's task
    algorithm: dict[str, Any]
    seed: Seed
    iterations: Count
    threads: Annotated[int, Field(ge=1, le=1024)]
    snapshot_every: Count
    score_every: Annotated[int, Field(ge=0)]
    run: Path | None
    resume: Path | None
    init: Path | None


class GateSettings(Settings):
    """What each further engine must keep of the first one's nominal scores; None: nothing."""

    tracking: Annotated[float, Field(ge=0, le=2)] | None  # share of the first one's
    yaw: Annotated[float, Field(ge=0, le=2)] | None  # likewise
    falls: Share | None  # share of the robots that may fall beyond the first one's


class ExportSettings(Settings):
    checkpoint: Path
    output: Path
    scorecard: Path | None
    sim: Engines
    gate: GateSettings


class EvaluateSettings(Settings):
    policy: Path
    sim: Engines
    gate: GateSettings
    randomization: RandomizationSettings
    plugins: Plugins
    episodes: Annotated[int, Field(ge=1, le=100_000)]
    seed: Seed
    gait: bool
    sweep: Literal["randomization", "falsify"] | None
    against: Path | None
    others: Literal["robot", "simulator"]
    output: Path | None


class ConformanceSettings(Settings):
    robot: Text
    sim: Engines
    output: Path | None


class PlaySettings(Settings):
    policy: Path
    sim: SimSettings
    plugins: Plugins
    command: tuple[Finite, ...]
    duration: Annotated[float, Field(gt=0, le=3600)]
    output: Path | None


class EstopSettings(Settings):
    key: Path
    address: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 4710


class ExtrasSettings(Settings):
    """Of a run on a robot, as in deploy.connect.Extras; see locomotion.deployment.extras_of."""

    estop: EstopSettings | None
    heading_hold: bool
    interpolate: bool


class DeploySettings(ExtrasSettings):
    policy: Path
    interface: Literal["sim", "unitree_dds"]
    plant: dict[str, Any]  # checked where it is used, as limits are
    hurry: bool
    network: Text
    domain: Annotated[int, Field(ge=0, le=230)]
    release: bool
    duration: Annotated[float, Field(gt=0, le=86400)]
    output: Path | None
    commands: Literal["keyboard", "remote"] | tuple[tuple[Finite, tuple[Finite, ...]], ...]
    calibration: Path | None
    dry_run: bool
    deploy: dict[str, dict[str, Any]]  # checked where it is used: the robot's own computer has no other reader


class ReportSettings(Settings):
    run: Path


class CompareSettings(Settings):
    runs: Annotated[tuple[Path, ...], Field(min_length=2)]
    output: Path | None


class SweepSettings(Settings):
    output: Path | None
    resume: Path | None
    jobs: Annotated[int, Field(ge=1, le=1024)]
    launcher: Literal["local", "ray"]
    address: Text | None
    cpus: Positive
    gpus: Annotated[float, Field(ge=0, le=64)]


class PlantSettings(Settings):
    joint_pos_noise: Share
    joint_vel_noise: Share
    ang_vel_noise: Share
    accelerometer_noise: Share
    tilt_noise: Share
    motor_delay: Annotated[float, Field(ge=0, le=0.1)]
    state_delay: Annotated[float, Field(ge=0, le=0.1)]
    charge: Share


class HilSettings(Settings):
    robot: Text
    network: Text
    domain: Annotated[int, Field(ge=0, le=230)]
    octet: Literal["byte", "uint8"]
    service: str
    gantry: bool | None
    duration: Annotated[float, Field(gt=0, le=86400)] | None
    report_every: Positive
    seed: Seed
    output: Path | None
    plant: PlantSettings


class FaultsSettings(Settings):
    policy: Path
    mode: Literal["lockstep", "realtime"]
    suite: Text | None
    supervisor: bool | Literal["both"]
    phases: Annotated[tuple[Literal["walking", "standing_up", "ready"], ...], Field(min_length=1)]
    cases: Annotated[tuple[Text, ...], Field(min_length=1)] | None
    jobs: Annotated[int, Field(ge=1, le=64)]
    output: Path | None


class IdentifySettings(Settings):
    log: Path
    output: Path | None
    robot: Text | None
    randomization: RandomizationSettings
    parameters: Annotated[tuple[Text, ...], Field(min_length=1)]
    joints: Literal["all", "group", "joint"]
    window: Annotated[float, Field(ge=0.1, le=60)]
    lead: Annotated[float, Field(ge=0, le=10)]
    judge: Annotated[int, Field(ge=2, le=100)]
    threads: Annotated[int, Field(ge=0, le=1024)]


class ExciteSettings(Settings):
    robot: Text
    place: Literal["ground", "stand"]
    seconds: Annotated[float, Field(ge=5, le=600)]
    control_dt: Annotated[float, Field(ge=0.002, le=0.05)]
    hold: Annotated[float, Field(ge=0.002, le=0.1)] | None = None  # s; None: control_dt
    seed: Seed
    output: Path


class ActuatorSettings(Settings):
    logs: Annotated[tuple[Path, ...], Field(min_length=1)]
    output: Path | None
    robot: Text | None
    joints: Literal["all", "group", "joint"]
    history: Annotated[int, Field(ge=1, le=20)]
    spacing: Annotated[float, Field(ge=0.001, le=0.05)]  # s
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(max_length=5)]
    steps: Annotated[int, Field(ge=1, le=1_000_000)]
    judge: Annotated[int, Field(ge=2, le=100)]
    seed: Seed
    threads: Annotated[int, Field(ge=1, le=1024)]


class DemoSettings(TrainSettings):
    deploy: dict[str, dict[str, Any]]
    episodes: Annotated[int, Field(ge=1, le=100_000)]
    pybullet_episodes: Annotated[int, Field(ge=0, le=100_000)]
    duration: Positive
    commands: tuple[tuple[Finite, tuple[Finite, ...]], ...]


COMMANDS: dict[str, type[Settings]] = {
    "train": TrainSettings,
    "collect": CollectSettings,
    "from_logs": FromLogsSettings,
    "offline": OfflineSettings,
    "export": ExportSettings,
    "evaluate": EvaluateSettings,
    "conformance": ConformanceSettings,
    "play": PlaySettings,
    "deploy": DeploySettings,
    "report": ReportSettings,
    "compare": CompareSettings,
    "sweep": SweepSettings,
    "hil": HilSettings,
    "faults": FaultsSettings,
    "identify": IdentifySettings,
    "excite": ExciteSettings,
    "actuator": ActuatorSettings,
    "demo": DemoSettings,
}
