"""`edgevision doctor`."""

from __future__ import annotations

import click
import msgspec

from edgevision.cli import options
from edgevision.errors import ToolMissing

WORDS = {"ok": "ok", "missing": "missing", "version": "other version"}


@click.command(name="doctor")
@options.command
def command(settings: options.Settings) -> int:
    """Say what is here, what is missing, what that disables and how to get it. Exit 3: something needed is missing."""
    from edgevision import doctor

    diagnosis = doctor.examine()
    console = settings.console
    rows = [(c.name, WORDS[c.state], "needed" if c.required else "optional", c.found) for c in diagnosis.checks]
    console.table("", ("what", "state", "", "found"), rows, left=4)
    for check in diagnosis.missing():
        console.say(f"{check.name}: {WORDS[check.state]}\n  disables: {check.disables}\n  get it:   {check.get}")
    console.say("All that is needed is here." if diagnosis.healthy else "Something needed is missing.")
    console.result({**msgspec.to_builtins(diagnosis), "healthy": diagnosis.healthy})
    return 0 if diagnosis.healthy else ToolMissing.exit_code
