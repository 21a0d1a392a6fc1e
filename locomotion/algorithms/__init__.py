"""How a policy learns. Each algorithm is a file that reads alone; :data:`ALGORITHMS` finds it by name."""

from locomotion.algorithms.algorithm import ALGORITHMS, Algorithm, algorithm
from locomotion.algorithms.distill import Distill
from locomotion.algorithms.ppo import PPO

__all__ = ["ALGORITHMS", "PPO", "Algorithm", "Distill", "algorithm"]
