"""The ground that the engine stands on is the ground that the height grid says."""

import itertools

import mujoco
import numpy as np
import pytest
import torch

import sim
from robots.model import GROUND
from sim.mujoco_model import build_model

HEIGHTS = torch.tensor([[0.2, 0.3, 0.4, 0.2], [0.5, 0.6, 0.5, 0.3], [0.3, 0.9, 0.2, 0.7]])  # nowhere zero, and no square


def test_the_engine_s_ground_is_as_high_as_the_grid_says(go2):
    """Rays from above meet it at each grid point's height: span and offset of the height field, and which axis is which."""
    terrain = sim.Terrain(HEIGHTS, spacing=0.5)
    model = build_model(go2, 0.005, terrain)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    ground, down = model.geom(GROUND).id, np.array([0.0, 0.0, -1.0])
    for i, k in itertools.product(range(3), range(4)):
        x, y = 0.5 * (i - 1), 0.5 * (k - 1.5)
        x, y = 0.999 * x, 0.999 * y  # a ray along the rim may miss
        found = 5.0 - mujoco.mj_rayHfield(model, data, ground, np.array([x, y, 5.0]), down)
        assert found == pytest.approx(HEIGHTS[i, k].item(), abs=0.003)
        assert found == pytest.approx(terrain.height(torch.tensor([x, y])).item(), abs=0.003)


def test_a_scan_of_many_places_reads_as_each_place_alone():
    terrain = sim.Terrain(HEIGHTS, spacing=0.5)
    scan = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 3.0 - 1.5
    heights = terrain.height(scan)
    assert heights.shape == (4, 3, 2)
    alone = [terrain.height(place).item() for place in scan.reshape(-1, 2)]
    assert heights.flatten().tolist() == pytest.approx(alone, abs=1e-6)
