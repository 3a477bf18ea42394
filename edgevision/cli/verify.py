"""`edgevision verify`."""

from __future__ import annotations

import click

from edgevision.cli import options


@click.command(name="verify")
@click.argument("bundle", required=False)
@click.option("--device", help="Where to run (edgevision list devices).  [default: the target's own]")
@options.command
def command(settings: options.Settings, bundle: str | None, device: str | None) -> None:
    """Hash every file of BUNDLE again and re-run its golden vectors; the newest bundle without it."""
    from edgevision import api

    console = settings.console
    if bundle is None:
        bundle = str(settings.workspace.find_bundle(None))
        console.note(f"verifying {bundle}")
    found = api.verify(bundle, device=device, out=settings.out, timeout=settings.timeout)
    console.say(
        f"{found.files} files are what the manifest says; {found.vectors} golden vectors agree on {found.device} "
        f"(max abs error {found.max_abs_error:.1e})"
        + (f", and {found.layers} layers one by one" if found.layers else "")
    )
    console.result(
        {
            "schema": "edgevision.verified/1",
            "bundle": bundle,
            "device": found.device,
            "files": found.files,
            "golden_vectors": found.vectors,
            "golden_layers": found.layers,
            "max_abs_error": found.max_abs_error,
        }
    )
