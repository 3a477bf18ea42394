"""A network that goes on from its own predictions: how its error grows, and what becomes of the energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from edgevision.data.field_error import energies, relative_l2
from edgevision.data.wave import WaveSplit, field_scale
from edgevision.data.wave_spec import PAST
from edgevision.errors import UsageError

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class RollOut:
    """Trajectories predicted from their first fields alone.

    Attributes:
        fields: float32 (trajectories, frames, side, side); the first `PAST` are given, not predicted.
        errors: mean relative L2 error of each predicted field, float64 (frames - PAST,).
        energy_drift: energy over the true one less 1, mean over trajectories, float64 (frames - PAST,).
    """

    fields: np.ndarray = field(repr=False)
    errors: np.ndarray
    energy_drift: np.ndarray


def roll_out(predict: Predict, split: WaveSplit, *, trajectories: int | None = None, batch: int = 16) -> RollOut:
    """Predict whole trajectories, each step from the last fields of the one before.

    Args:
        predict: inputs as those of `split.windows` to later fields.
        split: of a wave set; its trajectories are used, not its windows.
        trajectories: how many, from the first; all without it.
        batch: trajectories predicted at once.

    Raises:
        UsageError: `predict` does not give as many fields as the set's networks predict.
    """
    spec, chosen = split.spec, list(split.trajectories[:trajectories])
    made = np.concatenate([_together(predict, split, chosen[at : at + batch]) for at in range(0, len(chosen), batch)])
    true = np.stack([one.fields for one in chosen])
    drift = [
        energies(predicted, one.speed, spec.interval)
        / np.maximum(energies(one.fields, one.speed, spec.interval), 1e-30)
        for predicted, one in zip(made, chosen, strict=True)
    ]
    errors = relative_l2(made[:, PAST:], true[:, PAST:], (2, 3)).mean(axis=0)
    return RollOut(made, errors, np.mean(drift, axis=0)[PAST - 1 :] - 1)


def _together(predict: Predict, split: WaveSplit, chosen: list) -> np.ndarray:
    spec = split.spec
    fields = np.stack([one.fields[:PAST] for one in chosen])
    speed = np.stack([spec.scaled(one.speed)[None] for one in chosen])
    while fields.shape[1] < spec.frames:
        past = fields[:, -PAST:]
        scales = np.array([field_scale(one) for one in past], np.float32)[:, None, None, None]
        later = np.asarray(predict(np.concatenate([past / scales, speed], axis=1)))
        if later.shape != (len(chosen), spec.later, spec.side, spec.side):
            wanted = (len(chosen), spec.later, spec.side, spec.side)
            raise UsageError(f"expected later fields of shape {wanted}, got {later.shape}")
        fields = np.concatenate([fields, later * scales], axis=1)
    return fields
