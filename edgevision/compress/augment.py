"""Random changes of training images, a whole batch at a time in torch: one affine map and one colour map per image,
rectangles of noise, and mixtures of two images.
"""

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
    changed = recoloured(moved, how, generator)
    return _erased(changed, how, generator) if how.erase else changed


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
    if not (how.flip or how.rotate or how.scale or how.shear or how.shift or how.crop < 1):
        return images
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = (
        torch.stack([mirror * cosine, mirror * (shear - sine), across], dim=1),
        torch.stack([sine, cosine, down], dim=1),
    )
    grid = F.affine_grid(_cropped(torch.stack(rows, dim=1), how, generator), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _cropped(maps: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Affine maps (N, 2, 3) that see a part of each image alone: of a random area and a shape from 3:4 to 4:3."""
    if how.crop >= 1:
        return maps
    sides = _rectangles(maps.shape[0], how.crop, 1.0, 4 / 3, generator)
    centres = (2 * torch.rand(maps.shape[0], 2, generator=generator) - 1) * (1 - sides)
    linear, shift = maps[:, :, :2], maps[:, :, 2:]
    return torch.cat([linear * sides[:, None, :], linear @ centres[:, :, None] + shift], dim=2)


def _rectangles(count: int, least: float, most: float, slim: float, generator: torch.Generator) -> Tensor:
    """(count, 2) width and height as shares of the image's, of an area from `least` to `most`."""
    area = least + (most - least) * torch.rand(count, generator=generator)
    ratio = ((2 * torch.rand(count, generator=generator) - 1) * math.log(slim)).exp()
    return torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=1).clamp(max=1)


def _inside(images: Tensor, sides: Tensor, generator: torch.Generator) -> Tensor:
    """Bool (N, 1, H, W): pixels of a rectangle anywhere in each image."""
    height, width = images.shape[2:]
    first = torch.rand(len(sides), 2, generator=generator) * (1 - sides)
    across, down = ((torch.arange(length) + 0.5) / length for length in (width, height))
    x = (across >= first[:, :1]) & (across < first[:, :1] + sides[:, :1])
    y = (down >= first[:, 1:]) & (down < first[:, 1:] + sides[:, 1:])
    return (y[:, :, None] & x[:, None, :])[:, None]


def _erased(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    count = images.shape[0]
    where = _inside(images, _rectangles(count, 0.02, 1 / 3, 3.3, generator), generator)
    where = where & (torch.rand(count, generator=generator) < how.erase).view(-1, 1, 1, 1)
    return torch.where(where, torch.rand(images.shape, generator=generator), images)


def mixed(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Each image (N, C, H, W) with another of the batch: mixup (Zhang et al., 2018), or cutmix (Yun et al., 2019)."""
    if not (how.mixup or how.cutmix):
        return images
    others = images[torch.randperm(len(images), generator=generator)]
    cut = bool(how.cutmix) and (not how.mixup or float(torch.rand(1, generator=generator)) < 0.5)
    if not cut:
        share = _beta(how.mixup, generator)
        return share * images + (1 - share) * others
    side = math.sqrt(1 - _beta(how.cutmix, generator))
    return torch.where(_inside(images, torch.full((len(images), 2), side), generator), others, images)


def _beta(parameter: float, generator: torch.Generator) -> float:
    """A sample of Beta(parameter, parameter), by Joehnk's rejection: torch's own takes no generator."""
    while True:
        x, y = (torch.rand(2, generator=generator).double() ** (1 / parameter)).tolist()
        if 0 < x + y <= 1:
            return x / (x + y)


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
