"""The contract of a device: whatever it is, it takes a bundle, runs it, times it, and says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from edgevision.target import Target


class StepTime(msgspec.Struct, frozen=True):
    """Time of one plan step in nanoseconds, one value per timed run."""

    index: int
    ns: tuple[int, ...]


class RawTiming(msgspec.Struct, frozen=True):
    """What a runner measured, before any statistics.

    Attributes:
        init_ns: loading, checking and the first touch of the arena.
        first_ns: the first inference.
        run_ns: one value per timed inference after warm-up.
        steps: per-step times; empty unless asked for.
        timing: "measured" on a real device, "emulated" under qemu: never a latency.
    """

    init_ns: int
    first_ns: int
    run_ns: tuple[int, ...]
    steps: tuple[StepTime, ...] = ()
    threads: int = 1
    timing: str = "measured"
    peak_rss_bytes: int | None = None


class Device(Protocol):
    """Five methods, whatever the device is. `name` is what `--device` takes: "host", "ssh:pi@10.0.0.7", ..."""

    name: str

    def ready(self, target: Target, *, static: bool = False, need_bytes: int = 0) -> None:
        """Make sure, before anything is built, that a bundle for `target` could be brought here and run.

        Args:
            static: the bundle will be one static file.
            need_bytes: room it will take at least.

        Raises:
            DeviceError: unreachable or timed out; names host, step, limit and the flag that raises it.
            Unsupported: another architecture, a CPU feature that is missing, or a form of bundle it cannot take.
            DoesNotFit: too little room for it.
            ToolMissing: something the device needs on this machine is not installed.
        """

    def push(self, bundle: Path) -> None:
        """Bring the bundle folder onto the device.

        Raises:
            DeviceError: unreachable or timed out; names host, step, limit and the flag that raises it.
            Mismatch: a file is not what the manifest says.
        """

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the pushed bundle on each image of a float32 batch (N, C, H, W); returns (N, ...) outputs."""

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        """Time `n` inferences of the pushed bundle after `warmup` untimed ones."""

    def facts(self) -> dict[str, Any]:
        """Cores, model, governor, frequency (kHz), temperature (deg C), kernel and versions; None where unknown."""
