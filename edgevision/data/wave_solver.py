"""Waves in time: explicit Newmark (beta 0, gamma 1/2), second order in step and mesh width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgevision.data.wave_matrices import Border, Matrices, assemble
from edgevision.data.wave_mesh import Mesh
from edgevision.errors import UsageError


@dataclass(frozen=True)
class Source:
    """A bump in space that moves as a Ricker wavelet in time, then is silent.

    Attributes:
        x, y: of its centre, in the unit square.
        width: standard deviation of the bump.
        frequency: at which the wavelet has most power, in 1/s.
        amplitude: of the force.
    """

    x: float
    y: float
    width: float = 0.04
    frequency: float = 4.0
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        reasons = []
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1):
            reasons.append(f"expected a source inside the unit square, got it at ({self.x:g}, {self.y:g})")
        for name in ("width", "frequency"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                reasons.append(f"expected a {name} above 0, got {value}")
        if not math.isfinite(self.amplitude):
            reasons.append(f"expected a finite amplitude, got {self.amplitude}")
        if reasons:
            raise UsageError("the source cannot be used", reasons=reasons)

    @property
    def silent_after(self) -> float:
        """Seconds after which the force is below 1e-8 of its largest value."""
        return 3.0 / self.frequency

    def shape(self, points: np.ndarray) -> np.ndarray:
        """The bump at `points` (N, 2)."""
        squared = (points[:, 0] - self.x) ** 2 + (points[:, 1] - self.y) ** 2
        return self.amplitude * np.exp(-squared / (2 * self.width**2))

    def force(self, time: float) -> float:
        """The wavelet: 1 where it is largest, at half of `silent_after`."""
        phase = (math.pi * self.frequency * (time - self.silent_after / 2)) ** 2
        return (1 - 2 * phase) * math.exp(-phase)


@dataclass
class Waves:
    """A state of the waves, moved on by `step`.

    Args:
        mesh: of triangles.
        speed: in each triangle, float64 (T,).
        step: seconds.
        borders: of left, right, bottom and top.
        sources: none for free waves.
        start, velocity: u and du/dt of the nodes at time 0, float64 (N,); zero without them.

    Raises:
        UsageError: `step` is not below the CFL bound, which is named, or anything else that cannot be used.
    """

    mesh: Mesh
    speed: np.ndarray
    step: float
    borders: Sequence[Border] = ("free",) * 4
    sources: Sequence[Source] = ()
    start: np.ndarray | None = None
    velocity: np.ndarray | None = None
    matrices: Matrices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.matrices = assemble(self.mesh, self.speed, self.borders)
        refuse_unstable(self.step, self.matrices.largest_step)
        nodes, moving = len(self.mesh.nodes), self.matrices.moving
        self.steps = 0
        self.u, self.v = (
            np.zeros(nodes) if given is None else np.where(moving, given, 0.0) for given in (self.start, self.velocity)
        )
        # A bump's load is lumped as the mass is; quiet nodes have no inverse mass.
        self._loads = [source.shape(self.mesh.nodes) * self.matrices.mass for source in self.sources]
        self._inverse = moving / (self.matrices.mass + self.step / 2 * self.matrices.damping)
        # The first acceleration must hold M a = f - K u - C v itself.
        rest = self._load() - self.matrices.stiffness @ self.u - self.matrices.damping * self.v
        self.a = moving * rest / self.matrices.mass

    @property
    def time(self) -> float:
        """Seconds since the beginning."""
        return self.steps * self.step

    @property
    def energy(self) -> float:
        """Kinetic and potential energy."""
        kinetic = float(self.v @ (self.matrices.mass * self.v))
        return (kinetic + float(self.u @ (self.matrices.stiffness @ self.u))) / 2

    def advance(self, steps: int) -> None:
        """Go on by `steps` steps."""
        damping, stiffness = self.matrices.damping, self.matrices.stiffness
        for _ in range(steps):
            half = self.v + self.step / 2 * self.a
            self.u += self.step * half
            self.steps += 1
            self.a = self._inverse * (self._load() - stiffness @ self.u - damping * half)
            self.v = half + self.step / 2 * self.a

    def record(self, frames: int, every: int, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return what `of` makes of u now and after each of `frames` - 1 times `every` steps, stacked."""
        made = [of(self.u)]
        for _ in range(frames - 1):
            self.advance(every)
            made.append(of(self.u))
        return np.stack(made)

    def _load(self) -> np.ndarray | float:
        """Force on the nodes now; a scalar zero when all sources are silent."""
        now = self.time
        active = [
            source.force(now) * load
            for source, load in zip(self.sources, self._loads, strict=True)
            if now < source.silent_after
        ]
        return np.sum(active, axis=0) if active else 0.0


def refuse_unstable(step: float, bound: float) -> None:
    """Raise `UsageError` unless `step` is above 0 and below the CFL bound, both in seconds."""
    if not 0 < step < bound:
        why = ": the waves would grow without limit" if step >= bound else ""
        raise UsageError(
            f"expected a time step above 0 and below the CFL bound of {bound:.6g} s, got {step:g} s{why}",
            fix=f"a step of at most {0.9 * bound:.3g} s, or a coarser mesh",
        )
