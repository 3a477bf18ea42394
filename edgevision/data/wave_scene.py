"""One random medium and its sources: a piecewise-constant speed with a layer and discs, bumps that start the waves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgevision.data.wave_solver import Source


@dataclass(frozen=True)
class Layer:
    """A half plane: the points with x cos(angle) + y sin(angle) above `offset` have `speed`."""

    angle: float
    offset: float
    speed: float

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Whether each of `points` (N, 2) lies in it."""
        return points @ np.array([np.cos(self.angle), np.sin(self.angle)]) > self.offset


@dataclass(frozen=True)
class Disc:
    """A disc of another speed."""

    x: float
    y: float
    radius: float
    speed: float

    def inside(self, points: np.ndarray) -> np.ndarray:
        """Whether each of `points` (N, 2) lies in it."""
        return (points[:, 0] - self.x) ** 2 + (points[:, 1] - self.y) ** 2 < self.radius**2


@dataclass(frozen=True)
class Scene:
    """What one computation is made of; a later region lies over an earlier one.

    Attributes:
        speed: of the waves where there is no region.
    """

    speed: float
    regions: tuple[Layer | Disc, ...]
    sources: tuple[Source, ...]

    def speeds(self, points: np.ndarray) -> np.ndarray:
        """Speed of the waves at `points` (N, 2), float64 (N,)."""
        found = np.full(len(points), self.speed)
        for region in self.regions:
            found[region.inside(points)] = region.speed
        return found


def draw_scene(
    seed: int, number: int, *, slowest: float, fastest: float, frequency: float, at: tuple[float, float] | None = None
) -> Scene:
    """Draw scene `number` of `seed`: a layer in half of the scenes, up to three discs, one or two sources.

    Args:
        slowest, fastest: bounds of the speeds.
        frequency: of the sources, in 1/s; each is drawn within a quarter of it.
        at: place of the one source; drawn without it.

    >>> draw_scene(0, 3, slowest=1, fastest=2, frequency=4) == draw_scene(0, 3, slowest=1, fastest=2, frequency=4)
    True
    """
    random = np.random.default_rng([seed, number])

    def speed() -> float:
        return float(random.uniform(slowest, fastest))

    def place() -> tuple[float, float]:
        return float(random.uniform(0.1, 0.9)), float(random.uniform(0.1, 0.9))

    base, regions = speed(), list[Layer | Disc]()
    if random.random() < 0.5:
        angle, (x, y) = float(random.uniform(0, 2 * np.pi)), place()
        regions.append(Layer(angle, x * float(np.cos(angle)) + y * float(np.sin(angle)), speed()))
    for _ in range(int(random.integers(0, 4))):
        x, y = place()
        regions.append(Disc(x, y, float(random.uniform(0.08, 0.25)), speed()))
    places = [at] if at is not None else [place() for _ in range(int(random.integers(1, 3)))]
    sources = tuple(
        Source(
            x,
            y,
            width=float(random.uniform(0.03, 0.06)),
            frequency=frequency * float(random.uniform(0.8, 1.25)),
            amplitude=float(random.uniform(0.5, 1.0) * random.choice([-1, 1])),
        )
        for x, y in places
    )
    return Scene(base, tuple(regions), sources)
