"""How a long stage tells how far it is; the command line draws it on stderr, a library caller may ignore it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on: `progress("calibrate", 12, 256)`, or `progress("train", 3, 20, "loss 0.4")`."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Say that `done` of `total` units of `stage` are finished."""


def silent(stage: str, done: int, total: int, detail: str = "") -> None:
    """Report nothing; the default of every stage function."""
