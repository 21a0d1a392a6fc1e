"""How a policy learns. Each algorithm is a file that reads alone; :data:`ALGORITHMS` finds it by name."""

from locomotion.algorithms.algorithm import ALGORITHMS, Algorithm, algorithm
from locomotion.algorithms.distill import Distill
from locomotion.algorithms.ppo import PPO
from locomotion.algorithms.sac import SAC

__all__ = ["ALGORITHMS", "PPO", "SAC", "Algorithm", "Distill", "algorithm"]
