"""This machine: the walk in this process, or the runner executable for a static bundle."""

from __future__ import annotations

import platform
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.bundle.bundle import Bundle
from edgevision.device import executable, facts
from edgevision.device.device import RawTiming
from edgevision.device.pushed import checked_bundle, need_bundle, refuse_machine
from edgevision.device.samples import outputs_of, samples_of
from edgevision.device.walk import Walk
from edgevision.machine import machine_arch
from edgevision.target import Target


class HostDevice:
    """This machine, as a `Device`."""

    name = "host"

    def __init__(self, *, timeout: float = 60) -> None:
        self.timeout = timeout
        self._bundle: Bundle | None = None
        self._walks: dict[int, Walk] = {}
        self._first_ns: dict[int, int] = {}
        self._peak_rss: int | None = None
        self._closing = weakref.finalize(self, _close_all, self._walks)

    def ready(self, target: Target, *, static: bool = False, need_bytes: int = 0) -> None:
        """Compare architecture and CPU features; the bundle stays where it is built, so it takes no room of its own."""
        refuse_machine(target, self.facts(), name=self.name)

    def push(self, bundle: Path) -> None:
        """Check the bundle; it already is where it runs."""
        checked = checked_bundle(bundle, machine_arch(platform.machine()), name=self.name)
        _close_all(self._walks)
        self._first_ns.clear()
        self._bundle, self._peak_rss = checked, None

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the bundle on each sample of `inputs`, on one thread."""
        bundle = need_bundle(self._bundle, name=self.name)
        if bundle.manifest.static:
            return executable.run_samples(bundle, inputs, name=self.name, timeout=self.timeout)
        samples, spec = samples_of(inputs, bundle.manifest), bundle.manifest.outputs[0]
        walk, outputs = self._walk(1), np.empty((len(samples), *spec.shape), spec.dtype)
        for sample, output in zip(samples, outputs, strict=True):
            walk.input[...] = sample
            walk.run()
            output[...] = walk.output
        return outputs_of(outputs.tobytes(), len(samples), spec, where=self.name)

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        """Time `n` runs on the first golden input. Peak memory is that of the runner executable, not of Python."""
        bundle = need_bundle(self._bundle, name=self.name)
        flags = executable.timing_flags(bundle, n, warmup=warmup, threads=threads, per_step=per_step)
        if bundle.manifest.static:
            return executable.start(bundle, flags, name=self.name, timeout=self.timeout).timing()
        if self._peak_rss is None:
            flags = executable.timing_flags(bundle, 1, warmup=0, threads=threads, per_step=False)
            self._peak_rss = executable.start(bundle, flags, name=self.name, timeout=self.timeout).peak_rss_bytes
        walk = self._walk(threads)
        walk.input[...] = bundle.golden(bundle.manifest.golden[0])[0] if bundle.manifest.golden else 0
        return RawTiming(
            init_ns=walk.init_ns,
            first_ns=self._first_ns[threads],
            run_ns=walk.repeat(n, warmup=warmup),
            steps=walk.step_times(n) if per_step else (),
            threads=threads,
            peak_rss_bytes=self._peak_rss,
        )

    def facts(self) -> dict[str, Any]:
        """What Linux says about this machine now."""
        return facts.parse(facts.read_local())

    def _walk(self, threads: int) -> Walk:
        if threads not in self._walks:
            walk = Walk(need_bundle(self._bundle, name=self.name), threads=threads)
            self._first_ns[threads] = walk.repeat(1)[0]
            self._walks[threads] = walk
        return self._walks[threads]


def _close_all(walks: dict[int, Walk]) -> None:
    while walks:
        walks.popitem()[1].close()
