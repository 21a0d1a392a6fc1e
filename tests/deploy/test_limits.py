"""Limits keep to their ranges; the configuration and the page say what the code says."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from deploy.limits import Limits
from deploy.table import page
from robots import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_every_limit_has_a_lower_and_an_upper_bound(limit):
    low, high = limit.metadata["low"], limit.metadata["high"]
    assert low <= limit.default <= high
    for value in (low - 1e-6, high + 1e-6, -1.0, float("nan"), float("inf"), "fast", True, None):
        with pytest.raises(InputError, match=rf"deploy\.limits\.{limit.name}: .*\[{low:g}, {high:g}\]"):
            Limits(**{limit.name: value})


def test_limits_that_belong_together_keep_their_order():
    for wrong in ({"operator_loss": 0.3}, {"warm_torque": 0.7}, {"level_tilt": 0.2, "standing_tilt": 0.1}):
        with pytest.raises(InputError, match="at most"):
            Limits(**wrong)
    assert Limits(max_tilt=1.0).overrides() == {"max_tilt": (0.8, 1.0)}
    assert Limits().overrides() == {}


def test_the_configuration_lists_every_limit_with_its_default():
    assert yaml.safe_load((ROOT / "configs/deploy/default.yaml").read_text())["limits"] == vars(Limits())


def test_the_page_is_current():
    """Else: python -m deploy.table > docs/safety.md"""
    assert (ROOT / "docs/safety.md").read_text() == page()
