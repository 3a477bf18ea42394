"""The trade-off: what each network on each engine costs in latency and bytes, and what it keeps in accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import msgspec

from edgevision.compress.compressed import Compressed, LayerSensitivity, LedgerEntry, MixedSearch
from edgevision.data.metric import Metric
from edgevision.errors import UsageError
from edgevision.profile.profile import EngineProfile, Profile, StepProfile
from edgevision.profile.statistics import Interval, Latency
from edgevision.report import verdict

SCHEMA = "edgevision.tradeoff/1"

#: The row every ratio is taken against, the first of these that was measured.
BASELINES = ("onnxruntime fp32", "edgevision fp32")


class Point(msgspec.Struct, frozen=True):
    """One engine on one network, as measured.

    Attributes:
        ratio: latency over the baseline's, paired over rounds; None for the baseline itself.
        dominated: another point of the group is at least as accurate and as fast, and better in one.
    """

    engine: str
    runtime: str
    artefact: str
    recipe: str
    accuracy: Interval | None
    images: int
    size_bytes: int
    latency: Latency
    ratio: Interval | None
    init_ms: float
    first_ms: float
    peak_rss_bytes: int | None
    arena_bytes: int | None
    reference: str | None
    max_abs_error: float | None
    differing_predictions: int | None
    timing: str
    dominated: bool


class Group(msgspec.Struct, frozen=True):
    """Points that were measured in turns in one session: only these may be compared with each other."""

    device: str
    target: str
    threads: int
    created: str
    baseline: str
    points: tuple[Point, ...]
    flags: tuple[str, ...]
    protocol: dict[str, Any]
    affinity: tuple[int, ...]
    facts_before: dict[str, Any]
    facts_after: dict[str, Any]
    versions: dict[str, str]
    command: str


class LayerTable(msgspec.Struct, frozen=True):
    """Where the time goes in one bundle; `measured_ms` is its median, `predicted_ms` what a model says of it."""

    engine: str
    device: str
    threads: int
    steps: tuple[StepProfile, ...]
    measured_ms: float
    predicted_ms: float | None = None


class Network(msgspec.Struct, frozen=True):
    """One compressed network: what was done to it and which layers hurt."""

    artefact: str
    recipe: str
    title: str
    parameters: int
    macs: int
    weight_bytes: int
    accuracy: float | None
    evaluated_images: int
    ledger: tuple[LedgerEntry, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    keep_fp: tuple[str, ...]
    origin: str
    export_max_abs_error: float | None
    versions: dict[str, str]
    command: str
    blocks: tuple[LayerSensitivity, ...] = ()
    mixed: MixedSearch | None = None


class Built(msgspec.Struct, frozen=True):
    """A bundle that exists, whether or not it was ever timed."""

    name: str
    artefact: str
    target: str
    title: str
    arch: str
    size_bytes: int
    arena_bytes: int
    integer_macs_share: float | None
    measured: bool
    command: str


class Box(msgspec.Struct, frozen=True):
    """An object in a picture, in pixels of it; `score` is None for one that is known to be there."""

    left: float
    top: float
    width: float
    height: float
    name: str
    score: float | None = None


class Seen(msgspec.Struct, frozen=True):
    """What one network sees in a picture."""

    title: str
    boxes: tuple[Box, ...]


class Picture(msgspec.Struct, frozen=True):
    """A test image as the network gets it: a data URL, its objects, and what networks see in it."""

    image: str
    width: int
    height: int
    truths: tuple[Box, ...]
    seen: tuple[Seen, ...]


class RolledOut(msgspec.Struct, frozen=True):
    """What became of waves a network predicted from its own predictions.

    Attributes:
        animation, still: truth, prediction and error of one trajectory, data URLs.
        side: of a field, in pixels.
        errors: relative L2 error of each predicted field, mean over trajectories.
        energy_drift: energy over the true one less 1, at each predicted field.
    """

    title: str
    animation: str
    still: str
    side: int
    errors: tuple[float, ...]
    energy_drift: tuple[float, ...]


class SolverSpeed(msgspec.Struct, frozen=True):
    """A network on this machine next to the solver on the coarsest mesh that is no less accurate.

    Attributes:
        milliseconds: of one prediction, as profiled.
        error: relative L2 of its predictions on the test split, 0 to 1.
        solver_cells, solver_milliseconds, solver_error: of the mesh along an axis; of the same fields computed on it.
    """

    engine: str
    milliseconds: float
    error: float
    solver_cells: int
    solver_milliseconds: float
    solver_error: float

    @property
    def times(self) -> float:
        """How many times faster than the solver."""
        return self.solver_milliseconds / self.milliseconds


class Waves(msgspec.Struct, frozen=True):
    """Networks that predict waves, next to the solver.

    Attributes:
        interval: seconds from one field to the next.
        later: fields of one prediction.
        given: fields the first prediction is made from.
        trajectories: errors are taken over.
        speeds: of networks profiled on this machine, and of the solver, which was timed for the report.
    """

    interval: float
    later: int
    given: int
    trajectories: int
    networks: tuple[RolledOut, ...]
    speeds: tuple[SolverSpeed, ...] = ()


class TradeOff(msgspec.Struct, frozen=True):
    """Everything a report shows."""

    schema: str
    created: str
    model: str
    data: str
    verdict: str
    detail: str
    remarks: tuple[str, ...]
    groups: tuple[Group, ...]
    layers: tuple[LayerTable, ...]
    networks: tuple[Network, ...]
    built: tuple[Built, ...]
    command: str
    metric: Metric = "top-1"
    pictures: tuple[Picture, ...] = ()
    waves: Waves | None = None


def trade_off(
    profiles: Sequence[Profile],
    networks: Sequence[Compressed],
    built: Sequence[Built] = (),
    *,
    command: str = "edgevision report",
    about: tuple[str, str] | None = None,
    remarks: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
    waves: Waves | None = None,
    now: datetime | None = None,
) -> TradeOff:
    """Put profiles, compressed networks and bundles of one model together.

    Args:
        about: model and data, where they are known although nothing of them may be left to show.
        remarks: what was left out on the way here, put before the remarks the figures give.
        pictures: of a detector's test images.
        waves: as networks predict them.

    Raises:
        UsageError: there is neither a profile nor a compressed network, or they are of different models.
    """
    subjects = (
        ({about} if about else set())
        | {(p.model, p.data) for p in profiles}
        | {(n.info.model, n.info.data) for n in networks}
    )
    if not subjects:
        raise UsageError(
            "there is nothing to report: no profile and no compressed network",
            fix="edgevision compress --model cas_vit --recipe w8a8, then edgevision deploy --target host --run",
        )
    if len(subjects) > 1:
        raise UsageError(
            "one report is about one model on one data set",
            reasons=[f"found {model} on {data}" for model, data in sorted(subjects)],
            fix="name the model with --model and --data, or use another --out",
        )
    model, data = subjects.pop()
    groups = tuple(group(profile) for profile in profiles)
    described = tuple(_network(network) for network in networks)
    layers = tuple(
        LayerTable(
            engine.name,
            profile.device,
            profile.threads,
            engine.steps,
            engine.latency.median.value,
            engine.predicted_ms,
        )
        for profile in profiles
        for engine in profile.engines
        if engine.steps
    )
    metrics = {n.info.metric for n in networks} | {p.metric for p in profiles}
    # All are of one model; what was written before metrics had names says top-1.
    metric: Metric = next((other for other in sorted(metrics) if other != "top-1"), "top-1")
    sentence, detail, found = verdict.spoken(groups, described, layers, tuple(built), metric)
    created = (now or datetime.now(timezone.utc)).isoformat(timespec="seconds")
    return TradeOff(
        SCHEMA,
        created,
        model,
        data,
        sentence,
        detail,
        (*remarks, *found),
        groups,
        layers,
        described,
        tuple(built),
        command,
        metric,
        tuple(pictures),
        waves,
    )


def baseline_of(names: Sequence[str]) -> str:
    """The engine ratios are taken against.

    >>> baseline_of(["edgevision w8a8", "edgevision fp32"])
    'edgevision fp32'
    """
    return next((name for name in BASELINES if name in names), names[0])


def dominated(latency_ms: float, accuracy: float | None, others: Sequence[tuple[float, float | None]]) -> bool:
    """Whether one of `others` is at least as fast and as accurate, and better in one of the two.

    >>> dominated(2.0, 90.0, [(1.0, 90.0)]), dominated(2.0, 91.0, [(1.0, 90.0)])
    (True, False)
    """
    own = -1.0 if accuracy is None else accuracy
    for other_ms, other_accuracy in others:
        theirs = -1.0 if other_accuracy is None else other_accuracy
        if other_ms <= latency_ms and theirs >= own and (other_ms < latency_ms or theirs > own):
            return True
    return False


def group(profile: Profile) -> Group:
    """The points of one profile, each with its ratio to the baseline."""
    baseline = baseline_of([engine.name for engine in profile.engines])
    ratios = {c.engine: c.ratio for c in profile.comparisons if c.baseline == baseline}
    places = [(e.latency.median.value, e.accuracy.value if e.accuracy else None) for e in profile.engines]
    points = []
    for index, engine in enumerate(profile.engines):
        others = places[:index] + places[index + 1 :]
        points.append(_point(engine, ratios.get(engine.name), dominated(*places[index], others)))
    return Group(
        device=profile.device,
        target=profile.target,
        threads=profile.threads,
        created=profile.created,
        baseline=baseline,
        points=tuple(points),
        flags=profile.flags,
        protocol=msgspec.to_builtins(profile.protocol),
        affinity=profile.affinity,
        facts_before=profile.facts_before,
        facts_after=profile.facts_after,
        versions=profile.versions,
        command=profile.command,
    )


def _point(engine: EngineProfile, ratio: Interval | None, is_dominated: bool) -> Point:
    shared = {f: getattr(engine, f) for f in Point.__struct_fields__ if hasattr(engine, f)}
    return Point(engine=engine.name, ratio=ratio, dominated=is_dominated, **shared)


def _network(network: Compressed) -> Network:
    info = network.info
    last = info.ledger[-1] if info.ledger else None
    return Network(
        artefact=network.folder.name,
        recipe=info.recipe.name,
        title=info.recipe.title,
        parameters=last.parameters if last else 0,
        macs=last.macs if last else 0,
        weight_bytes=last.weight_bytes if last else 0,
        accuracy=last.accuracy_after if last else None,
        evaluated_images=info.evaluated_images,
        ledger=info.ledger,
        sensitivity=info.sensitivity,
        keep_fp=info.keep_fp,
        origin=info.provenance.origin,
        export_max_abs_error=info.export_max_abs_error,
        versions=info.versions,
        command=info.command,
        blocks=info.blocks,
        mixed=info.mixed,
    )
