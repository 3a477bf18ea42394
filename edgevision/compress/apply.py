"""A recipe applied to a network, step by step, each step's cost and gain written in the ledger."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edgevision.compress.admission import admit
from edgevision.compress.compressed import SCHEMA, Compressed, CompressedInfo, MixedSearch
from edgevision.compress.costs import StepTimes
from edgevision.compress.exported_graph import ExportedGraph
from edgevision.compress.identity import key_of, versions
from edgevision.compress.job import Job
from edgevision.compress.layers import quantised_operators
from edgevision.compress.search import Outcome
from edgevision.compress.sensitivity import Ranking
from edgevision.compress.work import Work
from edgevision.data.metric import AnySet
from edgevision.errors import AccuracyMissed
from edgevision.files import folder_aside, sha256_of, write_atomic
from edgevision.progress import Progress, silent
from edgevision.recipe import MixedPrecision, Recipe
from edgevision.zoo.model import Model


def compress(
    model: Model,
    recipe: Recipe,
    *,
    export: Callable[[Model], ExportedGraph],
    out: Path,
    data: AnySet | None = None,
    keep_fp: Sequence[str] = (),
    max_drop: float | None = None,
    sensitivity: bool = True,
    full_sensitivity: bool = False,
    max_minutes: float | None = None,
    times: StepTimes | None = None,
    evaluate_limit: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> Compressed:
    """Apply `recipe` to `model` and write the result to the folder `out`.

    Args:
        model: the network.
        recipe: the steps.
        export: `edgevision.graph.export.export`; given, because rooms do not import the rooms after them.
        out: folder to write; it appears whole or not at all.
        data: calibrates, and measures accuracy on its test split; opened with the network's preprocessing.
        keep_fp: nodes to leave in float.
        max_drop: accuracy points that may be lost; factors are as small as that allows where the recipe leaves it open,
            and layers go back into float, the most sensitive first, until it holds.
        sensitivity: rank the layers by what quantising them costs.
        full_sensitivity: rank blocks too, each also quantised alone, and measure the accuracy of all.
        max_minutes: time for ranking, for choosing bits and for holding the accuracy, together.
        times: of layers, measured on bundles of this network; latency is modelled without them.
        evaluate_limit: test images to measure accuracy on; all when None.
        seed: of the steps that train; recorded. Nothing else here draws random numbers that are not fixed.
        overwrite: replace `out`.
        resume: take up an interrupted run with the same inputs where it stopped.
        command: recorded.
        progress: told how far each stage is.

    Raises:
        UsageError: what was asked cannot be done; raised before any work, all reasons at once. Names in `keep_fp` are
            checked as soon as there is a graph, before an image is read.
        AccuracyMissed: `max_drop` could not be held; the best point is in `out`.
        Unsupported, Mismatch: the network cannot be exported or quantised.
    """
    admit(
        model,
        recipe,
        data=data,
        out=out,
        keep_fp=keep_fp,
        max_drop=max_drop,
        max_minutes=max_minutes,
        evaluate_limit=evaluate_limit,
        overwrite=overwrite,
    )
    key = key_of(model, recipe, data, keep_fp, evaluate_limit, seed)
    work = Work.open(out, key, resume=resume, progress=progress)
    job = Job(model, recipe, export, data, tuple(keep_fp), evaluate_limit, progress, work, work.rows(), seed, max_drop)
    job.apply_steps()
    if max_drop is not None or any(isinstance(step, MixedPrecision) for step in recipe.steps):
        job.refuse_constant_metric()
    deadline = time.monotonic() + 60 * max_minutes if max_minutes is not None else math.inf
    step = next((step for step in recipe.steps if isinstance(step, MixedPrecision)), None)
    # Bits are chosen by noise of their own; only layers that go back to float need the ranking.
    asked = sensitivity or full_sensitivity or (max_drop is not None and step is None)
    ranking = job.rank(deadline, full=full_sensitivity) if asked else Ranking()
    operators = len(quantised_operators(job.graph.graph))
    outcome, mixed, bound = None, None, max_drop
    if step is not None:
        bound = step.max_drop if max_drop is None else max_drop
        mixed = job.mix(step, bound, deadline, times)
    elif max_drop is not None and operators:
        outcome = job.hold(max_drop, ranking.layers, deadline)
    result = _write(job, ranking, mixed, out, seed=seed, overwrite=overwrite, command=command)
    Work.remove_all(out)
    if mixed is not None and not mixed.met:
        raise _unmixed(job, mixed, out, bound or 0.0)
    if outcome is not None and not outcome.met:
        raise _missed(job, outcome, len(ranking.layers), operators, out, max_drop or 0.0)
    return result


def _write(
    job: Job, ranking: Ranking, mixed: MixedSearch | None, out: Path, *, seed: int, overwrite: bool, command: str
) -> Compressed:
    """Write `model.onnx` and `compressed.json` aside and rename the folder into place."""
    model, data = job.model, job.data
    with folder_aside(out, overwrite=overwrite) as folder:
        write_atomic(folder / "model.onnx", job.graph.SerializeToString(deterministic=True))
        info = CompressedInfo(
            schema=SCHEMA,
            name=f"{model.name}-{job.recipe.name}",
            model=model.name,
            recipe=job.recipe,
            input=msgspec.structs.replace(model.input, name=job.graph.graph.input[0].name),
            preprocessing=model.preprocessing,
            provenance=model.provenance,
            classes=model.classes or (data.classes if data else ()),
            ledger=tuple(job.ledger),
            sensitivity=ranking.layers,
            keep_fp=job.keep_fp,
            data=data.spec if data else "",
            data_sha256=data.sha256 if data else None,
            evaluated_images=job.evaluated_images,
            seed=seed,
            versions=versions(),
            onnx_sha256=sha256_of(folder / "model.onnx"),
            command=command,
            export_max_abs_error=job.max_abs_error,
            metric=job.metric,
            blocks=ranking.blocks,
            mixed=mixed,
        )
        write_atomic(folder / "compressed.json", msgspec.json.format(msgspec.json.encode(info), indent=2))
    return Compressed(out, info)


def _missed(job: Job, outcome: Outcome, ranked: int, operators: int, out: Path, max_drop: float) -> AccuracyMissed:
    """The error for a bound that was not met; `ranked` of the quantised `operators` could be tried."""
    full = job.float_accuracy or 0.0
    lost = full - outcome.best.accuracy
    timely = outcome.finished and ranked == operators
    if ranked < operators:
        why = f"the time was up with {ranked} of {operators} operators ranked; only those were tried in float"
    else:
        why = "every operator was tried in float" if outcome.finished else "the time was up"
    return AccuracyMissed(
        f"expected to lose at most {max_drop:g} points of {full:.2f} % {job.metric}, the best point loses {lost:.2f}: "
        f"missed by {lost - max_drop:.2f}",
        where=str(out),
        fix=f"the best point, with {len(outcome.best.layers)} operators in float, is written; raise --max-drop"
        + ("" if timely else " or --max-minutes"),
        reasons=[f"{len(outcome.tried)} points tried; {why}"],
    )


def _unmixed(job: Job, mixed: MixedSearch, out: Path, max_drop: float) -> AccuracyMissed:
    """The error for a bound that no assignment of bits met."""
    best = next(point for point in mixed.points if point.name == mixed.best)
    lost = (job.float_accuracy or 0.0) - best.accuracy
    return AccuracyMissed(
        f"expected to lose at most {max_drop:g} points of {job.float_accuracy or 0.0:.2f} % {job.metric}, the best "
        f"assignment of bits loses {lost:.2f}: missed by {lost - max_drop:.2f}",
        where=str(out),
        fix=f"the best point, '{best.name}', is written; raise --max-drop"
        + ("" if mixed.finished else " or --max-minutes")
        + ", or use a recipe that trains",
        reasons=[f"{point.name}: {point.accuracy:.2f} %, {point.weight_bytes} bytes" for point in mixed.points],
    )
