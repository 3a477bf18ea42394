"""Time of a step before it is run: the roofline, and what kernels of its family lose against it.

The logarithm of (time / roofline) is a Gaussian process over the logarithms of a step's work (Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, chapter 2): steps of one family share a mean, and those of like sizes
and fused operations are alike. So each family's efficiency comes from the steps calibrated on, nearby ones counting
most, and a step unlike any of them gets an interval that says so. What comes out is modelled and never a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from edgevision.profile.roofline import Roofline
from edgevision.profile.work import StepWork

#: Prior deviations of ln(time / roofline): between families, within one, between forms of one, of a single timing.
BETWEEN, WITHIN, FORMS, NOISE = 0.8, 0.4, 0.2, 0.04
#: Mean of ln(time / roofline) where nothing is known: a third of what the roofline would allow.
UNKNOWN = math.log(3.0)
#: Octaves of MACs, constants, bytes read and bytes written over which efficiencies stay alike.
OCTAVES = (6.0, 6.0, 6.0, 6.0)
#: Two-sided 95 % of a normal distribution.
_Z = 1.96


class Predicted(msgspec.Struct, frozen=True):
    """A modelled time of a step, with its 95 % interval, in microseconds.

    Attributes:
        floor_us: the roofline's.
        bound: what sets the floor: "arithmetic", "memory" or "call".
        known: whether steps of its family were calibrated on.
    """

    us: float
    low_us: float
    high_us: float
    floor_us: float
    bound: str
    known: bool


class Predictor:
    """A model of one device with some number of threads, from timed steps.

    Args:
        steps: work and microseconds of each step that was timed; equal work may come more than once.
        roofline: of the same device and threads.
    """

    def __init__(self, steps: Sequence[tuple[StepWork, float]], roofline: Roofline) -> None:
        self.roofline = roofline
        self._works = [work for work, _ in steps]
        self._features = np.array([_features(work) for work in self._works]).reshape(-1, len(OCTAVES))
        logs = [math.log(us / roofline.floor_us(work)) for work, us in steps]
        covariance = self._covariance(self._works, self._features) + NOISE**2 * np.eye(len(steps))
        self._factor = np.linalg.cholesky(covariance) if steps else np.zeros((0, 0))
        self._weights = self._solve(np.array(logs) - UNKNOWN)
        self._families = {(work.family, work.integer) for work in self._works}

    def predict(self, works: Sequence[StepWork]) -> tuple[Predicted, ...]:
        """Modelled times of some steps, in their order."""
        features = np.array([_features(work) for work in works]).reshape(-1, len(OCTAVES))
        cross = self._covariance(works, features)
        means = UNKNOWN + cross @ self._weights
        prior = BETWEEN**2 + WITHIN**2 + FORMS**2
        spread = prior - np.einsum("ij,ji->i", cross, self._solve(cross.T))
        deviations = np.sqrt(np.maximum(spread, 0.0) + NOISE**2)
        found = []
        for work, mean, deviation in zip(works, means, deviations, strict=True):
            floor = self.roofline.floor_us(work)
            low, us, high = (floor * math.exp(mean + z * deviation) for z in (-_Z, 0.0, _Z))
            known = (work.family, work.integer) in self._families
            found.append(Predicted(us, low, high, floor, self.roofline.bound(work), known))
        return tuple(found)

    def _covariance(self, works: Sequence[StepWork], features: np.ndarray) -> np.ndarray:
        """Prior covariances of some steps with those calibrated on."""
        family = _equal([(w.family, w.integer) for w in works], [(w.family, w.integer) for w in self._works])
        form = _equal([w.form for w in works], [w.form for w in self._works])
        apart = (features[:, None, :] - self._features[None, :, :]) / np.array(OCTAVES)
        near = np.exp(-0.5 * (apart**2).sum(axis=-1))
        return family * (BETWEEN**2 + near * (WITHIN**2 + FORMS**2 * form))

    def _solve(self, right: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self._factor.T, np.linalg.solve(self._factor, right))


def _features(work: StepWork) -> list[float]:
    return [math.log2(1 + value) for value in (work.macs, work.constants, work.read, work.written)]


def _equal(some: Sequence[object], others: Sequence[object]) -> np.ndarray:
    return np.array([[float(one == other) for other in others] for one in some]).reshape(len(some), len(others))
