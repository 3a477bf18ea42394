"""Scales turned into the engine's numbers: within a step of real arithmetic, and refused where they do not fit."""

import numpy as np
import pytest

from edgevision.engine.execute import convolved, requantised
from edgevision.engine.scaling import scaled
from edgevision.errors import Unsupported


@pytest.mark.parametrize("shift", [None, 16])
@pytest.mark.parametrize("zero_in", [-128, 5])
def test_bytes_are_within_one_step_of_real_arithmetic(shift, zero_in):
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (6, 9, 1, 1)).astype(np.int8)
    ratio, bias = rng.uniform(0.005, 0.03, 6), rng.normal(0, 20, 6)
    x = rng.integers(-128, 128, (9, 12, 12)).astype(np.int8)
    parameters, used = scaled("y", weight, ratio, bias, (zero_in, -20), shift)
    got = requantised(convolved(x, weight, 1, zero_in, None), parameters.multiplier, parameters.bias, used, relu=False)
    steps = np.einsum("oc,chw->ohw", weight[:, :, 0, 0], x.astype(np.float64) - zero_in)
    real = steps * ratio.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1) - 20
    # Half a step for the constant, half for the sum, and what the multiplier itself is rounded by.
    slack = np.abs(steps).max() * 2.0 ** -(used + 1)
    assert np.abs(got - np.clip(real, -128, 127)).max() <= 1 + slack
    assert used == 16 if shift else used > 16
    assert np.ptp(got.astype(int)) > 60


def test_what_leaves_an_int16_is_refused_by_channel():
    weight = np.full((2, 1, 1, 1), 7, np.int8)
    with pytest.raises(Unsupported, match=r"(?s)layer 'y', channel 1: multiplier 65537"):
        scaled("y", weight, np.array([0.1, 1.0]), np.zeros(2), (-128, -128), 16)
    with pytest.raises(Unsupported, match=r"channel 0: bias 40000"):
        scaled("y", weight, np.array([0.1, 0.1]), np.array([40000.0, 0]), (0, -128), 16)
