"""Things that can be timed in turns; here ours, a bundle on a device. `rivals` has the other runtimes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from edgevision.device.device import Device, RawTiming
from edgevision.errors import Unsupported


class Engine(Protocol):
    """What the measurement needs of an engine; `name` is what tables call it."""

    name: str

    def window(self, runs: int, warmup: int) -> RawTiming:
        """Time `runs` single inferences after `warmup` untimed ones."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Outputs (N, ...) for a float32 batch (N, C, H, W)."""


@dataclass
class BundleEngine:
    """A bundle of ours, pushed to a device.

    Raises:
        Unsupported: the device emulates another machine; its times say nothing about the board's.
    """

    name: str
    folder: Path
    device: Device
    threads: int
    #: The load and the first inference.
    opening: RawTiming = field(init=False)

    def __post_init__(self) -> None:
        self.device.push(self.folder)
        self.opening = self.device.profile(1, warmup=0, threads=self.threads)
        if self.opening.timing != "measured":
            raise Unsupported(
                f"the device '{self.device.name}' emulates its target: a time taken there is not a latency"
                if self.opening.timing == "emulated"
                else f"the device '{self.device.name}' has no latency: what it knows of times is modelled",
                where=str(self.folder),
                fix="profile on the board itself (--device ssh:user@host), or a bundle built with --target host",
            )

    def window(self, runs: int, warmup: int) -> RawTiming:
        """Time one window on the device."""
        return self.device.profile(runs, warmup=warmup, threads=self.threads)

    def steps(self, runs: int, warmup: int) -> RawTiming:
        """Time each step of the plan, apart from the undisturbed windows."""
        return self.device.profile(runs, warmup=warmup, threads=self.threads, per_step=True)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Run the batch on the device."""
        return self.device.run(images)
