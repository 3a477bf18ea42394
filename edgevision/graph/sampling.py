"""The samples of a square deformable convolution (`graph.square`), in numpy alone, for the engine's driver too."""

from __future__ import annotations

from typing import Any

import numpy as np

#: Largest dilation; 2 * 7 + 1 rows are what the line buffer of the published accelerator holds.
LARGEST_DILATION = 7


def sampled(x: np.ndarray, dilation: np.ndarray, stride: int, outside: Any = 0) -> np.ndarray:
    """The nine samples of every output pixel: (9, N, C, H', W') from x (N, C, H, W) and integers (N, 1, H', W').

    Args:
        outside: what a sample outside the frame is, one value or one that broadcasts to (N, C, H', W').
    """
    images, _, height, width = x.shape
    rows = np.arange(dilation.shape[2]).reshape(-1, 1) * stride
    columns = np.arange(dilation.shape[3]) * stride
    image = np.arange(images).reshape(-1, 1, 1)
    taps = []
    for u in (-1, 0, 1):
        for v in (-1, 0, 1):
            y, z = rows + u * dilation[:, 0], columns + v * dilation[:, 0]
            inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
            found = x[image, :, np.clip(y, 0, height - 1), np.clip(z, 0, width - 1)].transpose(0, 3, 1, 2)
            taps.append(np.where(inside[:, None], found, np.asarray(outside, x.dtype)))
    return np.stack(taps)


def dilations(values: np.ndarray) -> np.ndarray:
    """D as the integers 0..7 it stands for.

    >>> dilations(np.float32([-1, 0.5, 1.5, 6.6, 30]))
    array([0, 0, 2, 7, 7])
    """
    return np.clip(np.rint(values), 0, LARGEST_DILATION).astype(np.int64)
