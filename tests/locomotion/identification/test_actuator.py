"""Motors that follow no law's factors are learned from the torque that they report; the network runs in the engine, and keeps its bounds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import sim
from locomotion import cli
from locomotion.identification import actuator_result
from locomotion.identification.actuator import errors, fit
from locomotion.identification.drives import sample
from locomotion.identification.recording import read_recordings
from robots import InputError
from sim.actuation import NETWORKS, choose
from sim.actuator_network import document
from tests.conftest import only, standing
from tests.locomotion.identification import plants

NOISE = 0.2  # N m, of the torque that is reported


def fitted(recordings, joints="all", steps=600, seed=0, history=3, hidden=(16, 16)):
    return fit(recordings, joints, history, 0.01, hidden, steps, 5, seed)


@pytest.fixture(scope="module")
def recording(go2):
    return plants.motors_moved(go2, 24.0)


@pytest.fixture(scope="module")
def found(recording):
    return fitted([recording])


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    return folder, actuator_result.write(found, folder, [folder / "log.mcap"])


def test_held_out_torque_is_predicted_to_the_noise_where_no_factors_do(found):
    error = errors(found, range(12))
    print(error)
    assert error["law"] > 3.0 * NOISE
    assert error["best law"] > 2.0 * NOISE
    assert error["network"] < 1.4 * NOISE
