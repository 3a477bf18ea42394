from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgevision.compress.reconstruct import follows
from edgevision.compress.rounding import DAMPING, best_scale, output_error, rounded

RNG = np.random.default_rng(0)
#: Inputs that go together, as those of a network do.
INPUTS = RNG.standard_normal((500, 24)) @ RNG.standard_normal((24, 24))
WEIGHT = RNG.standard_normal((10, 24))
MOMENTS = INPUTS.T @ INPUTS / len(INPUTS)


def output_loss(weight: np.ndarray) -> np.ndarray:
    return np.square(INPUTS @ (weight - WEIGHT).T).mean(0)


def test_the_error_in_moments_is_that_of_the_outputs():
    change = RNG.standard_normal(WEIGHT.shape)
    assert np.allclose(output_error(change, MOMENTS), output_loss(WEIGHT + change))


@pytest.mark.parametrize("high", [1, 7])
def test_outputs_are_nearer_than_with_weights_rounded_to_the_nearest(high):
    steps, scale = rounded(WEIGHT, MOMENTS, high)
    assert np.abs(steps).max() <= high
    nearest = np.clip(np.rint(WEIGHT / scale[:, None]), -high, high) * scale[:, None]
    assert output_loss(steps * scale[:, None]).sum() < 0.7 * output_loss(nearest).sum()


def test_no_change_of_one_weight_makes_it_better():
    steps, scale = rounded(WEIGHT, MOMENTS, 7)
    damped = MOMENTS + DAMPING * np.diagonal(MOMENTS).mean() * np.eye(24)
    found = output_error(steps * scale[:, None].astype(float) - WEIGHT, damped)
    for k, move in itertools.product(range(24), (-1, 1)):
        other = steps.astype(float)
        other[:, k] = np.clip(other[:, k] + move, -7, 7)
        assert (output_error(other * scale[:, None].astype(float) - WEIGHT, damped) >= found - 1e-9).all()


def test_independent_inputs_leave_rounding_to_the_nearest():
    steps, scale = rounded(WEIGHT, np.eye(24), 7)
    assert np.array_equal(steps, np.clip(np.rint(WEIGHT / scale[:, None].astype(float)), -7, 7))
    assert np.allclose(scale, best_scale(WEIGHT, (1 + DAMPING) * np.eye(24), -7, 7))


def test_weights_that_follow_make_up_for_changed_inputs():
    changed = INPUTS @ (np.eye(24) + 0.2 * RNG.standard_normal((24, 24)))
    weight = follows(WEIGHT, changed.T @ changed, INPUTS.T @ changed)
    before = np.square(INPUTS @ WEIGHT.T - changed @ WEIGHT.T).sum()
    assert np.square(INPUTS @ WEIGHT.T - changed @ weight.T).sum() < 0.2 * before
