"""Robots: their descriptions, their models and the actuator law. Importable without mujoco."""

from robots.errors import InputError
from robots.robot import Mirror, Robot, available, load

__all__ = ["InputError", "Mirror", "Robot", "available", "load"]
