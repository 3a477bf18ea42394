"""`edgevision compress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from edgevision.cli import options
from edgevision.cli.console import Console

if TYPE_CHECKING:
    from edgevision.compress.compressed import MixedSearch


@click.command(name="compress")
@click.option("--model", required=True, help="A network of the zoo, or the path of an .onnx or .pt2 file.")
@click.option("--recipe", required=True, help="A recipe (edgevision list recipes); a+b applies both.")
@click.option(
    "--data",
    help="digits, folder:PATH or imagenet:PATH; for a detector shapes, voc:PATH or coco:PATH.  "
    "[default: what the weights were trained on]",
)
@click.option("--weights", type=click.Path(path_type=Path), help="A checkpoint.  [default: what train left in --out]")
@click.option("--random-weights", is_flag=True, help="No weights: to look at size and speed alone.")
@click.option("--image-size", type=click.IntRange(1), help="Height and width in pixels.")
@click.option("--keep-fp", multiple=True, metavar="LAYER", help="Leave a layer in float; may be given again.")
@click.option("--max-drop", type=click.FloatRange(0), help="Points of accuracy that may be lost; exit 6 when missed.")
@click.option("--max-minutes", type=click.FloatRange(0), help="Time for --max-drop and the sensitivity ranking.")
@click.option("--epochs", type=click.IntRange(1), help="Of each step that trains.  [default: the recipe's]")
@click.option(
    "--minimise", type=click.Choice(["bytes", "latency"]), help="What a mixed recipe makes least.  [default: bytes]"
)
@click.option("--no-sensitivity", is_flag=True, help="Do not rank the layers by what quantising them costs.")
@click.option("--full-sensitivity", is_flag=True, help="Rank blocks too, alone in float and alone quantised; slow.")
@click.option("--limit", type=click.IntRange(1), help="Test images to measure accuracy on.  [default: all]")
@options.command
def command(
    settings: options.Settings,
    model: str,
    recipe: str,
    data: str | None,
    weights: Path | None,
    random_weights: bool,
    image_size: int | None,
    keep_fp: tuple[str, ...],
    max_drop: float | None,
    max_minutes: float | None,
    epochs: int | None,
    minimise: Literal["bytes", "latency"] | None,
    no_sensitivity: bool,
    full_sensitivity: bool,
    limit: int | None,
) -> None:
    """Make a network small by a recipe; writes the ONNX graph, the ledger and the ranking of its layers."""
    from edgevision import api
    from edgevision.data.metric import field_of
    from edgevision.report import words

    console = settings.console
    with console.progress() as progress:
        made = api.compress(
            model, recipe, data=data, out=settings.out, weights=weights, random_weights=random_weights,
            image_size=image_size, keep_fp=keep_fp, max_drop=max_drop, max_minutes=max_minutes, epochs=epochs,
            minimise=minimise, sensitivity=not no_sensitivity, full_sensitivity=full_sensitivity, limit=limit,
            seed=settings.seed, resume=settings.resume, overwrite=settings.overwrite, command=settings.typed,
            progress=progress,
        )  # fmt: skip
    info = made.info
    rows = [
        (e.step, e.change, words.count(e.parameters), words.count(e.macs), words.size(e.weight_bytes),
         words.percent(e.accuracy_before), words.percent(e.accuracy_after))
        for e in info.ledger
    ]  # fmt: skip
    headings = ("step", "what changed", "parameters", "MACs", "weights", f"{info.metric} before, %", "after, %")
    console.table(made.folder.name, headings, rows, left=2)
    if info.mixed is not None:
        _show_points(console, info.mixed, info.metric)
    worst = [layer for layer in info.sensitivity if layer.keep_fp]
    for kind, ranked in (("Blocks", [block for block in info.blocks if block.keep_fp]), ("Layers", worst)):
        if ranked:
            console.say(f"{kind} that hurt most when quantised:")
        for row in ranked:
            points = f", {row.metric_gain:+.2f} points" if row.metric_gain is not None else ""
            alone = f"; {row.alone_sqnr_db:.1f} dB when quantised alone" if row.alone_sqnr_db is not None else ""
            console.say(f"  {row.layer}: {row.sqnr_gain_db:+.2f} dB{points} when left in float{alone}")
    if worst:
        console.say("To leave the layers in float add: " + " ".join(layer.keep_fp or "" for layer in worst))
    console.say(str(made.folder))
    console.result(
        {
            "schema": "edgevision.compressed-result/1",
            "folder": str(made.folder),
            "onnx_sha256": info.onnx_sha256,
            "metric": info.metric,
            f"{field_of(info.metric)}_percent": info.ledger[-1].accuracy_after if info.ledger else None,
            "images": info.evaluated_images,
            "weight_bytes": info.ledger[-1].weight_bytes if info.ledger else None,
            "keep_fp": list(info.keep_fp),
            "worst": [layer.layer for layer in worst],
            "target_met": info.mixed.met if info.mixed is not None else None,
        }
    )


def _show_points(console: Console, mixed: MixedSearch, metric: str) -> None:
    """The assignments of bits that were measured, the cheapest first."""
    from edgevision.report import words

    rows = [
        (point.name + (" (taken)" if point.name == mixed.best else ""), f"{point.cost:.4g}",
         words.size(point.weight_bytes), f"{point.noise_db:.1f}", words.percent(point.accuracy))
        for point in sorted(mixed.points, key=lambda point: point.cost)
    ]  # fmt: skip
    title = f"Bits layer by layer, for at least {mixed.target:.2f} % {metric}; cost: {mixed.basis}"
    console.table(title, ("point", "cost", "weights", "noise, dB", f"{metric}, %"), rows)
