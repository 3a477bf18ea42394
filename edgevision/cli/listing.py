"""`edgevision list models|recipes|targets|devices`."""

from __future__ import annotations

from collections.abc import Callable

import click

from edgevision.cli import options

Row = dict[str, str]


@click.command(name="list")
@click.argument("kind", type=click.Choice(["models", "recipes", "targets", "devices"]))
@options.command
def command(settings: options.Settings, kind: str) -> None:
    """List what KIND there is to choose from."""
    rows = LISTS[kind]()
    console = settings.console
    headings = list(rows[0])
    console.table("", headings, [list(row.values()) for row in rows], left=len(headings))
    console.result({"schema": "edgevision.list/1", "kind": kind, "items": rows})


def models() -> list[Row]:
    """Networks of the zoo, and how a file of one's own enters."""
    from edgevision import zoo

    rows = [{"name": n, "what": f"short for {full}" if (full := zoo.full_name(n)) != n else ""} for n in zoo.names()]
    return [*rows, {"name": "PATH.onnx, PATH.pt2", "what": "a network of your own"}]


def recipes() -> list[Row]:
    """Recipes shipped with the package."""
    from edgevision import recipe

    return [{"name": name, "what": recipe.load(name).title} for name in recipe.names()]


def targets() -> list[Row]:
    """Boards and machines."""
    from edgevision import target

    loaded = [target.load(name) for name in target.names()]
    return [
        {"name": t.name, "what": t.title, "architecture": t.arch, "core": t.cpu.llvm, "cores": str(t.cpu.cores)}
        for t in loaded
    ]


def devices() -> list[Row]:
    """Ways to run a bundle."""
    from edgevision import device

    return [{"name": name, "what": description} for name, description in device.describe().items()]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "models": models, "recipes": recipes, "targets": targets, "devices": devices,
}  # fmt: skip
