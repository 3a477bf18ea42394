"""Results that are every few pixels of a larger image: the phases of a transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.compiler.kernels.emit import Expr
from edgevision.graph.geometry import Window


@dataclass(frozen=True)
class Grid:
    """Where the output pixels of a sliding kernel go, when they are not an image of their own.

    Attributes:
        height, width: of the whole result, in pixels.
        step, first: rows and columns of it from one output pixel to the next, and of the first.
    """

    height: int
    width: int
    step: tuple[int, int]
    first: tuple[int, int]


def pixels_per_image(window: Window, grid: Grid | None) -> int:
    """Pixels of one image of the result."""
    return window.out_height * window.out_width if grid is None else grid.height * grid.width


def pixel(window: Window, grid: Grid | None, line: Expr, image: Expr, column: Expr) -> Expr:
    """The pixel of the result that column `column` of output line `line`, of image `image`, is."""
    if grid is None:
        return line * window.out_width + column
    row = (line - image * window.out_height) * grid.step[0] + (image * grid.height + grid.first[0])
    return row * grid.width + (column * grid.step[1] + grid.first[1])
