"""Slips of a unit, a sign, an order or a side in each of the four robots' folders are found, under their field."""

import math

import numpy as np
import pytest

import robots
from robots import findings as findings_module
from robots.findings import findings
from robots.plausible import box_of_inertia
from tests.robots.broken import group, robot_copy

ROBOTS = ("unitree_go2", "unitree_go1", "anymal_c", "unitree_g1")


def numbers(text):
    return [float(word) for word in text.split()]


def text(values):
    return " ".join(f"{value:.9g}" for value in values)


def base(data, model):
    return next(body for body in model.iter("body") if body.get("name") == data["base_body"])


def lower_legs(data, model):
    feet = data["feet"] if isinstance(data["feet"], list) else [shape for shapes in data["feet"].values() for shape in shapes]
    return [body for body in model.iter("body") if any(geom.get("name") in feet for geom in body.findall("geom"))]


def weigh(bodies, mass, inertia):
    """Bodies' <inertial> with this factor on each."""

    def change(data, model):
        for body in bodies(data, model):
            inertial = body.find("inertial")
            for key, factor in (("mass", mass), ("fullinertia", inertia), ("diaginertia", inertia)):
                if inertial.get(key):
                    inertial.set(key, text([factor * value for value in numbers(inertial.get(key))]))

    return change


def every(data, model):
    return [body for body in model.iter("body") if body.find("inertial") is not None]


def only_base(data, model):
    return [base(data, model)]


def shift(x=0.0, y=0.0, z=0.0, factor=1.0):
    """The base's centre of mass moved."""

    def change(data, model):
        inertial = base(data, model).find("inertial")
        inertial.set("pos", text([factor * value + by for value, by in zip(numbers(inertial.get("pos")), (x, y, z), strict=True)]))

    return change


def times(field, factor, of=None):
    def change(data, model):
        for joint in group(data, of) if of else data["joint_names"]:
            value = data[field][joint]
            data[field][joint] = [factor * one for one in value] if isinstance(value, list) else factor * value

    return change


def put(field, value):
    """``value`` is a function of the description."""
    return lambda data, model: data.update({field: value(data)})


def attribute(tag, name, factor):
    def change(data, model):
        for element in model.iter(tag):
            if element.get(name):
                element.set(name, text([factor * value for value in numbers(element.get(name))]))

    return change


def imu(**attributes):
    return lambda data, model: next(site for site in model.iter("site") if site.get("name") == data["imu_site"]).attrib.update(attributes)


def gains_of(other):
    """kp, kd and action_scale by group from another robot."""

    def change(data, model):
        robot = robots.load(other)
        for field in ("kp", "kd", "action_scale"):
            for joint in data["joint_names"]:
                name = next((name for name in ("abduction", "hip", "knee") if joint in group(data, name)), "hip")
                data[field][joint] = float(getattr(robot, field)[robot.joint_groups[name]].mean())

    return change
