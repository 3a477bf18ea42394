"""What a set of computed waves is made of, as data: the same specification gives the same bytes."""

from __future__ import annotations

import hashlib
import math

import msgspec
import numpy as np

from edgevision.data.wave_matrices import BORDERS, Border, assemble
from edgevision.data.wave_mesh import SIDES, Mesh, triangulated_square
from edgevision.data.wave_solver import Source, refuse_unstable
from edgevision.errors import UsageError

#: Changes whenever the same specification would give other fields.
GENERATOR = 2
#: Fields a network is given: an equation of second order in time needs two to know where the waves go.
PAST = 2
#: Number of the first scene to test on, beyond any to train on.
_FIRST_TEST = 1 << 20
#: Share of the CFL bound when no step is asked for.
_COURANT = 0.9
#: Values of all recorded fields; 4 GiB as they are stored.
_MOST_VALUES = 1 << 30


class WaveSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of trajectories on the unit square.

    Attributes:
        side: recorded points along an axis, borders included.
        refine: mesh cells between two recorded points.
        train, test: trajectories.
        interval: seconds between recorded fields.
        later: fields a network predicts at once.
        windows: predictions, one after another, that a trajectory is long enough for.
        step: of the solver in seconds, a whole part of `interval`; None takes the longest that is safely stable.
        slowest, fastest: bounds of the speeds.
        frequency: of the sources, 1/s.
        source: place of the one source; None draws one or two for each trajectory.
        borders: of left, right, bottom and top.
        seed: of scenes.
    """

    side: int = 64
    refine: int = 2
    train: int = 192
    test: int = 48
    interval: float = 0.05
    later: int = 4
    windows: int = 4
    step: float | None = None
    slowest: float = 0.6
    fastest: float = 1.4
    frequency: float = 4.0
    source: tuple[float, float] | None = None
    borders: tuple[Border, Border, Border, Border] = ("free", "absorbing", "absorbing", "absorbing")
    seed: int = 0

    @property
    def frames(self) -> int:
        """Recorded fields of one trajectory."""
        return PAST + self.later * self.windows

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the scenes of all trajectories, those to train on first; more of these move none to test on."""
        return (*range(self.train), *range(_FIRST_TEST, _FIRST_TEST + self.test))

    @property
    def sha256(self) -> str:
        """Of the specification and the generator."""
        return hashlib.sha256(msgspec.json.encode([GENERATOR, self])).hexdigest()

    def mesh(self) -> Mesh:
        """What the waves are computed on."""
        return triangulated_square(self.refine * (self.side - 1))

    def steps(self, bound: float) -> int:
        """Steps of the solver in one interval when `bound`, in seconds, is the CFL bound."""
        if self.step is None:
            return math.ceil(self.interval / (_COURANT * bound))
        return round(self.interval / self.step)

    def scaled(self, speed: np.ndarray) -> np.ndarray:
        """Speeds as a network gets them: from -1 for the slowest to 1 for the fastest."""
        middle, half = (self.slowest + self.fastest) / 2, (self.fastest - self.slowest) / 2
        return (speed - np.float32(middle)) / np.float32(half or 1.0)

    def check(self) -> None:
        """Raise `UsageError` with everything that is wrong, before any work is done."""
        reasons = [
            f"expected {name} to be at least {least}, got {getattr(self, name)}"
            for name, least in (("refine", 1), ("train", 0), ("test", 0), ("later", 1), ("windows", 1), ("seed", 0))
            if getattr(self, name) < least
        ]
        reasons += [
            f"expected {name} to be a number above 0, got {getattr(self, name)}"
            for name in ("interval", "slowest", "fastest", "frequency")
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0)
        ]
        if self.train + self.test < 1:
            reasons.append("expected at least one trajectory in train or test, got none")
        if self.slowest > self.fastest:
            reasons.append(f"expected slowest to be at most fastest, got {self.slowest} and {self.fastest}")
        if any(border not in BORDERS for border in self.borders):
            reasons.append(f"expected one of {', '.join(BORDERS)} for each of {', '.join(SIDES)}, got {self.borders}")
        values = (self.train + self.test) * (self.frames + 1) * self.side**2
        if not reasons and values > _MOST_VALUES:
            reasons.append(f"expected at most {_MOST_VALUES:,} recorded values, got {values:,}")
        for wrong in (self._mesh_reason(), self._source_reason(), *([] if reasons else [self._step_reason()])):
            reasons += [wrong] if wrong else []
        if reasons:
            raise UsageError("the waves cannot be computed as specified", reasons=reasons)

    def _mesh_reason(self) -> str | None:
        try:
            # The smallest meshes say all there is to say about larger ones.
            triangulated_square(min(2, self.refine * (self.side - 1)))
        except UsageError as error:
            return f"{error.what} (side {self.side}, refine {self.refine})"
        return None

    def _source_reason(self) -> str | None:
        try:
            if self.source is not None:
                Source(*self.source)
        except UsageError as error:
            return "; ".join(error.reasons)
        return None

    def _step_reason(self) -> str | None:
        """The bound is that of a square with the fastest speed everywhere, which no scene exceeds."""
        if self.step is None or self.refine * (self.side - 1) < 2:
            return None
        try:
            refuse_unstable(self.step, self.bound())
        except UsageError as error:
            return error.what
        if not math.isclose(self.interval / self.step, round(self.interval / self.step), rel_tol=1e-9):
            return f"expected an interval that is a whole number of steps, got {self.interval} s and {self.step} s"
        return None

    def bound(self) -> float:
        """CFL bound in seconds of any scene; it is in proportion to the width of the cells."""
        small = triangulated_square(2)
        widths = 2 / (self.refine * (self.side - 1))
        return assemble(small, np.full(len(small.triangles), self.fastest)).largest_step * widths
