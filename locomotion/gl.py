"""Rendering without a screen, where the machine can."""

from __future__ import annotations

import ctypes.util
import os
import sys


def prepare_gl() -> None:
    """Choose MuJoCo's renderer before it is first imported: EGL where there is no screen and the library is found.

    ``MUJOCO_GL`` that names a library which is not there would make importing mujoco fail, and with it all that needs no picture.
    """
    if not sys.platform.startswith("linux"):
        return
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted in ("", "egl") and not os.environ.get("DISPLAY"):
        os.environ["MUJOCO_GL"] = "egl" if ctypes.util.find_library("EGL") else "disable"
    elif wanted == "osmesa" and not ctypes.util.find_library("OSMesa"):
        os.environ["MUJOCO_GL"] = "disable"
    elif wanted not in ("", "egl", "osmesa", "glfw", "glx", "wgl", "cgl", "disable", "disabled", "off", "0"):
        print(f"warning: MUJOCO_GL={wanted} is none of egl, osmesa, glfw: no video will be made", file=sys.stderr)
        os.environ["MUJOCO_GL"] = "disable"
