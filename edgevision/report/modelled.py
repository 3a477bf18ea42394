"""Geometry of predicted against measured: one point a step, both axes logarithmic; the template draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgevision.profile.profile import StepProfile
from edgevision.report.scatter import Tick

#: Steps drawn at most; the longest ones, which are what the latency is made of.
MOST = 400


@dataclass(frozen=True)
class Spot:
    """A step, in pixels; `title` is what a pointer on it shows."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Modelled:
    """A square chart: measured microseconds across, modelled ones up, and the line where they are equal.

    Attributes:
        mean_error: mean over all steps of |predicted / measured - 1|.
        within: shares of the steps within 5 and 10 % of what was predicted.
        steps: how many have both times.
    """

    side: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    spots: tuple[Spot, ...]
    steps: int
    mean_error: float
    within: tuple[float, float]


def modelled(steps: Sequence[StepProfile], side: int) -> Modelled | None:
    """Lay the steps out; None when nothing was predicted for them."""
    both = [(step, step.predicted_us, step.error) for step in steps if step.predicted_us and step.median_us]
    if not both:
        return None
    errors = np.abs([error or 0.0 for _, _, error in both])
    values = [value for step, us, _ in both for value in (step.median_us, us or 0.0)]
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    last = max(last, first + 1)
    left, right, top, bottom = 52.0, side - 12.0, 16.0, side - 42.0

    def across(us: float) -> float:
        return round(left + (right - left) * (math.log10(us) - first) / (last - first), 1)

    def up(us: float) -> float:
        return round(bottom - (bottom - top) * (math.log10(us) - first) / (last - first), 1)

    drawn = sorted(both, key=lambda one: -one[0].median_us)[:MOST]
    decades = [10.0**power for power in range(first, last + 1)]
    return Modelled(
        side, left, right, top, bottom,
        tuple(Tick(across(us), f"{us:g}") for us in decades),
        tuple(Tick(up(us), f"{us:g}") for us in decades),
        tuple(Spot(across(step.median_us), up(us or 0.0), _title(step)) for step, us, _ in drawn),
        len(both),
        float(errors.mean()),
        (float((errors <= 0.05).mean()), float((errors <= 0.1).mean())),
    )  # fmt: skip


def _title(step: StepProfile) -> str:
    return f"{step.label}: modelled {step.predicted_us:.3g}, measured {step.median_us:.3g} µs"
