"""`edgevision reproduce`."""

from __future__ import annotations

from pathlib import Path

import click

from edgevision.cli import options


@click.command(name="reproduce")
@click.argument("bundle", required=False)
@click.option("--again", is_flag=True, help="Compress again too, even where the compressed network still is in --out.")
@click.option("--model", type=click.Path(path_type=Path), help="Where the .onnx or .pt2 file of your network is now.")
@click.option("--weights", type=click.Path(path_type=Path), help="Where the weights are now.")
@options.command
def command(
    settings: options.Settings, bundle: str | None, again: bool, model: Path | None, weights: Path | None
) -> None:
    """Build BUNDLE again from its manifest and compare every byte, exit 8 where they differ; without it the newest."""
    from edgevision import api

    console = settings.console
    if bundle is None:
        bundle = str(settings.workspace.find_bundle(None))
        console.note(f"reproducing {bundle}")
    with console.progress() as progress:
        found = api.reproduce(
            bundle, again=again, model=model, weights=weights, out=settings.out, timeout=settings.timeout,
            progress=progress,
        )  # fmt: skip
    origin = f"from {found.network}" if found.network else "compressed again and built"
    console.say(f"{found.files} files and the manifest came out the same, {origin}")
    console.say(f"sha256 {found.identity}")
    console.result(
        {
            "schema": "edgevision.reproduced/1",
            "bundle": str(found.bundle),
            "network": str(found.network) if found.network else None,
            "files": found.files,
            "manifest_sha256": found.identity,
        }
    )
