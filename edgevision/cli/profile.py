"""`edgevision profile`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from edgevision.cli import options
from edgevision.cli.console import Console

if TYPE_CHECKING:
    from edgevision.report.tradeoff import Group


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
@click.option("--limit", type=click.IntRange(1), help="Test images for accuracy.  [default: all]")
@click.option("--affinity", metavar="CORES", help="Bind to these cores, as in 0,1.")
@options.command
def command(
    settings: options.Settings,
    bundles: tuple[str, ...],
    every: bool,
    against: tuple[str, ...],
    device: str | None,
    seconds: float,
    limit: int | None,
    affinity: str | None,
) -> None:
    """Time BUNDLES, in turns with each other and with other runtimes; the newest bundle without any."""
    from edgevision import api
    from edgevision.api.measuring import newest
    from edgevision.report import tradeoff

    console = settings.console
    if not bundles:
        meant = newest(settings.workspace, device)
        console.note(f"profiling {'all bundles like ' if every else ''}{meant}")
        bundles = (str(meant),)
    with console.progress() as progress:
        done = api.profile(
            bundles, every=every, against=runtimes(against), device=device, threads=settings.threads, seconds=seconds,
            limit=limit,
            affinity=cores(affinity), out=settings.out, seed=settings.seed, timeout=settings.timeout,
            command=settings.typed, progress=progress,
        )  # fmt: skip
    group = tradeoff.group(done.profile)
    show(console, group, done.profile.model, done.profile.data)
    for point in group.points:
        if point.max_abs_error is not None:
            console.say(
                f"{point.engine}: largest difference to {point.reference} {point.max_abs_error:.1e}, "
                f"{point.differing_predictions} of {point.images} predictions differ"
            )
    for flag in group.flags:
        console.note(flag)
    console.say(str(done.path))
    console.result(msgspec.to_builtins(done.profile) | {"path": str(done.path)})


def show(console: Console, group: Group, model: str, data: str) -> None:
    """The points of a group as a table that fits 80 columns; the files have the other columns."""
    from edgevision.report import words

    rows = []
    for point in group.points:
        median, top1 = point.latency.median, point.accuracy.value if point.accuracy else None
        ratio = words.digits(point.ratio.value) if point.ratio else "1"
        rows.append(
            (point.engine, words.percent(top1), words.size(point.size_bytes), words.milliseconds(median.value),
             words.between(median), words.milliseconds(point.latency.p90), ratio)
        )  # fmt: skip
    threads = f"{group.threads} thread{'s' if group.threads > 1 else ''}"
    console.table(
        f"{model} on {data}, {group.device}, {threads}; measured, ms; base {group.baseline}",
        ("engine", "top-1 %", "size", "median", "95 %", "p90", "× base"),
        rows,
    )


def runtimes(given: Sequence[str]) -> list[str]:
    """Names of runtimes, given one by one or several with commas.

    >>> runtimes(("openvino,ncnn", "onnxruntime"))
    ['openvino', 'ncnn', 'onnxruntime']
    """
    return [name.strip() for one in given for name in one.split(",")]


def cores(text: str | None) -> tuple[int, ...]:
    """Core numbers from "0,2-3".

    >>> cores("0,2-3"), cores(None)
    ((0, 2, 3), ())
    """
    found: list[int] = []
    for part in text.split(",") if text else ():
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if not match:
            raise click.BadParameter(f"expected core numbers such as 0,2-3, got '{text}'", param_hint="--affinity")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(found)
