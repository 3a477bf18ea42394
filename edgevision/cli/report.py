"""`edgevision report`."""

from __future__ import annotations

import click
import msgspec

from edgevision.cli import options
from edgevision.cli.profile import show


@click.command(name="report")
@click.option("--model", help="What the report is about.  [default: the newest artefact's model]")
@click.option("--data", help="What the report is about.  [default: the newest artefact's data]")
@options.command
def command(settings: options.Settings, model: str | None, data: str | None) -> None:
    """Write the latency-accuracy trade-off as one offline HTML file, with Markdown, CSV and JSON beside it."""
    from edgevision import api

    console = settings.console
    made = api.report(model=model, data=data, out=settings.out, overwrite=settings.overwrite, command=settings.typed)
    found = made.trade_off
    for group in found.groups:
        show(console, group, found.model, found.data, found.metric)
    for line in (found.verdict, found.detail, *found.remarks):
        console.say(line)
    console.say(str(made.html.resolve()))
    console.result(msgspec.to_builtins(found) | {"files": [str(path) for path in made.files]})
