"""What the runner says when it ends: one JSON line, or an exit code and a sentence."""

from __future__ import annotations

import signal
from typing import NoReturn

import msgspec

from edgevision.device.device import RawTiming, StepTime
from edgevision.errors import (
    DeviceError,
    DoesNotFit,
    EdgeVisionError,
    Mismatch,
    ToolMissing,
    Unsupported,
    UsageError,
)

_KINDS: dict[int, type[EdgeVisionError]] = {
    error.exit_code: error for error in (UsageError, ToolMissing, Unsupported, DoesNotFit, Mismatch)
}
_SHELL = {126: "the file cannot be executed: is it for this machine's architecture?", 127: "no such program or loader"}


class Answer(msgspec.Struct, frozen=True):
    """The JSON line of `runner --json` (runner/main.c)."""

    schema: str
    samples: int
    threads: int
    arena_bytes: int
    peak_rss_bytes: int
    init_ns: int
    first_ns: int
    run_ns: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]

    def timing(self, *, emulated: bool = False) -> RawTiming:
        """The same as a measurement; an emulator's memory is not the runner's, so it is left out."""
        return RawTiming(
            init_ns=self.init_ns,
            first_ns=self.first_ns,
            run_ns=self.run_ns,
            steps=by_step(self.steps),
            threads=self.threads,
            timing="emulated" if emulated else "measured",
            peak_rss_bytes=None if emulated else self.peak_rss_bytes,
        )


def by_step(runs: tuple[tuple[int, ...], ...]) -> tuple[StepTime, ...]:
    """Turn times listed run by run into times listed step by step."""
    return tuple(StepTime(index, tuple(times)) for index, times in enumerate(zip(*runs, strict=True)))


def read_answer(stdout: bytes, *, where: str) -> Answer:
    """Read the runner's JSON line.

    Raises:
        DeviceError: it is something else.
    """
    try:
        answer = msgspec.json.decode(stdout, type=Answer)
    except msgspec.DecodeError as error:
        raise DeviceError(f"expected the runner's JSON line, got {stdout[:200]!r} ({error})", where=where) from error
    return answer


def raise_failure(code: int, text: str, *, where: str) -> NoReturn:
    """Raise the error that exit code `code` of the runner stands for; a shell's 128 + n is signal n, as is -n.

    Raises:
        EdgeVisionError: of the kind with that exit code; `DeviceError` for anything the runner does not use.
    """
    text = text.strip().removeprefix("runner: ")
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number in {s.value for s in signal.Signals}:
        raise DeviceError(
            f"the runner died of {signal.Signals(number).name}", where=where, reasons=text.splitlines()[-3:]
        )
    if code in _KINDS:
        raise _KINDS[code](text or f"the runner ended with exit code {code}", where=where)
    what = _SHELL.get(code, f"the runner ended with exit code {code}")
    raise DeviceError(what, where=where, reasons=text.splitlines()[-5:])


def raise_timeout(step: str, *, where: str, elapsed: float, limit: float) -> NoReturn:
    """Raise the error of a step that took longer than allowed."""
    raise DeviceError(
        f"{step} took longer than allowed: stopped after {elapsed:.1f} s, the limit is {limit:g} s",
        where=where,
        fix="raise the limit with --timeout SECONDS",
    )
