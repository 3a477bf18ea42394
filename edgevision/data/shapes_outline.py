"""Outlines of the objects of `shapes`, in a frame where the farthest corner is at distance 1 from the origin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_ROUND = 48


@dataclass(frozen=True, eq=False)
class Outline:
    """Polygons, float64 (corners, 2) as x, y: the union of `solid` without the union of `holes`."""

    solid: tuple[np.ndarray, ...] = field(repr=False)
    holes: tuple[np.ndarray, ...] = field(default=(), repr=False)

    def moved(self, matrix: np.ndarray, offset: np.ndarray) -> Outline:
        """Map every corner p to matrix @ p + offset."""
        solid, holes = (tuple(p @ matrix.T + offset for p in polygons) for polygons in (self.solid, self.holes))
        return Outline(solid, holes)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the corners; holes lie inside."""
        corners = np.concatenate(self.solid)
        left, top = corners.min(0)
        right, bottom = corners.max(0)
        return float(left), float(top), float(right), float(bottom)


def outline(name: str, stroke: float, opening: float = math.pi / 2) -> Outline:
    """Return the outline of a class of `shapes` or of a distractor.

    Args:
        name: "arc", "cross", "ell", "ring", "star" or "triangle"; or "bar", "disc".
        stroke: width of its lines, in units of the outer radius, below 0.5; a disc has none.
        opening: angle that the arc leaves open, radians.
    """
    full = 2 * math.pi
    if name == "arc":
        return Outline((np.concatenate([_round(1, full - opening), _round(1 - stroke, full - opening)[::-1]]),))
    if name == "ring":
        return Outline((_round(1),), (_round(1 - stroke),))
    if name == "disc":
        return Outline((_round(1),))
    if name == "triangle":
        thirds = np.arange(3) * full / 3
        # The distance of a side from the centre is half that of a corner.
        return Outline((_points(1, thirds),), (_points(1 - 2 * stroke, thirds),))
    angles = {
        "cross": [full * i / 4 for i in range(4)],
        "star": [full * i / 5 for i in range(5)],
        "ell": [0.0, full / 4],
        "bar": [0.0, full / 2],
    }
    return _centred(_arms(angles[name], stroke))


def _arms(angles: Sequence[float], stroke: float) -> tuple[np.ndarray, ...]:
    """Straight lines of length 1 from the origin; each begins half its width before it, so that joints are square."""
    half = stroke / 2
    arm = np.array([[-half, -half], [1, -half], [1, half], [-half, half]])
    return tuple(arm @ rotation(angle).T for angle in angles)


def _centred(polygons: tuple[np.ndarray, ...]) -> Outline:
    corners = np.concatenate(polygons)
    middle = (corners.min(0) + corners.max(0)) / 2
    radius = np.hypot(*(corners - middle).T).max()
    return Outline(tuple((p - middle) / radius for p in polygons))


def _round(radius: float, angle: float = 2 * math.pi) -> np.ndarray:
    return _points(radius, np.arange(_ROUND) * (angle / (_ROUND - 1)))


def _points(radius: float, turns: np.ndarray) -> np.ndarray:
    return radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)


def rotation(angle: float) -> np.ndarray:
    """The matrix (2, 2) that turns by `angle` radians."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
