"""`python -m benchmarks.cpu --out build/bench/cpu.json`: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.cpu import builds, layers, memory, networks, ratios, table, waterline
from benchmarks.cpu.catalogue import NETWORKS, Network
from benchmarks.cpu.pieces import Pieces, source_hash
from benchmarks.cpu.prepare import Prepared, prepared
from edgevision.device import facts
from edgevision.errors import EdgeVisionError
from edgevision.files import sha256_of
from edgevision.profile.profile import Protocol

PARTS = ("layers", "networks", "memory", "builds")
PACKAGES = ("apache-tvm", "onnxruntime", "openvino", "ncnn", "pnnx", "nncf", "numpy", "torch")


def main() -> None:
    """Measure what was asked for, piece by piece, and write everything that was found with its ratios."""
    asked = _flags().parse_args()
    warnings.filterwarnings("ignore")
    pieces = Pieces(asked.work / "pieces")
    chosen = [network for network in NETWORKS if not asked.models or network.name in asked.models]
    wanted = tuple(asked.only or PARTS)
    before = facts.parse(facts.read_local())
    result: dict[str, Any] = {"threads": asked.threads, "seconds": asked.seconds, "versions": _versions()}
    if "layers" in wanted:
        protocol = layers.protocol_of(asked.seconds)
        result["layers"] = {str(n): layers.layers(pieces, asked.work, protocol, n, _versions()) for n in asked.threads}
    made, missing = _prepared(chosen, asked.work, asked.onnx) if set(wanted) & {"networks", "memory"} else ({}, {})
    result["missing"] = missing
    if "networks" in wanted:
        result |= _networks(made, pieces, asked)
    if "memory" in wanted:
        result["memory"] = {
            network.name: _piece(
                pieces, "memory", network, files, asked, lambda n=network, f=files: memory.measured(f, asked.work)
            )
            for network, files in made.items()
            if not network.threads_only
        }
    if "builds" in wanted:
        result["builds"] = builds.measured(pieces, asked.work)
    result |= ratios.all_ratios(result)
    common.write(asked.out, "edgevision.bench.cpu/1", {"facts": before, **result})
    table.show(result)


def _networks(made: dict[Network, Prepared], pieces: Pieces, asked: argparse.Namespace) -> dict[str, Any]:
    protocol = networks.protocol_of(asked.seconds)
    timed: dict[str, dict[str, Any]] = {str(n): {} for n in asked.threads}
    speedups, lines = {}, {}
    for network, files in made.items():
        for threads in asked.threads if not network.threads_only else ():
            timed[str(threads)][network.name] = _piece(
                pieces, f"network-{threads}", network, files, asked,
                lambda n=network, f=files, t=threads: networks.measured(n, f, asked.work, protocol, t),
            )  # fmt: skip
        speedups[network.name] = _piece(
            pieces, "speedup", network, files, asked, lambda f=files: networks.speedup(f, asked.work, protocol)
        )
        lines[network.name] = _piece(
            pieces, "waterline", network, files, asked, lambda f=files: waterline.measured(f, asked.work)
        )
    return {"networks": timed, "speedups": speedups, "waterlines": lines}


def _piece(
    pieces: Pieces, what: str, network: Network, files: Prepared, asked: argparse.Namespace, make: Callable[[], Any]
) -> Any:
    inputs = {
        "graphs": [sha256_of(path) for path in (files.plain, files.ours) if path],
        "source": source_hash(),
        "seconds": asked.seconds,
        "versions": _versions(),
    }
    return pieces.get(f"{what}-{network.name}", inputs, make)


def _prepared(
    chosen: list[Network], work: Path, onnx_folder: Path | None
) -> tuple[dict[Network, Prepared], dict[str, str]]:
    made, missing = {}, {}
    for network in chosen:
        try:
            made[network] = prepared(network, work, onnx_folder)
        except EdgeVisionError as error:
            missing[network.name] = str(error)
            common.progress(f"{network.name} is missing:", 1, 1, error.what)
    return made, missing


def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def _flags() -> argparse.ArgumentParser:
    parser = common.flags("Every engine, network and layer shape on this CPU, in turns.")
    parser.add_argument("--only", choices=PARTS, nargs="+", help="parts to measure; all without it")
    parser.add_argument("--models", nargs="+", choices=[n.name for n in NETWORKS], help="networks; all without it")
    parser.add_argument("--onnx", type=Path, help="folder with <network>.onnx for networks the zoo does not have")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=Protocol().seconds / 5, help="measured time per engine")
    return parser


if __name__ == "__main__":
    main()
