"""What is done to an image before the network sees it; recorded in every artefact."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from PIL import Image


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Resize, centre crop, scale to [0, 1], normalise; the result is float32 NCHW.

    Attributes:
        height, width: size the network takes, in pixels.
        resize_short: the shorter side is first resized to this; None resizes straight to (height, width).
        mean, std: per channel, applied after division by 255.
        channels: 3 for RGB, 1 for grey.
    """

    height: int
    width: int
    resize_short: int | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    channels: int = 3

    def resized(self, image: Image.Image) -> np.ndarray:
        """Return the image resized and cropped, uint8, shape (height, width, channels)."""
        image = image.convert("RGB" if self.channels == 3 else "L")
        how = Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR
        if self.resize_short is None:
            image = image.resize((self.width, self.height), how)
        else:
            scale = self.resize_short / min(image.size)
            image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), how)
            left, top = (image.width - self.width) // 2, (image.height - self.height) // 2
            image = image.crop((left, top, left + self.width, top + self.height))
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels.reshape(self.height, self.width, self.channels)

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """Return (..., H, W, C) uint8 pixels as float32 (..., C, H, W), normalised."""
        mean = np.asarray(self.mean, np.float32)
        std = np.asarray(self.std, np.float32)
        scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return the image as float32 (C, H, W)."""
        return self.normalised(self.resized(image))
