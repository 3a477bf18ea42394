"""This machine's limits, measured by a small C program: arithmetic from registers, and reading."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgevision import target
from edgevision.bundle.toolchain import need_compiler
from edgevision.machine import resolve

_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Limits:
    """Peaks of one core.

    Attributes:
        rates: multiply-accumulates per second by "fp32" and "int8"; what this architecture has no loop for is missing.
        bandwidth: bytes per second read from a buffer of so many bytes, from whatever cache it stays in.
    """

    rates: Mapping[str, float]
    bandwidth: Callable[[int], float]

    def macs_per_s(self, *, integer: bool) -> float | None:
        """The peak for integer or float products; None where it is unknown."""
        return self.rates.get("int8" if integer else "fp32")


@cache
def measured(work: Path) -> Limits:
    """Compile and run the measurement; a buffer's size is rounded up to a power of two.

    Raises:
        ToolMissing: no C compiler.
    """
    compiler = need_compiler(resolve(target.load("host")), static=False)
    program = work / "peak"
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run([*compiler.command, "-O3", "-march=native", str(_SOURCE), "-o", str(program)], check=True)

    @cache
    def rounded(bits: int) -> float:
        return _run(program, "read", str(1 << bits))["read"]

    return Limits(_run(program, "macs"), lambda size: rounded(max(12, (size - 1).bit_length())))


def _run(program: Path, *words: str) -> dict[str, float]:
    done = subprocess.run([str(program.resolve()), *words], capture_output=True, text=True, check=True)
    return {label: float(value) for label, value in (line.split() for line in done.stdout.splitlines())}
