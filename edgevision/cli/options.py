"""The flags every command takes, before or after the verb."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from edgevision.cli.console import Console
from edgevision.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Settings:
    """The common flags, with their defaults."""

    out: Path = Path("edgevision-out")
    as_json: bool = False
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False
    verbose: int = 0
    #: None where the flag was not given: one thread when running or timing, torch's own choice when training.
    given_threads: int | None = None
    timeout: float = 60.0
    #: The command that gives the same artefact again, for artefacts to record.
    typed: str = "edgevision"

    @property
    def threads(self) -> int:
        """Threads of a network that runs."""
        return self.given_threads or 1

    @property
    def workspace(self) -> Workspace:
        """The folder artefacts go to."""
        return Workspace(self.out)

    @property
    def console(self) -> Console:
        """Where output goes."""
        return Console(as_json=self.as_json, verbosity=-1 if self.quiet else self.verbose)


_FLAGS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--out",), {"type": click.Path(path_type=Path, file_okay=False), "envvar": "EDGEVISION_OUT",
                  "help": "Folder for everything made.  [default: edgevision-out; env EDGEVISION_OUT]"}),
    (("--json", "as_json"), {"is_flag": True, "help": "Print the result as one JSON object."}),
    (("--seed",), {"type": click.IntRange(0), "help": "Seed of everything random.  [default: 0]"}),
    (("--resume",), {"is_flag": True, "help": "Go on where an interrupted run stopped."}),
    (("--overwrite",), {"is_flag": True, "help": "Replace what is already there."}),
    (("--quiet", "-q"), {"is_flag": True, "help": "No progress."}),
    (("--verbose", "-v"), {"count": True, "help": "Say more; with a bug, show its traceback."}),
    (("--threads", "given_threads"), {"type": click.IntRange(1, 256),
                                      "help": "Threads the network may use.  [default: 1]"}),
    (("--timeout",), {"type": click.FloatRange(min=0, min_open=True),
                      "help": "Seconds a device may take for one step.  [default: 60]"}),
)  # fmt: skip


def flags(function: F) -> F:
    """Add the common flags to a click command, without touching its own parameters."""
    for names, how in reversed(_FLAGS):
        function = click.option(*names, default=None if not how.get("count") else 0, **how)(function)
    return function


def merged(settings: Settings, given: dict[str, Any]) -> Settings:
    """`settings` with every flag that was given; takes those flags out of `given`."""
    names = Settings.__dataclass_fields__
    own = {name: given.pop(name) for name in list(given) if name in names}
    return replace(settings, **{name: value for name, value in own.items() if value not in (None, False, 0)
                                or (name == "seed" and value == 0)})  # fmt: skip


def command(function: F) -> F:
    """Hand a verb its `Settings` as first argument, from the flags before and after it."""

    @flags
    @click.pass_context
    @functools.wraps(function)
    def call(context: click.Context, /, **given: Any) -> Any:
        for name in list(given):
            # The flags ahead of the verb have read the environment already, and outrank it.
            if context.get_parameter_source(name) is click.core.ParameterSource.ENVIRONMENT:
                del given[name]
        settings = merged(context.find_object(Settings) or Settings(), given)
        return function(settings, **given)

    return call  # type: ignore[return-value]
