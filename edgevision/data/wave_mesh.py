"""The unit square cut into triangles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgevision.errors import UsageError

#: Sides of the square in the order in which borders are named.
SIDES = ("left", "right", "bottom", "top")


@dataclass(frozen=True, eq=False)
class Mesh:
    """Nodes and triangles of the unit square.

    Attributes:
        cells: squares along an axis; node (row, column) has number row * (cells + 1) + column.
        nodes: float64 (N, 2), x and y, y growing with the row.
        triangles: int64 (T, 3), nodes of each, counter-clockwise.
        edges: for each of `SIDES` the edges on it, int64 (cells, 2).
    """

    cells: int
    nodes: np.ndarray
    triangles: np.ndarray
    edges: tuple[np.ndarray, ...]

    @cached_property
    def centres(self) -> np.ndarray:
        """Centres of gravity of the triangles, float64 (T, 2)."""
        return self.nodes[self.triangles].mean(axis=1)

    @cached_property
    def areas(self) -> np.ndarray:
        """Areas of the triangles, float64 (T,)."""
        first, second, third = np.moveaxis(self.nodes[self.triangles], 1, 0)
        (ax, ay), (bx, by) = (second - first).T, (third - first).T
        return (ax * by - ay * bx) / 2


def triangulated_square(cells: int) -> Mesh:
    """Cut the unit square into `cells` x `cells` squares, and each of these along its rising diagonal.

    All diagonals run the same way: with alternating ones the lumped masses of neighbours would differ by a factor of
    two, which the waves see.

    Raises:
        UsageError: no node would lie inside the square.

    >>> mesh = triangulated_square(4)
    >>> mesh.nodes.shape, mesh.triangles.shape, float(mesh.areas.sum())
    ((25, 2), (32, 3), 1.0)
    """
    if cells < 2:
        raise UsageError(
            f"expected a mesh with nodes inside the square, got {cells} along a side: all nodes lie on the border",
            fix="use at least 2 cells",
        )
    axis = np.linspace(0.0, 1.0, cells + 1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    number = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    low_left, low_right = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    high_left, high_right = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    triangles = np.concatenate(
        [np.stack([low_left, low_right, high_right], 1), np.stack([low_left, high_right, high_left], 1)]
    )
    lines = (number[:, 0], number[:, -1], number[0], number[-1])
    edges = tuple(np.stack([line[:-1], line[1:]], 1) for line in lines)
    return Mesh(cells, np.stack([x.ravel(), y.ravel()], 1), triangles, edges)
