"""Images into a network of integers and results out of it."""

import numpy as np
import pytest
from helpers.integers import CASES, network_of

from edgevision.engine.border import quantised_image, real_outputs
from edgevision.engine.execute import run
from edgevision.errors import UsageError

NETWORK = network_of(CASES["network"])
SHAPE = NETWORK.header.input_shape


def test_the_bytes_of_an_image_are_its_nearest_steps():
    group = NETWORK.header.groups[NETWORK.header.input_group]
    image = np.linspace(-40, 40, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)
    got = quantised_image(NETWORK, image)
    assert got.dtype == np.int8 and (got.min(), got.max()) == (-128, 127)
    inside = (got > -128) & (got < 127)
    assert np.abs((got.astype(np.float64) - group.zero) * group.scale - image)[inside].max() <= 0.501 * group.scale


def test_outputs_are_the_values_of_their_group():
    tensors = run(NETWORK, np.array(CASES["network"]["image"], np.int8))
    got = real_outputs(NETWORK, tensors)
    wanted = [[[0.1 * (q - 3) for q in row] for row in plane] for plane in CASES["network"]["tensors"]["head"]]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((3, 16, 15), np.float32), np.zeros(SHAPE), np.full(SHAPE, np.nan, "f4")])
def test_another_image_is_refused(image):
    with pytest.raises(UsageError, match="expected a float32 image"):
        quantised_image(NETWORK, image)


@pytest.mark.parametrize("tensors", [{}, {"head": np.zeros((3, 2, 2), np.int8)}, {"head": np.zeros((3, 8, 8))}])
def test_other_outputs_are_refused_by_name(tensors):
    with pytest.raises(UsageError, match="output 'head': expected int8"):
        real_outputs(NETWORK, tensors)
