"""Things that can be timed in turns: a bundle on a device, or the same ONNX file in another runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

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
                f"the device '{self.device.name}' emulates its target: a time taken there is not a latency",
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


@dataclass
class OnnxRuntimeEngine:
    """The same ONNX file in onnxruntime on this host, all optimisations on, inputs and outputs bound beforehand."""

    name: str
    path: Path
    threads: int
    sample: np.ndarray
    opening: RawTiming = field(init=False)
    _session: Any = field(init=False, repr=False)
    _binding: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        start = time.perf_counter_ns()
        self._session = onnxruntime.InferenceSession(
            str(self.path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        ready = time.perf_counter_ns()
        self._binding = self._session.io_binding()
        self._binding.bind_cpu_input(self._session.get_inputs()[0].name, self.sample)
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name)
        first = self._timed()
        self.opening = RawTiming(init_ns=ready - start, first_ns=first, run_ns=(first,), threads=self.threads)

    def _timed(self) -> int:
        start = time.perf_counter_ns()
        self._session.run_with_iobinding(self._binding)
        return time.perf_counter_ns() - start

    def window(self, runs: int, warmup: int) -> RawTiming:
        """Time one window in this process."""
        for _ in range(warmup):
            self._timed()
        times = tuple(self._timed() for _ in range(runs))
        return RawTiming(init_ns=0, first_ns=times[0], run_ns=times, threads=self.threads)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Run one image at a time, as the exported graph's batch of one asks."""
        name = self._session.get_inputs()[0].name
        return np.concatenate([self._session.run(None, {name: images[i : i + 1]})[0] for i in range(len(images))])
