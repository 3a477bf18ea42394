"""`python -m benchmarks.cpu --out build/bench/cpu.json`: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.cpu import ratios, table
from benchmarks.cpu.catalogue import NETWORKS
from benchmarks.cpu.run import Run
from edgevision.device import facts

PARTS = ("layers", "networks", "memory", "builds")


def main() -> None:
    """Measure what was asked for and write everything that was found with its ratios."""
    asked = _flags().parse_args()
    warnings.filterwarnings("ignore")
    run = Run(asked.work, asked.seconds, asked.threads, asked.onnx)
    wanted = tuple(asked.only or PARTS)
    chosen = [network for network in NETWORKS if not asked.models or network.name in asked.models]
    result: dict[str, Any] = {"facts_before": facts.parse(facts.read_local())}
    result |= {"threads": asked.threads, "seconds": asked.seconds, "versions": run.versions}
    if "layers" in wanted:
        result["layers"] = run.layers()
    made = run.files(chosen) if {"networks", "memory"} & set(wanted) else {}
    result["missing"] = run.missing
    if "networks" in wanted:
        result |= run.networks(made)
    if "memory" in wanted:
        result["memory"] = run.memory(made)
    if "builds" in wanted:
        result["builds"] = run.builds()
    result |= {"facts_after": facts.parse(facts.read_local())} | ratios.all_ratios(result)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    common.write(asked.out, "edgevision.bench.cpu/1", result)
    table.show(result)


def _flags() -> argparse.ArgumentParser:
    parser = common.flags("Every engine, network and layer shape on this CPU, in turns.")
    parser.add_argument("--only", choices=PARTS, nargs="+", help="parts to measure; all without it")
    parser.add_argument("--models", nargs="+", choices=[n.name for n in NETWORKS], help="networks; all without it")
    parser.add_argument("--onnx", type=Path, help="folder with <network>.onnx for networks the zoo does not have")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time per engine of a network")
    return parser


if __name__ == "__main__":
    main()
