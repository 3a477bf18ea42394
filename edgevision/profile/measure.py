"""The stage: engines warmed up, timed in turns, stepped through, compared; one `Profile` comes out."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Sequence
from datetime import datetime, timezone

import msgspec
import numpy as np
import psutil

from edgevision.compress.scoring import Scoring
from edgevision.data.metric import Metric
from edgevision.device.device import RawTiming
from edgevision.errors import UsageError
from edgevision.profile import calibration, noise
from edgevision.profile.against_model import beside
from edgevision.profile.agreement import Agreement, agreement
from edgevision.profile.contenders import Contender
from edgevision.profile.engines import BundleEngine
from edgevision.profile.interleave import compare, measure
from edgevision.profile.profile import SCHEMA, EngineProfile, Profile, Protocol, StepProfile
from edgevision.profile.statistics import Interval, Latency, latency
from edgevision.profile.work import works_of
from edgevision.progress import Progress, silent

PACKAGES = ("edgevision", "apache-tvm", "onnxruntime", "numpy")
STEP_RUNS = 30


def profile(
    contenders: Sequence[Contender],
    protocol: Protocol,
    *,
    metric: Metric = "top-1",
    scoring: Scoring | None = None,
    images_from: str | None = None,
    doubts: Sequence[str] = (),
    limit: int | None = None,
    affinity: tuple[int, ...] = (),
    command: str = "",
    progress: Progress = silent,
) -> Profile:
    """Measure all contenders against each other.

    Args:
        contenders: as `contenders` opens them; at least one is a bundle, and its device is described.
        metric: what the accuracy of the networks is measured by.
        scoring: images for accuracy and agreement, and how answers are judged; None leaves both unknown.
        images_from: where those images are, as `--data` takes it.
        doubts: reasons to distrust the figures that are known beforehand; kept with those found while measuring.
        limit: at most this many of them.
        affinity: cores this process was bound to.
        command: what to type to get this again.
    """
    first = next(c for c in contenders if c.bundle is not None)
    if first.bundle is None or not isinstance(first.engine, BundleEngine):
        raise UsageError("expected at least one bundle to profile, got none", fix="edgevision deploy --target host")
    found = _agreements(contenders, scoring, limit, progress) if scoring else {}
    device = first.engine.device
    before, busy = device.facts(), _OtherLoad()
    windows = measure([c.engine for c in contenders], protocol, progress=progress)
    other, after = busy.cores(), device.facts()
    medians = {name: [float(np.median(w)) / 1e6 for w in ws] for name, ws in windows.items()}
    summaries = {name: latency(ws) for name, ws in windows.items()}
    flags = noise.flags(medians, summaries, before, after, other if device.name == "host" else None)
    engines = tuple(
        _with_prediction(
            _engine(c, windows[c.engine.name], summaries[c.engine.name], found.get(c.engine.name)), c, flags
        )
        for c in contenders
    )
    origin = first.bundle.manifest.origin
    baseline = next((n for n in ("onnxruntime fp32", "edgevision fp32") if n in medians), next(iter(medians)))
    return Profile(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        device=device.name,
        target=first.bundle.manifest.target.name,
        model=origin.model,
        data=origin.data,
        threads=first.engine.threads,
        affinity=affinity,
        protocol=protocol,
        facts_before=before,
        facts_after=after,
        versions=_versions(),
        flags=(*doubts, *flags),
        engines=engines,
        comparisons=compare(medians, baseline, seed=protocol.seed),
        images_from=images_from if scoring else None,
        metric=metric,
    )


def steps(timing: RawTiming, described: Sequence[object]) -> tuple[StepProfile, ...]:
    """Median time and share of every step; `described` has label, family, macs and integer of each."""
    medians = {step.index: float(np.median(step.ns)) / 1e3 for step in timing.steps}
    total = sum(medians.values()) or 1.0
    return tuple(
        StepProfile(
            index=index,
            label=step.label,  # type: ignore[attr-defined]
            family=step.family,  # type: ignore[attr-defined]
            macs=step.macs,  # type: ignore[attr-defined]
            integer=step.integer,  # type: ignore[attr-defined]
            median_us=medians[index],
            share=medians[index] / total,
        )
        for index, step in enumerate(described)
        if index in medians
    )


def _steps(contender: Contender) -> tuple[StepProfile, ...]:
    if contender.bundle is None or not isinstance(contender.engine, BundleEngine):
        return ()
    return steps(contender.engine.steps(STEP_RUNS, 3), contender.bundle.manifest.steps)


def _agreements(
    contenders: Sequence[Contender], scoring: Scoring, limit: int | None, progress: Progress
) -> dict[str, Agreement]:
    engines = {c.engine.name: c.engine.predict for c in contenders}
    references = {c.engine.name: c.reference for c in contenders if c.reference in engines}
    return agreement(engines, references, scoring, limit=limit, progress=progress)  # type: ignore[arg-type]


def _engine(
    contender: Contender, windows: Sequence[Sequence[int]], summary: Latency, found: Agreement | None
) -> EngineProfile:
    opening = contender.engine.opening
    return EngineProfile(
        name=contender.engine.name,
        runtime=contender.runtime,
        artefact=contender.artefact,
        recipe=contender.recipe,
        size_bytes=contender.size_bytes,
        timing=opening.timing,
        latency=summary,
        init_ms=opening.init_ns / 1e6,
        first_ms=opening.first_ns / 1e6,
        window_ms=tuple(float(np.median(window)) / 1e6 for window in windows),
        bundle=contender.bundle.folder.name if contender.bundle else None,
        bundle_sha256=contender.bundle.identity if contender.bundle else None,
        onnx_sha256=contender.onnx_sha256,
        peak_rss_bytes=opening.peak_rss_bytes,
        arena_bytes=contender.bundle.manifest.arena_bytes if contender.bundle else None,
        accuracy=Interval(found.accuracy.percent, *found.accuracy.interval) if found else None,
        images=found.accuracy.total if found else 0,
        reference=contender.reference if found and found.max_abs_error is not None else None,
        max_abs_error=found.max_abs_error if found else None,
        differing_predictions=found.differing if found else None,
        steps=_steps(contender),
    )


def _with_prediction(engine: EngineProfile, contender: Contender, flags: Sequence[str]) -> EngineProfile:
    """The same with what the calibration of its target predicts, where there is one."""
    if contender.bundle is None or not isinstance(contender.engine, BundleEngine):
        return engine
    model = calibration.known(contender.bundle.manifest.target, contender.engine.threads)
    if model is None:
        return engine
    whole, rows = beside(model, works_of(contender.bundle), engine.steps, flags)
    return msgspec.structs.replace(engine, predicted_ms=whole, steps=rows)


def _versions() -> dict[str, str]:
    known = {}
    for package in PACKAGES:
        try:
            known[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            known[package] = "not installed"
    return known


class _OtherLoad:
    """Processor time other processes take between two moments, in cores."""

    def __init__(self) -> None:
        self._busy, self._total, self._own = self._now()

    def cores(self) -> float | None:
        """Mean number of cores others kept busy since this was made; None where the system does not say."""
        busy, total, own = self._now()
        if total <= self._total:
            return None
        count = psutil.cpu_count() or 1
        seconds = (total - self._total) / count
        return max(0.0, (busy - self._busy - (own - self._own)) / seconds)

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        # Linux counts guest time inside user time already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = os.times()
        return total - idle, total, own.user + own.system + own.children_user + own.children_system
