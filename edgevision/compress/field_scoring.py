"""Fit: predicted fields against those of the solver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgevision.data.field_error import FieldMeter, relative_l2
from edgevision.data.metric import Metric
from edgevision.data.wave import WaveSplit
from edgevision.errors import UsageError

#: Two networks say different things about a window when their fields differ by more than this, relative L2.
SAME = 0.05


@dataclass(frozen=True)
class FieldScoring:
    """Fit on a split (the protocol is `scoring.Scoring`)."""

    split: WaveSplit
    metric: Metric = "fit"

    def __len__(self) -> int:
        return len(self.split)

    def refuse(self, shape: tuple[int, ...], where: str) -> None:
        """Raise unless the outputs are as many fields of that side as the data has later ones."""
        spec = self.split.spec
        if tuple(shape[1:]) != (spec.later, spec.side, spec.side):
            raise UsageError(
                f"expected later fields of shape (1, {spec.later}, {spec.side}, {spec.side}), got {shape}",
                where=where,
                fix="use the data the network was trained on",
            )

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Inputs and later fields."""
        return self.split.batches(batch, limit=limit)

    def answers(self, outputs: np.ndarray) -> np.ndarray:
        """The fields."""
        return outputs

    def meter(self) -> FieldMeter:
        """Gathers errors."""
        return FieldMeter(together=self.split.together)

    def differing(self, answers: np.ndarray, others: np.ndarray) -> int:
        """Windows whose fields differ by more than `SAME`."""
        return int((relative_l2(answers, others, (1, 2, 3)) > SAME).sum())
