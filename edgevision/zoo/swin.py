"""Swin Transformer (arXiv 2103.14030), in the state_dict layout of the official release.

Attention within windows of 7x7 tokens; every second block shifts the windows by half of one, and a mask keeps tokens
apart that the shift made neighbours. Tensors are (N, H, W, C) between the blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError
from edgevision.zoo.attention import Attention, Mlp, drawn_parameter, initialise
from edgevision.zoo.family import Family, Wanted


@dataclass(frozen=True)
class Variant:
    """Channels of the first stage, doubled by each after it; blocks and heads of the four stages."""

    dim: int
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]


VARIANTS = {
    "swin_tiny": Variant(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small": Variant(96, (2, 2, 18, 2), (3, 6, 12, 24)),
}
PATCH, WINDOW = 4, 7
#: The patches divide by 4 and each of three mergings by 2.
STRIDE = 32
#: What the mask adds to a score, as published: exp(-100) is 0 beside any other score.
MASKED = -100.0


def window_for(size: tuple[int, int]) -> int:
    """Side of a window in tokens: 7 where the sides are multiples of 224 pixels, else 1/32 of the shorter side.

    The published networks follow this rule too (7 at 224, 12 at 384); weights fit windows of their own side only.

    Raises:
        UsageError: windows do not tile the last stage.

    >>> window_for((224, 224)), window_for((384, 384)), window_for((64, 128))
    (7, 12, 2)
    """
    window = WINDOW if not any(side % (WINDOW * STRIDE) for side in size) else min(size) // STRIDE
    if any(side % (window * STRIDE) for side in size):
        raise UsageError(
            f"expected sides that windows of {window}x{window} tokens tile, multiples of {window * STRIDE} pixels, "
            f"got {size[0]}x{size[1]}",
            where="swin",
            fix="use multiples of 224, or a square image whose side is a multiple of 32",
        )
    return window


def relative_position_index(window: int) -> Tensor:
    """int64 (window^2, window^2): row of the table of biases for each pair of tokens.

    The offset of a pair, each coordinate from -(window - 1) to window - 1, counted row by row.
    """
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    down = rows.reshape(-1, 1) - rows.reshape(1, -1) + window - 1
    right = columns.reshape(-1, 1) - columns.reshape(1, -1) + window - 1
    return down * (2 * window - 1) + right


def shifted_window_mask(grid: tuple[int, int], window: int, shift: int) -> Tensor:
    """float32 (windows, 1, window^2, window^2): 0 for two tokens that were neighbours before the shift, else -100."""
    region = torch.zeros(grid)
    for number, axis in enumerate((0, 1)):
        # The last window of an axis holds two strips that the shift brought together.
        position = torch.arange(grid[axis])
        strip = (position >= grid[axis] - window).float() + (position >= grid[axis] - shift).float()
        region = region + 3**number * (strip[:, None] if axis == 0 else strip[None, :])
    of_token = partition(region[None, :, :, None], window, grid).squeeze(-1)
    apart = of_token[:, :, None] != of_token[:, None, :]
    return torch.where(apart, MASKED, 0.0)[:, None]


def partition(x: Tensor, window: int, grid: tuple[int, int]) -> Tensor:
    """(N, H, W, C) of `grid` (H, W) to windows (N * H/window * W/window, window^2, C)."""
    x = x.reshape(-1, grid[0] // window, window, grid[1] // window, window, x.shape[3])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, x.shape[5])


def joined(x: Tensor, window: int, grid: tuple[int, int]) -> Tensor:
    """Undo `partition`."""
    x = x.reshape(-1, grid[0] // window, grid[1] // window, window, window, x.shape[2])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, grid[0], grid[1], x.shape[5])


def rolled(x: Tensor, shift: int) -> Tensor:
    """Move (N, H, W, C) up and left by `shift`, around the borders; negative moves back."""
    x = torch.cat([x[:, shift:], x[:, :shift]], dim=1)
    return torch.cat([x[:, :, shift:], x[:, :, :shift]], dim=2)


class WindowAttention(Attention):
    """Attention within a window, with a learnt bias for each offset between two tokens."""

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__(dim, heads, window * window)
        self.relative_position_bias_table = drawn_parameter((2 * window - 1) ** 2, heads)
        self.register_buffer("relative_position_index", relative_position_index(window), persistent=False)

    def forward(self, x: Tensor, *biases: Tensor) -> Tensor:
        """(N * windows, window^2, dim) to the same shape."""
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1).unsqueeze(0)
        return super().forward(x, bias, *biases)


class Block(nn.Module):
    """x + windows of attention(norm(x)), then x + mlp(norm(x)); shift 0 leaves the windows where they are."""

    attn_mask: Tensor | None

    def __init__(self, dim: int, heads: int, grid: tuple[int, int], window: int, shift: int) -> None:
        super().__init__()
        self.grid, self.window, self.shift = grid, window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        mask = shifted_window_mask(grid, window, shift) if shift else None
        self.register_buffer("attn_mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, dim) to the same shape."""
        windows = self.norm1(x)
        masks = []
        if self.attn_mask is not None:
            windows = rolled(windows, self.shift)
            masks = [self.attn_mask.repeat(x.shape[0], 1, 1, 1)]
        windows = self.attn(partition(windows, self.window, self.grid), *masks)
        mixed = joined(windows, self.window, self.grid)
        x = x + (rolled(mixed, -self.shift) if self.shift else mixed)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Channels of 2x2 tokens side by side, norm, linear to twice the channels of one."""

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.merged = (grid[0] // 2, grid[1] // 2)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, H/2, W/2, 2C); the four come in the order (0, 0), (1, 0), (0, 1), (1, 1)."""
        height, width = self.merged
        x = x.reshape(-1, height, 2, width, 2, x.shape[3]).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(-1, height, width, 4 * x.shape[5])))


class PatchEmbed(nn.Module):
    """One linear map per 4x4 patch, and a norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, H/4, W/4, dim)."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Stage(nn.Module):
    """Blocks, every second one shifted, and a merging behind all but the last stage."""

    def __init__(self, dim: int, depth: int, heads: int, grid: tuple[int, int], window: int, *, last: bool) -> None:
        super().__init__()
        # Where one window holds everything there is nothing to shift.
        shift = window // 2 if min(grid) > window else 0
        self.blocks = nn.ModuleList(Block(dim, heads, grid, window, shift if i % 2 else 0) for i in range(depth))
        self.downsample = None if last else PatchMerging(dim, grid)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, H/2, W/2, 2C), the last stage to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """A Swin classifier for images of one size.

    Args:
        variant: channels, blocks and heads.
        size: height and width in pixels; see `window_for`.
        classes: outputs of the head.

    Raises:
        UsageError: windows do not tile an image of that size.

    >>> sum(p.numel() for p in Swin(VARIANTS["swin_tiny"]).parameters())
    28288354
    """

    def __init__(self, variant: Variant, *, size: tuple[int, int] = (224, 224), classes: int = 1000) -> None:
        super().__init__()
        window = window_for(size)
        self.patch_embed = PatchEmbed(variant.dim)
        self.layers = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(variant.depths, variant.heads, strict=True)):
            grid = (size[0] // PATCH >> stage, size[1] // PATCH >> stage)
            self.layers.append(Stage(variant.dim << stage, depth, heads, grid, window, last=stage == 3))
        self.norm = nn.LayerNorm(variant.dim << 3)
        self.head = nn.Linear(variant.dim << 3, classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) of the size it was built for, to logits (N, classes)."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).permute(0, 3, 1, 2).mean((2, 3)))


def build(wanted: Wanted) -> Swin:
    """Build the variant `wanted` names."""
    return Swin(VARIANTS[wanted.name], size=wanted.size, classes=wanted.classes)


FAMILY = Family(
    names=tuple(VARIANTS),
    preprocessing=Preprocessing(height=224, width=224, resize_short=256, interpolation="bicubic"),
    stride=STRIDE,
    heads=("head",),
    build=build,
)
