"""What every runtime in this process is timed by: one clock around one call."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgevision.device.device import RawTiming


@dataclass
class RivalEngine(ABC):
    """A network in another runtime on this host; subclasses load it and say how it is run.

    Attributes:
        path: the ONNX file.
        threads: threads of one inference.
        sample: the input (1, ...) that is timed, float32.
        opening: the load and the first inference.
    """

    name: str
    path: Path
    threads: int
    sample: np.ndarray
    opening: RawTiming = field(init=False)
    _infer: Callable[[], object] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        start = time.perf_counter_ns()
        self._infer = self._load()
        loaded = time.perf_counter_ns() - start
        first = self._timed()
        self.opening = RawTiming(init_ns=loaded, first_ns=first, run_ns=(first,), threads=self.threads)

    def window(self, runs: int, warmup: int) -> RawTiming:
        """Time one window in this process."""
        for _ in range(warmup):
            self._infer()
        times = tuple(self._timed() for _ in range(runs))
        return RawTiming(init_ns=0, first_ns=times[0], run_ns=times, threads=self.threads)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Outputs (N, ...) for float32 images (N, C, H, W), one at a time, as the graph's batch of one asks."""
        return np.concatenate([self._output(images[i : i + 1]) for i in range(len(images))])

    def _timed(self) -> int:
        infer = self._infer
        start = time.perf_counter_ns()
        infer()
        return time.perf_counter_ns() - start

    @abstractmethod
    def _load(self) -> Callable[[], object]:
        """Load the network; returns one inference on `sample`, its input and output bound beforehand."""

    @abstractmethod
    def _output(self, image: np.ndarray) -> np.ndarray:
        """Output (1, ...) for one image (1, C, H, W)."""
