"""`edgevision profile`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from edgevision.cli import options
from edgevision.cli.console import Console
from edgevision.errors import UsageError

if TYPE_CHECKING:
    from edgevision.data.metric import Metric
    from edgevision.profile.profile import EngineProfile, Profile
    from edgevision.report.tradeoff import Group

#: Steps shown next to what was predicted for them; the profile and the report have them all.
WORST_STEPS = 6


@click.command(name="profile")
@click.argument("bundles", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All bundles of the newest one's model and target.")
@click.option(
    "--against",
    multiple=True,
    metavar="RUNTIME",
    help="Compare with runtimes on the same networks: onnxruntime, openvino, ncnn; one, or several with commas.",
)
@click.option("--device", help="Where to run (edgevision list devices).  [default: the target's own]")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
              help="Measured time per engine.")  # fmt: skip
@click.option(
    "--data",
    metavar="SPEC",
    help="Where the test images are now: folder:PATH, imagenet:PATH, voc:PATH, coco:PATH.  [default: where they were]",
)
@click.option("--no-accuracy", is_flag=True, help="Latency alone: no test images are read.")
@click.option("--limit", type=click.IntRange(1), help="Test images for accuracy.  [default: all]")
@click.option("--affinity", metavar="CORES", help="Bind to these cores of this machine, as in 0,2-3.")
@click.option("--calibrate", is_flag=True, help="Time made-up networks instead, a few minutes; for predictions.")
@click.option("--target", help="What --calibrate compiles for (edgevision list targets).  [default: host]")
@options.command
def command(
    settings: options.Settings,
    bundles: tuple[str, ...],
    every: bool,
    against: tuple[str, ...],
    device: str | None,
    seconds: float,
    data: str | None,
    no_accuracy: bool,
    limit: int | None,
    affinity: str | None,
    calibrate: bool,
    target: str | None,
) -> None:
    """Time BUNDLES, in turns with each other and with other runtimes; the newest bundle without any."""
    from edgevision import api
    from edgevision.api.choosing import newest
    from edgevision.api.measuring import Unsaved

    console, bound, skipped = settings.console, cores(affinity), list[str]()
    if calibrate:
        asked = {"BUNDLES": bundles, "--all": every, "--against": against, "--data": data, "--affinity": affinity,
                 "--no-accuracy": no_accuracy, "--limit": limit}  # fmt: skip
        calibrated(settings, device, target, [name for name, value in asked.items() if value])
        return
    if target is not None:
        raise UsageError("--target says what --calibrate compiles for", fix="add --calibrate, or leave --target out")
    if api.measuring.runs_simulated(bundles, device, settings.out):
        _simulated(settings, bundles, every=every, against=against, data=data, accuracy=not no_accuracy, limit=limit)
        return
    if not bundles:
        meant = newest(settings.workspace, device, skipped, timeout=settings.timeout)
        console.note(f"profiling {'all bundles like ' if every else ''}{meant}")
        bundles = (str(meant),)
    try:
        with console.progress() as progress:
            done = api.profile(
                bundles, every=every, against=runtimes(against), device=device, data=data, accuracy=not no_accuracy,
                threads=settings.threads, seconds=seconds, limit=limit, affinity=bound, out=settings.out,
                seed=settings.seed, timeout=settings.timeout, command=settings.typed, progress=progress,
            )  # fmt: skip
    except Unsaved as error:
        tell(console, error.profile)
        raise
    tell(console, done.profile)
    skipped += [line for line in done.skipped if line not in skipped]
    for line in skipped:
        console.note(f"skipped {line}")
    console.say(str(done.path))
    console.result(msgspec.to_builtins(done.profile) | {"path": str(done.path), "skipped": skipped})


def _simulated(
    settings: options.Settings, bundles: Sequence[str], *, every: bool, against: Sequence[str], data: str | None,
    accuracy: bool, limit: int | None,
) -> None:  # fmt: skip
    """Modelled cycles of each call, and the simulation beside the reference; no latency."""
    from edgevision import api
    from edgevision.cli import engine
    from edgevision.report import words

    if every or against or len(bundles) > 1:
        raise UsageError(
            "the simulated engine has no time to compare", where="--device csim",
            fix="name one bundle and leave --all and --against out",
        )  # fmt: skip
    console = settings.console
    bundle = bundles[0] if bundles else str(settings.workspace.find_bundle(None))
    with console.progress() as progress:
        done = api.measuring.profile_modelled(
            bundle, data=data, accuracy=accuracy, limit=limit, out=settings.out, timeout=settings.timeout,
            command=settings.typed, progress=progress,
        )  # fmt: skip
    found = done.modelled
    rows = [
        (" + ".join(call.layers), *(str(n) for n in (call.pointwise, call.spatial, call.read, call.write, call.added)),
         call.bound)
        for call in found.calls
    ]  # fmt: skip
    console.table(
        f"{found.model} on the engine of {found.target}, cycles, modelled",
        ("layers", "1x1", "spatial", "read", "write", "longer by", "bound"), rows,
    )  # fmt: skip
    engine.tell_figures(console, found.figures, found.target, len(found.calls))
    if found.simulated:
        seen = found.simulated
        console.say(
            f"{seen.metric} of {seen.images} images of {seen.data}: {words.percent(seen.simulated)} % in the C "
            f"simulation, {words.percent(seen.reference)} % in the integer reference; largest difference of their maps "
            f"{seen.max_abs_error:.1e}"
        )
    for doubt in found.doubts:
        console.note(doubt)
    console.say(str(done.path))
    console.result(msgspec.to_builtins(found) | {"figures": engine.figures_dict(found.figures), "path": str(done.path)})


def calibrated(settings: options.Settings, device: str | None, target: str | None, unused: Sequence[str]) -> None:
    """Calibrate a device and say what came out; `unused` are flags that only a measurement takes."""
    from edgevision import api
    from edgevision.report import words

    if unused:
        raise UsageError(
            f"--calibrate takes no {', '.join(unused)}", fix="leave it out, or leave out --calibrate to time bundles"
        )
    console = settings.console
    with console.progress() as progress:
        made = api.calibrate(
            target or "host", device=device, threads=settings.threads, timeout=settings.timeout,
            overwrite=settings.overwrite, progress=progress,
        )  # fmt: skip
    found, line = made.calibration, made.calibration.roofline()
    console.say(
        f"{len(found.steps)} kinds of steps timed on {found.device}, {found.threads} "
        f"thread{'s' if found.threads > 1 else ''}; the best of them: "
        f"{words.digits(line.float_macs_per_s / 1e9)} GMAC/s in float, "
        f"{words.digits(line.integer_macs_per_s / 1e9)} in integers, "
        + ", ".join(f"{words.digits(level.bytes_per_s / 1e9)} GB/s in {level.name}" for level in line.levels)
        + f", {words.digits(line.call_us)} µs a call"
    )
    console.say(str(made.path))
    console.result(
        {
            "schema": "edgevision.calibrated/1",
            "path": str(made.path),
            "device": found.device,
            "target": found.target.name,
            "threads": found.threads,
            "networks": [network.name for network in found.networks],
            "steps": len(found.steps),
            "call_us": line.call_us,
            "float_macs_per_s": line.float_macs_per_s,
            "integer_macs_per_s": line.integer_macs_per_s,
            "bytes_per_s": {level.name: level.bytes_per_s for level in line.levels},
        }
    )


def tell(console: Console, profile: Profile) -> None:
    """A profile for people: its table, how far engines agree, and every reason to distrust it."""
    from edgevision.report import tradeoff

    group = tradeoff.group(profile)
    show(console, group, profile.model, profile.data, profile.metric)
    otherwise = {"top-1": "predictions differ", "AP50": "images seen otherwise", "fit": "windows differ by over 5 %"}[
        profile.metric
    ]
    for point in group.points:
        if point.max_abs_error is not None:
            console.say(
                f"{point.engine}: largest difference to {point.reference} {point.max_abs_error:.1e}, "
                f"{point.differing_predictions} of {point.images} {otherwise}"
            )
    for engine in profile.engines:
        if engine.predicted_ms is not None:
            _tell_predicted(console, engine)
    for flag in group.flags:
        console.note(flag)


def _tell_predicted(console: Console, engine: EngineProfile) -> None:
    """What the model said of an engine, and the steps that account for most of its error."""
    from edgevision.report import words

    median, predicted = engine.latency.median.value, engine.predicted_ms or 0.0
    console.say(
        f"{engine.name}: predicted {words.milliseconds(predicted)} ms (modelled), measured "
        f"{words.milliseconds(median)} ms: {predicted / median - 1:+.1%}"
    )
    worst = sorted(engine.steps, key=lambda step: -abs((step.predicted_us or 0.0) - step.median_us))[:WORST_STEPS]
    console.table(
        "steps furthest from what was predicted, µs",
        ("layers", "family", "modelled", "measured", "error", "likely cause"),
        [
            (step.label[:28], step.family, words.digits(step.predicted_us or 0.0), words.digits(step.median_us),
             f"{step.error or 0.0:+.0%}", step.cause)
            for step in worst
        ],
        left=2,
    )  # fmt: skip


def show(console: Console, group: Group, model: str, data: str, metric: Metric) -> None:
    """The points of a group as a table that fits 80 columns; the files have the other columns."""
    from edgevision.report import words

    rows = []
    for point in group.points:
        median, accuracy = point.latency.median, point.accuracy.value if point.accuracy else None
        ratio = words.digits(point.ratio.value) if point.ratio else "1"
        rows.append(
            (point.engine, words.percent(accuracy), words.size(point.size_bytes), words.milliseconds(median.value),
             words.between(median), words.milliseconds(point.latency.p90), ratio)
        )  # fmt: skip
    threads = f"{group.threads} thread{'s' if group.threads > 1 else ''}"
    console.table(
        f"{model} on {data}, {group.device}, {threads}; measured, ms; base {group.baseline}",
        ("engine", f"{metric} %", "size", "median", "95 %", "p90", "× base"),
        rows,
    )


def runtimes(given: Sequence[str]) -> list[str]:
    """Names of runtimes, given one by one or several with commas.

    >>> runtimes(("openvino,ncnn", "onnxruntime"))
    ['openvino', 'ncnn', 'onnxruntime']
    """
    return [name.strip() for one in given for name in one.split(",")]


def cores(text: str | None) -> tuple[int, ...]:
    """Core numbers from "0,2-3", in order, each once.

    >>> cores("2-3,0,3"), cores(None)
    ((0, 2, 3), ())
    """
    found: set[int] = set()
    for part in text.split(",") if text is not None else ():
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if first > last:
            raise UsageError(
                f"expected core numbers and rising ranges such as 0,2-3, got '{text}'",
                where=f"--affinity, at '{part}'",
                fix=f"--affinity {last}-{first}" if match else "--affinity 0, or --affinity 0,2-3",
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))
