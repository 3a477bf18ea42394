"""Trajectories computed in parallel, each kept in the cache by its specification: what is there is reused."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np

from edgevision.cache import Cache
from edgevision.data.wave_mesh import Mesh
from edgevision.data.wave_scene import draw_scene
from edgevision.data.wave_solver import Waves
from edgevision.data.wave_spec import WaveSpec
from edgevision.progress import Progress, silent

#: The default set takes 71 MiB.
_MOST_BYTES = 4 << 30


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Waves recorded at even intervals, after their sources fell silent.

    Attributes:
        fields: float32 (frames, side, side).
        speed: float32 (side, side).
    """

    fields: np.ndarray
    speed: np.ndarray


def trajectory(spec: WaveSpec, number: int) -> Trajectory:
    """Compute trajectory `number`; the same on every machine up to rounding."""
    mesh = spec.mesh()
    points = _recorded(mesh, spec)
    waves, every, speed = start(spec, number, mesh)
    fields = waves.record(spec.frames, every, lambda u: u[points].astype(np.float32))
    shape = (spec.side, spec.side)
    return Trajectory(fields.reshape(-1, *shape), speed[points].astype(np.float32).reshape(shape))


def start(spec: WaveSpec, number: int, mesh: Mesh) -> tuple[Waves, int, np.ndarray]:
    """Return the waves of trajectory `number` when its recording begins, steps in an interval, and the nodes' speed."""
    scene = draw_scene(
        spec.seed, number, slowest=spec.slowest, fastest=spec.fastest, frequency=spec.frequency, at=spec.source
    )
    every = spec.steps(spec.bound())
    step = spec.interval / every
    waves = Waves(mesh, scene.speeds(mesh.centres), step, spec.borders, scene.sources)
    # In whole intervals: the same fields are recorded whatever the mesh and its step.
    waves.advance(every * math.ceil(max(source.silent_after for source in scene.sources) / spec.interval))
    return waves, every, scene.speeds(mesh.nodes)


def trajectories(spec: WaveSpec, *, processes: int | None = None, progress: Progress = silent) -> list[Trajectory]:
    """The trajectories of `spec.numbers`, those of the cache as they are, the others computed and kept.

    Args:
        processes: that compute; as many as there are cores without it. Their number changes no bit.
        progress: told after each trajectory that is computed.

    Raises:
        UsageError: `spec` cannot be computed; all reasons are given.
    """
    spec.check()
    cache = Cache("waves", most_bytes=_MOST_BYTES)
    found = {number: _read(cache.get(_key(spec, number)), spec) for number in spec.numbers}
    made = {number: one for number, one in found.items() if one is not None}
    missing = [number for number in found if number not in made]
    for number, one in _computed(spec, missing, processes):
        made[number] = one
        cache.put(_key(spec, number), one.speed.tobytes() + one.fields.tobytes())
        progress("compute waves", len(made), len(found))
    if missing:
        cache.trim()
    return [made[number] for number in spec.numbers]


def _computed(spec: WaveSpec, numbers: list[int], processes: int | None) -> Iterator[tuple[int, Trajectory]]:
    workers = min(processes or len(os.sched_getaffinity(0)), len(numbers))
    if workers < 2:
        for number in numbers:
            yield number, trajectory(spec, number)
        return
    # Forked: what computes is imported already, and a caller's script needs no guard around its main part.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        try:
            yield from zip(numbers, pool.map(partial(trajectory, spec), numbers), strict=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _key(spec: WaveSpec, number: int) -> str:
    """How many trajectories there are changes none of them."""
    alone = msgspec.structs.replace(spec, train=0, test=0)
    return hashlib.sha256(f"{alone.sha256}/{number}".encode()).hexdigest()


def _read(entry: bytes | None, spec: WaveSpec) -> Trajectory | None:
    values = np.frombuffer(entry or b"", np.float32)
    if len(values) != (spec.frames + 1) * spec.side**2:
        return None
    whole = values.reshape(-1, spec.side, spec.side)
    return Trajectory(whole[1:], whole[0])


def _recorded(mesh: Mesh, spec: WaveSpec) -> np.ndarray:
    """Numbers of the recorded nodes, row by row."""
    axis = np.arange(0, mesh.cells + 1, spec.refine)
    return (axis[:, None] * (mesh.cells + 1) + axis).ravel()
