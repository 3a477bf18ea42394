"""scikit-learn's 1,797 handwritten 8x8 digits: real images that need no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from edgevision.data.dataset import DataSet, hashed_order, held_out, make_splits
from edgevision.data.preprocess import Preprocessing

#: The mean and deviation of the digits' pixels after upscaling, to one figure.
PREPROCESSING = Preprocessing(height=64, width=64, mean=(0.3,) * 3, std=(0.35,) * 3, interpolation="bicubic")
TEST_SHARE = 0.25


@dataclass(frozen=True)
class _Digits:
    pixels: np.ndarray = field(repr=False)

    def image(self, index: int) -> Image.Image:
        """Return an 8x8 grey image."""
        return Image.fromarray(self.pixels[index])


def open_digits(preprocessing: Preprocessing | None = None) -> DataSet:
    """Open the digits, a quarter of each class held out for testing.

    >>> digits = open_digits()
    >>> len(digits.split("train")), len(digits.split("test")), digits.split("test").images(0)[0].shape
    (1347, 450, (64, 64, 3))
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    # The set counts ink in 17 levels, 0 to 16.
    pixels = np.round(loaded.images * (255 / 16)).astype(np.uint8)
    labels = np.asarray(loaded.target, dtype=np.int64)
    names = [str(index) for index in range(len(pixels))]
    train, test = held_out(hashed_order(names, salt="digits"), labels, TEST_SHARE)
    chosen = preprocessing or PREPROCESSING
    return DataSet(
        spec="digits",
        classes=tuple(str(digit) for digit in range(10)),
        sha256=hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest(),
        preprocessing=chosen,
        default_preprocessing=PREPROCESSING,
        splits=make_splits(_Digits(pixels), chosen, names, labels, train=train, test=test),
        notes=("8x8 images upscaled; the writers of train and test images overlap",),
    )
