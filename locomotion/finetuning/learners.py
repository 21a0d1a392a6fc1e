"""A learner by its settings. One of your own is a :class:`~locomotion.finetuning.adapter.Adapted` with warm_up, update and its state."""

from __future__ import annotations

from locomotion.data.load import replay_of
from locomotion.finetuning.batch import Measure
from locomotion.finetuning.exploring import Noise
from locomotion.finetuning.learner import Learner, PPOSettings
from locomotion.finetuning.rlpd import RLPD, RLPDSettings


def learner_of(settings: PPOSettings | RLPDSettings, measure: Measure, noise: Noise, seed: int) -> Learner | RLPD:
    """Raises InputError for a dataset that is none, or of another robot or task. Its rewards are the recipe's, worked out anew."""
    base = measure.base
    if isinstance(settings, PPOSettings):
        return Learner(settings, base, noise, seed)
    data = None
    if settings.dataset is not None:
        data = replay_of(
            settings.dataset, measure.task, {"actor", "critic"}, "recomputed", 1.0, base.robot.fingerprint(), field="learner.dataset"
        )
    return RLPD(settings, base, noise, seed, data)
