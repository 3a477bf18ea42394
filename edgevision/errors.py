"""The one family of errors a user sees: what was expected, what came, where, and the change that fixes it.

Each subclass is one exit code of the command line. Anything else that escapes is a bug (exit code 1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)?")


def _plain(text: str) -> str:
    """`text` without terminal control sequences."""
    return _ESCAPES.sub("", text)


class EdgeVisionError(Exception):
    """Something a person has to act on.

    Args:
        what: one sentence: what was expected and what came.
        where: file, node, step or host the sentence is about.
        fix: the command or change that mends it.
        reasons: when several things are wrong at once, one line for each; all of them are shown.

    >>> print(UsageError("expected a bit width of 2, 4 or 8, got 7", where="recipe w7a8", fix="set bits = 8"))
    expected a bit width of 2, 4 or 8, got 7
      where: recipe w7a8
      fix:   set bits = 8
    """

    exit_code = 1
    kind = "error"

    def __init__(
        self, what: str, *, where: str | None = None, fix: str | None = None, reasons: Sequence[str] = ()
    ) -> None:
        # Text from other programs and from file names may steer a terminal.
        self.what = _plain(what)
        super().__init__(self.what)
        self.where = None if where is None else _plain(where)
        self.fix = None if fix is None else _plain(fix)
        self.reasons = tuple(_plain(reason) for reason in reasons)

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  - {reason}" for reason in self.reasons]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """The same, for `--json`."""
        return {
            "schema": "edgevision.error/1",
            "kind": self.kind,
            "exit_code": self.exit_code,
            "what": self.what,
            "where": self.where,
            "fix": self.fix,
            "reasons": list(self.reasons),
        }


class UsageError(EdgeVisionError):
    """A flag, file or configuration that cannot be read as asked."""

    exit_code = 2
    kind = "usage"


class ToolMissing(EdgeVisionError):
    """A compiler, emulator or package the step needs is not installed."""

    exit_code = 3
    kind = "tool missing"


class Unsupported(EdgeVisionError):
    """An operator or configuration this version cannot compile; raised before any work starts."""

    exit_code = 4
    kind = "unsupported"


class DoesNotFit(EdgeVisionError):
    """The program needs more memory or logic than the target has."""

    exit_code = 5
    kind = "does not fit"


class AccuracyMissed(EdgeVisionError):
    """The accuracy bound was not met; the best point found is kept and named."""

    exit_code = 6
    kind = "accuracy target missed"


class DeviceError(EdgeVisionError):
    """A device that cannot be reached, timed out, or died while running."""

    exit_code = 7
    kind = "device"


class Mismatch(EdgeVisionError):
    """Bytes or numbers that are not what the manifest, hash or golden vector says."""

    exit_code = 8
    kind = "verification mismatch"
