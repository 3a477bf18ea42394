"""The whole measurement, piece by piece: what is finished is found again, what is missing is measured."""

from __future__ import annotations

import importlib.metadata
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import progress
from benchmarks.cpu import builds, layers, memory, networks, waterline
from benchmarks.cpu.catalogue import SHAPES, Network
from benchmarks.cpu.pieces import Pieces, source_hash
from benchmarks.cpu.prepare import Prepared, prepared
from edgevision.errors import EdgeVisionError
from edgevision.files import sha256_of

PACKAGES = ("apache-tvm", "onnxruntime", "openvino", "ncnn", "pnnx", "nncf", "numpy", "torch")


@dataclass
class Run:
    """One run of the benchmark.

    Attributes:
        work: folder of files, bundles and finished pieces.
        seconds: measured time per engine of a network.
        threads: numbers of threads.
        onnx: folder with `<network>.onnx` for networks the zoo does not have.
        missing: networks that could not be had or built, and why.
    """

    work: Path
    seconds: float
    threads: Sequence[int]
    onnx: Path | None = None
    missing: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: {package: _version(package) for package in PACKAGES})

    def layers(self) -> dict[str, dict[str, Any]]:
        """Every layer shape, by threads and name."""
        protocol = layers.protocol_of(self.seconds)
        return {
            str(threads): {
                shape.name: self._piece(
                    f"layer-{shape.name}-{threads}",
                    {},
                    partial(layers.measured, shape, self.work, protocol, threads),
                )
                for shape in SHAPES
            }
            for threads in self.threads
        }

    def files(self, chosen: Sequence[Network]) -> dict[Network, Prepared]:
        """The files of every network that can be had; the others go to `missing`."""
        made = {}
        for network in chosen:
            try:
                made[network] = prepared(network, self.work, self.onnx)
            except EdgeVisionError as error:
                self.missing[network.name] = str(error)
                progress(f"{network.name} is missing:", 1, 1, error.what)
        return made

    def networks(self, made: dict[Network, Prepared]) -> dict[str, Any]:
        """Latencies by threads and network, and of each network the gain of a second thread and its waterline."""
        protocol = networks.protocol_of(self.seconds)
        timed: dict[str, dict[str, Any]] = {str(threads): {} for threads in self.threads}
        speedups, lines = {}, {}
        for network, files in made.items():
            for threads in self.threads if not network.threads_only else ():
                make = partial(networks.measured, network, files, self.work, protocol, threads)
                timed[str(threads)][network.name] = self._network_piece(f"network-{threads}", network, files, make)
            if 2 in self.threads:
                speedups[network.name] = self._network_piece(
                    "speedup", network, files, partial(networks.speedup, files, self.work, protocol)
                )
            lines[network.name] = self._network_piece(
                "waterline", network, files, partial(waterline.measured, files, self.work)
            )
        return {"networks": timed, "speedups": speedups, "waterlines": lines}

    def memory(self, made: dict[Network, Prepared]) -> dict[str, Any]:
        """Memory of the processes that run each network."""
        return {
            network.name: self._network_piece("memory", network, files, partial(memory.measured, files, self.work))
            for network, files in made.items()
            if not network.threads_only
        }

    def builds(self) -> dict[str, Any]:
        """Build times by network and recipe; one that fails goes to `missing`."""
        found = {}
        for model, recipe in builds.known():
            name = f"{model} {recipe}"
            try:
                found[name] = self._piece(
                    f"build-{name}", {}, partial(builds.measured, model, recipe, self.work / "builds")
                )
            except subprocess.SubprocessError as error:
                self.missing[f"build of {name}"] = str(error)
        return found

    def _network_piece(self, what: str, network: Network, files: Prepared, make: Callable[[], Any]) -> Any:
        graphs = [sha256_of(path) for path in (files.plain, files.ours, files.binary) if path]
        return self._piece(f"{what}-{network.name}", {"graphs": graphs}, make)

    def _piece(self, name: str, inputs: dict[str, Any], make: Callable[[], Any]) -> Any:
        known = {"source": source_hash(), "seconds": self.seconds, "versions": self.versions}
        return Pieces(self.work / "pieces").get(name, known | inputs, make)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
