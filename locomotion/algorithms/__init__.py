"""How a policy learns. Each algorithm is a file that reads alone; :data:`ALGORITHMS` finds it by name."""

from locomotion.algorithms.a2c import A2C
from locomotion.algorithms.algorithm import ALGORITHMS, Algorithm, algorithm
from locomotion.algorithms.bc import BC
from locomotion.algorithms.cat import CaT
from locomotion.algorithms.cql import CQL
from locomotion.algorithms.distill import Distill
from locomotion.algorithms.dqn import DQN
from locomotion.algorithms.iql import IQL
from locomotion.algorithms.lagrangian import Lagrangian
from locomotion.algorithms.ppo import PPO
from locomotion.algorithms.reinforce import Reinforce
from locomotion.algorithms.sac import SAC
from locomotion.algorithms.td3 import TD3
from locomotion.algorithms.td3_bc import TD3BC
from locomotion.algorithms.trpo import TRPO

__all__ = [
    "A2C", "ALGORITHMS", "BC", "CQL", "DQN", "IQL", "PPO", "SAC", "TD3", "TD3BC", "TRPO",
    "Algorithm", "CaT", "Distill", "Lagrangian", "Reinforce", "algorithm",
]  # fmt: skip
