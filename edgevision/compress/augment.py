"""Random changes of training images, a whole batch at a time in torch: one affine map and one colour map per image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from edgevision.compress.train_settings import Augmentation

_LUMA = (0.299, 0.587, 0.114)


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Return changed images of the same shape.

    Args:
        images: float32 (N, C, H, W) in [0, 1].
        how: which changes, and how large.
        generator: every random number comes from it, so a seed repeats a run.
    """
    moved = _moved(images, how, generator)
    if how.turns:
        moved = torch.stack([_turned(image, generator) for image in moved])
    return recoloured(moved, how, generator)


def drawn_turn(height: int, width: int, generator: torch.Generator) -> tuple[int, bool]:
    """Quarter turns, 0 to 3 or 0 and 2 where the picture is not square, and whether it is mirrored before."""
    quarters, mirrored = torch.randint(4, (2,), generator=generator).tolist()
    return (quarters if height == width else quarters // 2 * 2), mirrored >= 2


def _turned(image: Tensor, generator: torch.Generator) -> Tensor:
    quarters, mirrored = drawn_turn(image.shape[-2], image.shape[-1], generator)
    return torch.rot90(image.flip(-1) if mirrored else image, quarters, (-2, -1))


def _moved(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shear, shift and flip in one resampling; the border is repeated outwards."""
    count = images.shape[0]
    angle = _drawn(count, how.rotate * math.pi / 180, how, generator)
    scale = 1 + _drawn(count, how.scale, how, generator)
    shear = _drawn(count, how.shear, how, generator)
    # grid_sample counts from -1 to 1, so a share of the side is twice as much there.
    across, down = (2 * _drawn(count, how.shift, how, generator) for _ in range(2))
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0) if how.flip else torch.ones(count)
    if not (how.flip or how.rotate or how.scale or how.shear or how.shift):
        return images
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = (
        torch.stack([mirror * cosine, mirror * (shear - sine), across], dim=1),
        torch.stack([sine, cosine, down], dim=1),
    )
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def recoloured(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Change saturation, contrast and brightness of images, float32 (N, C, H, W) in [0, 1], then cut to [0, 1]."""
    count = images.shape[0]
    saturation = 1 + _drawn(count, how.saturation, how, generator).view(-1, 1, 1, 1)
    contrast = 1 + _drawn(count, how.contrast, how, generator).view(-1, 1, 1, 1)
    brightness = _drawn(count, how.brightness, how, generator).view(-1, 1, 1, 1)
    if how.saturation and images.shape[1] == 3:
        grey = (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        images = grey + (images - grey) * saturation
    if how.contrast or how.brightness:
        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * contrast + brightness
    return images.clamp(0, 1)


def _drawn(count: int, largest: float, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw from [-largest, largest], or 0 where the change is not applied."""
    values = (torch.rand(count, generator=generator) * 2 - 1) * largest
    return values * (torch.rand(count, generator=generator) < how.probability)
