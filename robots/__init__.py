"""Robots: their descriptions, their models and the actuator law. Importable without mujoco."""

from robots.errors import InputError
from robots.robot import FOLDER, Mirror, Robot, available, load, variants

__all__ = ["FOLDER", "InputError", "Mirror", "Robot", "available", "load", "variants"]
