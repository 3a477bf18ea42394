"""Calibration images that cannot be right are refused, and the reason is said."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import PREPROCESSING

from edgevision.compress.calibration import Calibration
from edgevision.compress.quantize import quantize
from edgevision.errors import UsageError
from edgevision.recipe import Quantize


class Images:
    """Given images as a split of the digits would have them."""

    preprocessing = PREPROCESSING

    def __init__(self, images: np.ndarray) -> None:
        self.images = images.astype(np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batch, *, limit=None):
        for start in range(0, min(limit or len(self), len(self)), batch):
            yield self.images[start : start + batch], np.zeros(batch, np.int64)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3)).astype(np.uint8)


def refused(images: np.ndarray) -> UsageError:
    with pytest.raises(UsageError) as caught:
        list(Calibration(Images(images), "input", 100))
    return caught.value


def test_prepared_pixels_are_taken_as_they_are():
    images = PREPROCESSING.normalised(pixels(20))
    assert np.array_equal(np.concatenate([x["input"] for x in Calibration(Images(images), "input", 100)]), images)


def test_pixels_from_0_to_255_are_named():
    error = refused(pixels(4).transpose(0, 3, 1, 2))
    assert "image 0" in str(error.where) and "divide by 255" in str(error.fix) and "-0.857" in str(error)


def test_pixels_prepared_for_another_network_are_named():
    other = (pixels(4) / 255 - 0.3).transpose(0, 3, 1, 2) / 0.1
    assert "preprocessing" in str(refused(other).fix)


def test_images_divided_twice_are_named():
    error = refused(PREPROCESSING.normalised(np.zeros((3, 16, 16, 3), np.uint8) + np.uint8(1)))
    assert "divided by 255 twice" in str(error.fix) and "3 calibration images" in str(error.where)


def test_no_number_is_named():
    images = PREPROCESSING.normalised(pixels(20))
    images[17, 0, 0, 0] = np.nan
    assert "NaN" in str(refused(images)) and "image 17" in str(refused(images).where)


def test_no_images_are_an_error_and_one_is_enough(float_graph):
    with pytest.raises(UsageError, match="got none"):
        quantize(float_graph, Quantize(), Images(np.zeros((0, 3, 16, 16))))
    one = quantize(float_graph, Quantize(ranges="mse"), Images(PREPROCESSING.normalised(pixels(1))))
    assert any(node.op_type == "QuantizeLinear" for node in one.graph.node)
