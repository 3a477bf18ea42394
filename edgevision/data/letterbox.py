"""An image made to fit a network's input without distorting or cropping it, and boxes taken there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Letterbox:
    """Scale by one factor, then pad on both sides; sizes and offsets in pixels.

    The two scaled sizes are rounded to whole pixels, so the factor of an axis is its own `scaled / original`: with it
    the edges of the image are mapped onto the edges of the picture exactly.

    Attributes:
        width, height: of the original image.
        scaled_width, scaled_height: of the same image inside the padding.
        left, top: where it begins; when the padding is odd the extra pixel is on the right or at the bottom.
        to_width, to_height: with the padding.
    """

    width: int
    height: int
    scaled_width: int
    scaled_height: int
    left: int
    top: int
    to_width: int
    to_height: int

    @classmethod
    def fitting(cls, width: int, height: int, to_height: int, to_width: int) -> Letterbox:
        """Fit an image of `width` by `height` pixels; smaller images are enlarged.

        >>> Letterbox.fitting(640, 480, 256, 256).boxes(np.array([[0, 0, 640, 480]])).tolist()
        [[0.0, 32.0, 256.0, 224.0]]
        """
        scale = min(to_width / width, to_height / height)
        scaled_width = min(to_width, max(1, round(width * scale)))
        scaled_height = min(to_height, max(1, round(height * scale)))
        left, top = (to_width - scaled_width) // 2, (to_height - scaled_height) // 2
        return cls(width, height, scaled_width, scaled_height, left, top, to_width, to_height)

    def image(
        self,
        image: Image.Image,
        *,
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
        fill: Sequence[int] = (0, 0, 0),
    ) -> np.ndarray:
        """Return the image scaled and padded, uint8 (to_height, to_width, bands).

        Args:
            image: RGB or grey, `width` by `height`.
            interpolation: how it is resized.
            fill: colour of the padding, one level for each band.
        """
        how = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
        scaled = np.asarray(image.resize((self.scaled_width, self.scaled_height), how), dtype=np.uint8)
        scaled = scaled.reshape(self.scaled_height, self.scaled_width, -1)
        padded = np.empty((self.to_height, self.to_width, scaled.shape[2]), np.uint8)
        padded[:] = np.asarray(fill, np.uint8)
        padded[self.top : self.top + self.scaled_height, self.left : self.left + self.scaled_width] = scaled
        return padded

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (N, 4), x1, y1, x2, y2 in pixels of the original image, into the padded one; float32."""
        return (np.asarray(boxes, np.float64) * self._scale + self._offset).astype(np.float32)

    def back(self, boxes: np.ndarray) -> np.ndarray:
        """Map boxes (N, 4) in pixels of the padded image into the original one, clipped to it; float32."""
        original = (np.asarray(boxes, np.float64) - self._offset) / self._scale
        return np.clip(original, 0, [self.width, self.height] * 2).astype(np.float32)

    @property
    def _scale(self) -> np.ndarray:
        return np.asarray([self.scaled_width / self.width, self.scaled_height / self.height] * 2)

    @property
    def _offset(self) -> np.ndarray:
        return np.asarray([self.left, self.top] * 2, np.float64)
