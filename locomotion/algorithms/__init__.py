"""How a policy learns. Each algorithm is a file that reads alone; :data:`ALGORITHMS` finds it by name."""

from locomotion.algorithms.algorithm import ALGORITHMS, Algorithm, algorithm
from locomotion.algorithms.bc import BC
from locomotion.algorithms.cql import CQL
from locomotion.algorithms.distill import Distill
from locomotion.algorithms.dqn import DQN
from locomotion.algorithms.iql import IQL
from locomotion.algorithms.ppo import PPO
from locomotion.algorithms.sac import SAC
from locomotion.algorithms.td3 import TD3
from locomotion.algorithms.td3_bc import TD3BC

__all__ = ["ALGORITHMS", "BC", "CQL", "DQN", "IQL", "PPO", "SAC", "TD3", "TD3BC", "Algorithm", "Distill", "algorithm"]
