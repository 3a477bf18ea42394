"""Images to calibrate on and to time with: parts of the two photographs that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from edgevision.data.dataset import Split
from edgevision.data.preprocess import Preprocessing

#: Speed does not depend on what a network was calibrated on; whether int8 networks agree with float ones does.
IMAGES = 16
_SIDE = 256


@dataclass(frozen=True)
class _Crops:
    """Square parts of the photographs at places drawn once."""

    crops: tuple[np.ndarray, ...]

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.crops[index])


def photographs(preprocessing: Preprocessing) -> Split:
    """Sixteen square parts of two photographs, the same every time; their labels mean nothing."""
    draw = np.random.default_rng(0)
    crops = []
    for index in range(IMAGES):
        photograph = load_sample_images().images[index % 2]
        top, left = (int(draw.integers(0, size - _SIDE)) for size in photograph.shape[:2])
        crops.append(photograph[top : top + _SIDE, left : left + _SIDE])
    numbers = np.arange(IMAGES)
    return Split("calibration", preprocessing, _Crops(tuple(crops)), numbers, np.zeros(IMAGES, np.int64))
