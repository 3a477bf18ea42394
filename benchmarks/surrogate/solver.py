"""The solver as the surrogate's rival: seconds and error of one window, on meshes as fine as the fields and coarser."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np

from edgevision.data.field_error import relative_l2
from edgevision.data.wave import WaveSet
from edgevision.data.wave_generate import start, trajectory
from edgevision.data.wave_spec import PAST, WaveSpec

#: Times one window is computed; the fastest counts, which is best for the solver.
REPEATS = 5


def solver_costs(data: WaveSet, count: int) -> dict[str, Any]:
    """For the mesh the truth was computed on and the coarser ones down to the recorded points: seconds, error.

    Assembly is not timed, nor what happens before the first recorded field. The error is that of all later fields of a
    window against the finest mesh, relative L2, mean over `count` test trajectories and their windows.
    """
    spec = data.waves
    return {f"refine {refine}": _cost(msgspec.structs.replace(spec, refine=refine), data, count)
            for refine in range(1, spec.refine + 1)}  # fmt: skip


def _cost(spec: WaveSpec, data: WaveSet, count: int) -> dict[str, Any]:
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
    return {
        "cells": spec.refine * (spec.side - 1),
        "steps": every * spec.later,
        "seconds": min(seconds),
        "error": float(np.mean(errors)),
    }
