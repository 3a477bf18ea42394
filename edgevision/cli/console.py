"""What reaches the terminal: results on stdout, progress and errors on stderr, colour and bars only for a person."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rich.box
import rich.console
import rich.progress
import rich.table
import rich.text

from edgevision.errors import EdgeVisionError
from edgevision.progress import Progress

#: Seconds between two progress lines when nobody watches a bar.
SPARSE_SECONDS = 10.0


class Console:
    """One command's output.

    Args:
        as_json: print exactly one JSON object on stdout and no table.
        verbosity: -1 for --quiet (no progress), 0, or the count of -v.
    """

    def __init__(self, *, as_json: bool = False, verbosity: int = 0) -> None:
        self.as_json = as_json
        self.verbosity = verbosity
        plain = "NO_COLOR" in os.environ
        width = None if sys.stdout.isatty() else 160
        self.out = rich.console.Console(file=sys.stdout, no_color=plain, highlight=False, width=width, soft_wrap=True)
        self.err = rich.console.Console(file=sys.stderr, no_color=plain, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line of the result, for people only."""
        if not self.as_json:
            self.out.print(rich.text.Text(text))

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
        """A table of the result, for people only; the first `left` columns hold words, the others numbers."""
        if self.as_json:
            return
        table = rich.table.Table(title=title or None, title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=False)
        for index, heading in enumerate(headings):
            table.add_column(heading, justify="left" if index < left else "right", overflow="fold", no_wrap=index == 0)
        for row in rows:
            # Text, not markup: a name with [brackets] is shown as it is.
            table.add_row(*(rich.text.Text(cell) for cell in row))
        self.out.print(table)

    def result(self, value: dict[str, Any]) -> None:
        """The result as JSON, when asked for; every object carries its `schema`."""
        if self.as_json:
            self.out.file.write(json.dumps(value, indent=1, default=str) + "\n")

    def note(self, text: str) -> None:
        """Something worth knowing that is not the result."""
        if self.verbosity >= 0:
            self.err.print(rich.text.Text(text))

    def error(self, error: EdgeVisionError, *, as_result: bool = True) -> None:
        """What, where, fix; as JSON too where asked for, unless it is only part of a result."""
        message = rich.text.Text(f"{error.kind}: ", style="bold red").append(str(error), style="not bold default")
        self.err.print(message)
        if as_result:
            self.result(error.as_dict())

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Give the callback stages report to: bars with time left on a terminal, sparse lines elsewhere."""
        if self.verbosity < 0:
            yield lambda stage, done, total, detail="": None
        elif self.err.is_terminal:
            with self._bars() as bars:
                yield _Bars(bars)
        else:
            yield _Lines(self)

    def _bars(self) -> rich.progress.Progress:
        return rich.progress.Progress(
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=28),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("left"),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.fields[detail]}"),
            console=self.err,
            transient=False,
        )


class _Bars:
    def __init__(self, bars: rich.progress.Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(rich.text.Text(stage).plain, total=total, detail="")
        self._bars.update(self._tasks[stage], completed=done, total=total, detail=detail)


class _Lines:
    """A line when a stage ends, and one every few seconds while it runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started: dict[str, float] = {}
        self._said = time.monotonic()

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        start = self._started.setdefault(stage, now)
        finished = done >= total
        if not finished and now - self._said < SPARSE_SECONDS:
            return
        if finished:
            del self._started[stage]
        self._said = now
        spent = now - start
        left = "" if finished or not done else f", about {duration(spent / done * (total - done))} left"
        tail = f"  {detail}" if detail else ""
        self._console.note(f"{stage} {done}/{total} ({duration(spent)}{left}){tail}")


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(0.4), duration(75), duration(4000)
    ('0.4 s', '1 min 15 s', '1 h 06 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
