"""From stored bytes to what a network in training takes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgevision.data.preprocess import Preprocessing

#: Train splits up to this many bytes are decoded once and kept.
CACHED_BYTES = 1 << 30


def fits(images: int, how: Preprocessing) -> bool:
    """Whether that many images, prepared so, are small enough to keep."""
    return images * how.height * how.width * how.channels <= CACHED_BYTES


def scaled(pixels: np.ndarray) -> Tensor:
    """uint8 (N, H, W, C) as float32 (N, C, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def normalised(images: Tensor, how: Preprocessing) -> Tensor:
    """Images in [0, 1] less mean over deviation, channels last: measured faster for depthwise convolutions on CPUs."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (how.mean, how.std))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)
