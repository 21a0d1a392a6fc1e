"""Observation terms beside what a task shows of them."""

from locomotion.environment import fixed
from locomotion.task.observations import ObservationTerm


def test_a_term_without_a_mirror_image_is_as_wide_as_it_says():
    assert ObservationTerm(None, 5).width == 5
    assert ObservationTerm(None).width == 0
    assert ObservationTerm(fixed(1.0, -1.0, 1.0)).width == 3
