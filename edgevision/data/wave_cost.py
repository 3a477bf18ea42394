"""The solver as a surrogate's rival: seconds and error of one window, on meshes as fine as the fields and coarser."""

from __future__ import annotations

import time

import msgspec
import numpy as np

from edgevision.data.field_error import relative_l2
from edgevision.data.wave import WaveSet
from edgevision.data.wave_generate import start, trajectory
from edgevision.data.wave_spec import PAST, WaveSpec

#: Times one window is computed; the fastest counts, which is best for the solver.
REPEATS = 5


class SolverCost(msgspec.Struct, frozen=True):
    """What the later fields of one window cost on a mesh.

    Attributes:
        refine: mesh cells between two recorded points.
        cells: along an axis.
        steps: of the solver.
        seconds: of this process on this machine, assembly left out, and what comes before the first recorded field.
        error: relative L2 against the mesh of the truth, 0 to 1, mean over trajectories and windows.
    """

    refine: int
    cells: int
    steps: int
    seconds: float
    error: float


def solver_costs(data: WaveSet, count: int) -> tuple[SolverCost, ...]:
    """The mesh of recorded points first, the one the truth was computed on last; `count` test trajectories."""
    spec = data.waves
    return tuple(_cost(msgspec.structs.replace(spec, refine=n), data, count) for n in range(1, spec.refine + 1))


def as_accurate(costs: tuple[SolverCost, ...], error: float) -> SolverCost:
    """The fastest mesh whose error is no larger than `error`, 0 to 1; there is one, as the finest has none.

    >>> coarse, fine = SolverCost(1, 15, 8, 0.001, 0.2), SolverCost(2, 30, 16, 0.008, 0.0)
    >>> as_accurate((coarse, fine), 0.25).cells, as_accurate((coarse, fine), 0.1).cells
    (15, 30)
    """
    return min((cost for cost in costs if cost.error <= error), key=lambda cost: cost.seconds, default=costs[-1])


def _cost(spec: WaveSpec, data: WaveSet, count: int) -> SolverCost:
    numbers = spec.numbers[spec.train :][:count]
    errors = []
    for number, true in zip(numbers, data.split("test").trajectories, strict=False):
        found = trajectory(spec, number).fields[PAST:]
        windows = (spec.windows, spec.later * spec.side**2)
        errors.append(relative_l2(found.reshape(windows), true.fields[PAST:].reshape(windows), (1,)).mean())
    waves, every, _ = start(spec, numbers[0], spec.mesh())
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        waves.advance(every * spec.later)
        seconds.append(time.perf_counter() - began)
    steps, error = every * spec.later, float(np.mean(errors))
    return SolverCost(spec.refine, spec.refine * (spec.side - 1), steps, min(seconds), error)
