"""`edgevision train`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click

from edgevision.cli import options
from edgevision.cli.console import duration


@click.command(name="train")
@click.option("--model", required=True, help="A network of the zoo (edgevision list models).")
@click.option(
    "--data",
    help="digits, folder:PATH or imagenet:PATH; for a detector shapes, voc:PATH or coco:PATH; for fields wave or "
    "wave:FILE.toml.  [default: digits, shapes or wave]",
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images.  [default: suits the data]")
@click.option(
    "--batch",
    type=click.IntRange(2),
    help="Images of one step.  [default: 32 for digits, 16 with boxes or fields, else 64; or all]",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, min_open=True),
    help="Highest learning rate.  [default: suits the model, and grows with the square root of the batch]",
)
@click.option("--turns", is_flag=True, help="Turn and mirror training images every way; for what has no up.")
@click.option("--with-validation", is_flag=True, help="Train on the validation images too, where boxes come with such.")
@click.option("--image-size", type=click.IntRange(1), help="Height and width in pixels.  [default: suits the data]")
@click.option(
    "--recipe", help="One that changes the network before training, such as tensor-r4; compress takes it too."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Start from these instead of random ones.")
@options.command
def command(
    settings: options.Settings,
    model: str,
    data: str | None,
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    turns: bool,
    with_validation: bool,
    image_size: int | None,
    recipe: str | None,
    weights: Path | None,
) -> None:
    """Train a network of the zoo; keeps the weights where compress finds them."""
    from edgevision import api
    from edgevision.data.metric import field_of

    # Of torchrun's processes one speaks.
    first = os.environ.get("RANK", "0") == "0"
    console = settings.console if first else replace(settings, quiet=True).console
    with console.progress() as progress:
        trained = api.train(
            model, data, out=settings.out, epochs=epochs, batch=batch, lr=lr,
            turns=turns, with_validation=with_validation, image_size=image_size, recipe=recipe,
            weights=weights, seed=settings.seed,
            threads=settings.given_threads, resume=settings.resume, overwrite=settings.overwrite, progress=progress,
        )  # fmt: skip
    if not first:
        return
    accuracy = trained.accuracy
    words = f"{accuracy.percent:.1f} % {trained.metric} on {accuracy.total} test images, " if accuracy else ""
    console.say(f"{trained.model} on {trained.data}: {words}{trained.epochs} epochs in {duration(trained.seconds)}")
    console.say(str(trained.path))
    console.result(
        {
            "schema": "edgevision.trained/1",
            "path": str(trained.path),
            "model": trained.model,
            "data": trained.data,
            "metric": trained.metric,
            f"{field_of(trained.metric)}_percent": accuracy.percent if accuracy else None,
            "images": accuracy.total if accuracy else 0,
            "epochs": trained.epochs,
            "seconds": trained.seconds,
        }
    )
