"""How far predicted fields are from true ones: relative L2 error, energy, and the score that goes with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from edgevision.errors import UsageError

#: 97.5 % points of Student's t by degrees of freedom; beyond these that of the normal distribution is close.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def relative_l2(predicted: np.ndarray, true: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """|predicted - true| / |true|, both norms over `axes`; a true field of zero has error 0 when it is met, else inf.

    >>> relative_l2(np.ones((1, 4)), np.full((1, 4), 2.0), (1,))
    array([0.5])
    """
    wrong = np.sqrt(np.sum(np.square(predicted - true, dtype=np.float64), axis=axes))
    size = np.sqrt(np.sum(np.square(true, dtype=np.float64), axis=axes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(wrong == 0, 0.0, wrong / size)


def energies(fields: np.ndarray, speed: np.ndarray, interval: float) -> np.ndarray:
    """Energy between neighbouring fields, by differences in time and space: (frames - 1,).

    Coarser than the solver's own; good for comparing fields recorded in the same way.

    Args:
        fields: (frames, side, side) on the unit square.
        speed: (side, side).
        interval: seconds from one field to the next.
    """
    width = 1 / (fields.shape[-1] - 1)
    rate = np.diff(fields.astype(np.float64), axis=0) / interval
    between = (fields[1:].astype(np.float64) + fields[:-1]) / 2
    along_y, along_x = np.gradient(between, width, axis=(1, 2))
    density = rate**2 + speed.astype(np.float64) ** 2 * (along_x**2 + along_y**2)
    return density.mean(axis=(1, 2)) / 2


@dataclass(frozen=True)
class FieldScore:
    """Relative L2 errors of predictions.

    Attributes:
        errors: of each window over all its predicted fields, float64 (windows,).
        over_time: mean for each predicted field, float64 (later,).
        together: windows of one trajectory, which are not independent of each other.
    """

    errors: np.ndarray = field(repr=False)
    over_time: np.ndarray
    together: int = 1

    @property
    def error(self) -> float:
        """Mean relative L2 error."""
        return float(self.errors.mean())

    @property
    def percent(self) -> float:
        """Fit: 100 (1 - mean relative L2 error), 0 where the error is as large as the field."""
        return 100 * max(0.0, 1 - self.error)

    @property
    def total(self) -> int:
        """Windows."""
        return len(self.errors)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the fit by Student's t over trajectories; 0 to 100 where there is only one."""
        means = [chunk.mean() for chunk in np.split(self.errors, range(self.together, self.total, self.together))]
        if len(means) < 2 or not np.isfinite(means).all():
            return 0.0, 100.0
        freedom = len(means) - 1
        quantile = _T95[freedom - 1] if freedom <= len(_T95) else 1.96 + 2.5 / freedom
        spread = 100 * quantile * float(np.std(means, ddof=1)) / math.sqrt(len(means))
        return max(0.0, self.percent - spread), min(100.0, self.percent + spread)


@dataclass
class FieldMeter:
    """Gathers predictions batch by batch; `together` as in `FieldScore`."""

    together: int = 1
    errors: list[np.ndarray] = field(default_factory=list)
    over_time: list[np.ndarray] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Windows so far."""
        return sum(map(len, self.errors))

    def add(self, predicted: np.ndarray, true: np.ndarray) -> None:
        """Take in one batch, (N, later, side, side) both.

        Raises:
            UsageError: the shapes differ, or a value is NaN.
        """
        if predicted.shape != true.shape:
            raise UsageError(f"expected fields of shape {true.shape}, got {predicted.shape}")
        if np.isnan(predicted).any():
            last = self.total + len(true) - 1
            raise UsageError("the network's output holds NaN", where=f"windows {self.total} to {last}")
        self.errors.append(relative_l2(predicted, true, (1, 2, 3)))
        self.over_time.append(relative_l2(predicted, true, (2, 3)))

    def score(self) -> FieldScore:
        """What was gathered so far.

        Raises:
            UsageError: nothing was.
        """
        if not self.errors:
            raise UsageError("expected at least one window to evaluate on, got none")
        return FieldScore(np.concatenate(self.errors), np.concatenate(self.over_time).mean(axis=0), self.together)
