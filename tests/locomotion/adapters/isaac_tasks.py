"""Settings with the names and values of isaacgymenvs' Anymal and AnymalTerrain, and of legged_gym's base, ANYmal C and A1 classes.

isaacgymenvs: Copyright (c) 2018-2022, NVIDIA Corporation; legged_gym: Copyright (c) 2021 NVIDIA Corporation and ETH Zurich; both under the
BSD-3-Clause licence. Names and figures are theirs; the texts are not.
"""

from __future__ import annotations

from pathlib import Path

_POSE = """
  defaultJointAngles: {LF_HAA: 0.03, LH_HAA: 0.03, RF_HAA: -0.03, RH_HAA: -0.03, LF_HFE: 0.4, LH_HFE: -0.4, RF_HFE: 0.4, RH_HFE: -0.4,
                       LF_KFE: -0.8, LH_KFE: 0.8, RF_KFE: -0.8, RH_KFE: 0.8}
  baseInitState: {pos: [0.0, 0.0, 0.62], rot: [0.0, 0.0, 0.0, 1.0], vLinear: [0.0, 0.0, 0.0], vAngular: [0.0, 0.0, 0.0]}
"""
_LAW = '{{range: {}, operation: "scaling", distribution: "uniform", schedule: "linear", schedule_steps: 3000}}'
_LIMIT = '{range: [0, 0.01], operation: "additive", distribution: "gaussian", schedule: "linear", schedule_steps: 3000}'
_SIM = """
  up_axis: "z"
  use_gpu_pipeline: ${eq:${...pipeline},"gpu"}
  gravity: [0.0, 0.0, -9.81]
  physx: {num_threads: "${....num_threads}", solver_type: "${....solver_type}", num_position_iterations: 4, contact_offset: 0.02}
"""
ANYMAL = f"""
name: Anymal
physics_engine: ${{..physics_engine}}
env:
  numEnvs: ${{resolve_default:4096,${{...num_envs}}}}
  envSpacing: 4.
  clipObservations: 5.0
  clipActions: 1.0
  plane: {{staticFriction: 1.0, dynamicFriction: 1.0, restitution: 0.}}
  randomCommandVelocityRanges: {{linear_x: [-2., 2.], linear_y: [-1., 1.], yaw: [-1., 1.]}}
  control: {{stiffness: 85.0, damping: 2.0, actionScale: 0.5, controlFrequencyInv: 1}}
  urdfAsset: {{collapseFixedJoints: True, fixBaseLink: False, defaultDofDriveMode: 4}}
  learn: {{linearVelocityXYRewardScale: 1.0, angularVelocityZRewardScale: 0.5, torqueRewardScale: -0.000025, linearVelocityScale: 2.0,
          angularVelocityScale: 0.25, dofPositionScale: 1.0, dofVelocityScale: 0.05, episodeLength_s: 50}}
  viewer: {{refEnv: 0, pos: [0, 0, 4], lookat: [1., 1, 3.3]}}
  enableCameraSensors: False
{_POSE}
sim:
  dt: 0.02
  substeps: 2
{_SIM}
task:
  randomize: False
  randomization_params:
    frequency: 600
    observations: {{range: [0, .002], operation: "additive", distribution: "gaussian"}}
    actions: {{range: [0., .02], operation: "additive", distribution: "gaussian"}}
    sim_params: {{gravity: {_LIMIT}}}
    actor_params:
      anymal:
        color: True
        rigid_body_properties: {{mass: {_LAW.format("[0.5, 1.5]")}}}
        rigid_shape_properties: {{friction: {_LAW.format("[0.7, 1.3]")}, restitution: {_LAW.format("[0., 0.7]")}}}
        dof_properties: {{damping: {_LAW.format("[0.5, 1.5]")}, stiffness: {_LAW.format("[0.5, 1.5]")}, lower: {_LIMIT}, upper: {_LIMIT}}}
"""
ANYMAL_TERRAIN = f"""
name: AnymalTerrain
physics_engine: 'physx'
env:
  numEnvs: ${{resolve_default:4096,${{...num_envs}}}}
  numObservations: 188
  numActions: 12
  envSpacing: 3.
  enableDebugVis: False
  terrain: {{terrainType: trimesh, staticFriction: 1.0, dynamicFriction: 1.0, restitution: 0., curriculum: true, maxInitMapLevel: 0,
            mapLength: 8., mapWidth: 8., numLevels: 10, numTerrains: 20, terrainProportions: [0.1, 0.1, 0.35, 0.25, 0.2],
            slopeTreshold: 0.5}}
  randomCommandVelocityRanges: {{linear_x: [-1., 1.], linear_y: [-1., 1.], yaw: [-3.14, 3.14]}}
  control: {{stiffness: 80.0, damping: 2.0, actionScale: 0.5, decimation: 4}}
  urdfAsset: {{file: "urdf/anymal_c/urdf/anymal_minimal.urdf", footName: SHANK, kneeName: THIGH, collapseFixedJoints: True}}
  learn: {{allowKneeContacts: true, terminalReward: 0.0, linearVelocityXYRewardScale: 1.0, linearVelocityZRewardScale: -4.0,
          angularVelocityXYRewardScale: -0.05, angularVelocityZRewardScale: 0.5, orientationRewardScale: -0., torqueRewardScale: -0.00002,
          jointAccRewardScale: -0.0005, baseHeightRewardScale: -0.0, feetAirTimeRewardScale: 1.0, kneeCollisionRewardScale: -0.25,
          feetStumbleRewardScale: -0., actionRateRewardScale: -0.01, hipRewardScale: -0., linearVelocityScale: 2.0,
          angularVelocityScale: 0.25, dofPositionScale: 1.0, dofVelocityScale: 0.05, heightMeasurementScale: 5.0, addNoise: true,
          noiseLevel: 1.0, dofPositionNoise: 0.01, dofVelocityNoise: 1.5, linearVelocityNoise: 0.1, angularVelocityNoise: 0.2,
          gravityNoise: 0.05, heightMeasurementNoise: 0.06, randomizeFriction: true, frictionRange: [0.5, 1.25], pushRobots: true,
          pushInterval_s: 15, episodeLength_s: 20}}
  viewer: {{refEnv: 0, pos: [0, 0, 10], lookat: [1., 1, 9]}}
  enableCameraSensors: False
{_POSE}
sim:
  dt: 0.005
  substeps: 1
{_SIM}
task: {{randomize: False}}
"""
_BASE = """
from .base_config import BaseConfig
class LeggedRobotCfg(BaseConfig):
    class env:
        num_envs = 4096
        num_observations = 235
        num_privileged_obs = None
        num_actions = 12
        env_spacing = 3.
        send_timeouts = True
        episode_length_s = 20
    class terrain:
        mesh_type = 'trimesh'; curriculum = True; static_friction = 1.0; dynamic_friction = 1.0; restitution = 0.
        measure_heights = True
        measured_points_x = [-0.8, -0.7, 0., 0.7, 0.8]
        terrain_kwargs = None
    class commands:
        curriculum = False
        max_curriculum = 1.
        num_commands = 4
        resampling_time = 10.
        heading_command = True
        class ranges:
            lin_vel_x = [-1.0, 1.0]
            lin_vel_y = [-1.0, 1.0]
            ang_vel_yaw = [-1, 1]
            heading = [-3.14, 3.14]
    class init_state:
        pos = [0.0, 0.0, 1.]
        rot = [0.0, 0.0, 0.0, 1.0]
        lin_vel = [0.0, 0.0, 0.0]
        ang_vel = [0.0, 0.0, 0.0]
        default_joint_angles = {"joint_a": 0., "joint_b": 0.}
    class control:
        control_type = 'P'
        stiffness = {'joint_a': 10.0, 'joint_b': 15.}
        damping = {'joint_a': 1.0, 'joint_b': 1.5}
        action_scale = 0.5
        decimation = 4
    class asset:
        file = ""
        foot_name = "None"
        penalize_contacts_on = []
        terminate_after_contacts_on = []
        self_collisions = 0
    class domain_rand:
        randomize_friction = True
        friction_range = [0.5, 1.25]
        randomize_base_mass = False
        added_mass_range = [-1., 1.]
        push_robots = True
        push_interval_s = 15
        max_push_vel_xy = 1.
    class rewards:
        class scales:
            termination = -0.0
            tracking_lin_vel = 1.0
            tracking_ang_vel = 0.5
            lin_vel_z = -2.0
            ang_vel_xy = -0.05
            orientation = -0.
            torques = -0.00001
            dof_vel = -0.
            dof_acc = -2.5e-7
            base_height = -0.
            feet_air_time = 1.0
            collision = -1.
            feet_stumble = -0.0
            action_rate = -0.01
            stand_still = -0.
        only_positive_rewards = True
        tracking_sigma = 0.25
        soft_dof_pos_limit = 1.
        soft_dof_vel_limit = 1.
        soft_torque_limit = 1.
        base_height_target = 1.
        max_contact_force = 100.
    class normalization:
        class obs_scales:
            lin_vel = 2.0
            ang_vel = 0.25
            dof_pos = 1.0
            dof_vel = 0.05
            height_measurements = 5.0
        clip_observations = 100.
        clip_actions = 100.
    class noise:
        add_noise = True
        noise_level = 1.0
        class noise_scales:
            dof_pos = 0.01
            dof_vel = 1.5
            lin_vel = 0.1
            ang_vel = 0.2
            gravity = 0.05
            height_measurements = 0.1
    class viewer:
        pos = [10, 0, 6]
    class sim:
        dt = 0.005
        substeps = 1
        gravity = [0., 0. ,-9.81]
        class physx:
            max_gpu_contact_pairs = 2**23
            seed = int("5")
class LeggedRobotCfgPPO(BaseConfig):
    seed = 1
    class policy:
        actor_hidden_dims = [512, 256, 128]
        activation = 'elu'
    class runner:
        policy_class_name = 'ActorCritic'
"""
_ROUGH = """
from legged_gym.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
class AnymalCRoughCfg( LeggedRobotCfg ):
    class env( LeggedRobotCfg.env ):
        num_envs = 4096
    class init_state( LeggedRobotCfg.init_state ):
        pos = [0.0, 0.0, 0.6]
        default_joint_angles = {"LF_HAA": 0.0, "LH_HAA": 0.0, "RF_HAA": -0.0, "RH_HAA": -0.0, "LF_HFE": 0.4, "LH_HFE": -0.4, "RF_HFE": 0.4,
            "RH_HFE": -0.4, "LF_KFE": -0.8, "LH_KFE": 0.8, "RF_KFE": -0.8, "RH_KFE": 0.8}
    class control( LeggedRobotCfg.control ):
        stiffness = {'HAA': 80., 'HFE': 80., 'KFE': 80.}
        damping = {'HAA': 2., 'HFE': 2., 'KFE': 2.}
        action_scale = 0.5
        decimation = 4
        use_actuator_network = True
        actuator_net_file = "{LEGGED_GYM_ROOT_DIR}/resources/actuator_nets/anydrive_v3_lstm.pt"
    class asset( LeggedRobotCfg.asset ):
        foot_name = "FOOT"
        penalize_contacts_on = ["SHANK", "THIGH"]
        terminate_after_contacts_on = ["base"]
        self_collisions = 1
    class domain_rand( LeggedRobotCfg.domain_rand):
        randomize_base_mass = True
        added_mass_range = [-5., 5.]
    class rewards( LeggedRobotCfg.rewards ):
        base_height_target = 0.5
        max_contact_force = 500.
        only_positive_rewards = True
        class scales( LeggedRobotCfg.rewards.scales ):
            pass
class AnymalCRoughCfgPPO( LeggedRobotCfgPPO ):
    class runner( LeggedRobotCfgPPO.runner ):
        experiment_name = 'rough_anymal_c'
"""
_FLAT = """
from legged_gym.envs import AnymalCRoughCfg, AnymalCRoughCfgPPO
class AnymalCFlatCfg( AnymalCRoughCfg ):
    class env( AnymalCRoughCfg.env ):
        num_observations = 48
    class terrain( AnymalCRoughCfg.terrain ):
        mesh_type = 'plane'
        measure_heights = False
    class asset( AnymalCRoughCfg.asset ):
        self_collisions = 0
    class rewards( AnymalCRoughCfg.rewards ):
        max_contact_force = 350.
        class scales ( AnymalCRoughCfg.rewards.scales ):
            orientation = -5.0
            torques = -0.000025
            feet_air_time = 2.
    class commands( AnymalCRoughCfg.commands ):
        heading_command = False
        resampling_time = 4.
        class ranges( AnymalCRoughCfg.commands.ranges ):
            ang_vel_yaw = [-1.5, 1.5]
    class domain_rand( AnymalCRoughCfg.domain_rand ):
        friction_range = [0., 1.5]
class AnymalCFlatCfgPPO( AnymalCRoughCfgPPO ):
    class policy( AnymalCRoughCfgPPO.policy ):
        actor_hidden_dims = [128, 64, 32]
        activation = 'elu'
"""
_A1 = """
from legged_gym.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
class A1RoughCfg( LeggedRobotCfg ):
    class init_state( LeggedRobotCfg.init_state ):
        pos = [0.0, 0.0, 0.42]
        default_joint_angles = {
            'FL_hip_joint': 0.1, 'RL_hip_joint': 0.1, 'FR_hip_joint': -0.1, 'RR_hip_joint': -0.1,
            'FL_thigh_joint': 0.8, 'RL_thigh_joint': 1., 'FR_thigh_joint': 0.8, 'RR_thigh_joint': 1.,
            'FL_calf_joint': -1.5, 'RL_calf_joint': -1.5, 'FR_calf_joint': -1.5, 'RR_calf_joint': -1.5}
    class control( LeggedRobotCfg.control ):
        stiffness = {'joint': 20.}
        damping = {'joint': 0.5}
        action_scale = 0.25
    class asset( LeggedRobotCfg.asset ):
        penalize_contacts_on = ["thigh", "calf"]
        terminate_after_contacts_on = ["base"]
        self_collisions = 1
    class rewards( LeggedRobotCfg.rewards ):
        soft_dof_pos_limit = 0.9
        base_height_target = 0.25
        class scales( LeggedRobotCfg.rewards.scales ):
            torques = -0.0002
            dof_pos_limits = -10.0
"""
_PACKAGE = """
from .anymal_c.mixed_terrains.anymal_c_rough_config import AnymalCRoughCfg, AnymalCRoughCfgPPO
from legged_gym.utils.task_registry import task_registry
raise SystemExit("nothing in these files is run")
"""
FILES = {
    "envs/__init__.py": _PACKAGE, "envs/base/legged_robot_config.py": _BASE, "envs/a1/a1_config.py": _A1,
    "envs/anymal_c/mixed_terrains/anymal_c_rough_config.py": _ROUGH, "envs/anymal_c/flat/anymal_c_flat_config.py": _FLAT,
}  # fmt: skip
ANYMAL_FLAT, A1 = "envs/anymal_c/flat/anymal_c_flat_config.py", "envs/a1/a1_config.py"


def write_legged_gym(folder: Path) -> Path:
    """A checkout's settings; its package."""
    for name, text in FILES.items():
        path = folder / "legged_gym" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "legged_gym"
