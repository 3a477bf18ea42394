"""What yosys makes of each block of an engine, next to the model that is fitted on other runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.rtl.sizes import fitted, held_out
from edgevision.engine.rtlarea import Recorded, Run, estimate
from edgevision.engine.synth import Counts, blocks_of, synthesised
from edgevision.target import Engine


def resources(engine: Engine) -> dict[str, object]:
    """Counts of every block, what the model says of them, and sums.

    Raises:
        Unsupported, ToolMissing, Mismatch: as of `synthesised`.
    """
    rows: list[dict[str, object]] = []
    counted, modelled = [], []
    for block in blocks_of(engine):
        counted.append(synthesised(block))
        modelled.append(estimate(block.name, block.parameters))
        rows.append({"block": block.name, "module": block.module, "sizes": block.parameters, "yosys": counted[-1],
                     "modelled": modelled[-1]})  # fmt: skip
        print(f"{block.name}: {counted[-1]}", file=sys.stderr)
    part = {"dsp": engine.dsp, "bram36": engine.bram36, "lut": engine.lut, "ff": engine.ff}
    return {
        "kind": "yosys synth_xilinx -family xc7, block by block: not placed, not routed, without the AXI interconnect",
        "blocks": rows, "total": total(counted), "modelled_total": total(modelled), "part": part,
    }  # fmt: skip


def record(path: Path) -> None:
    """Synthesise everything the model is fitted on and held against, and write it to `path`.

    Raises:
        ToolMissing, Mismatch: as of `synthesised`.
    """
    runs: list[Run] = []
    for held, engines in ((False, fitted()), (True, held_out())):
        for engine in engines.values():
            for block in blocks_of(engine):
                run = Run(block.name, block.parameters, held, synthesised(block))
                # A block that does not depend on what differs is one run.
                if all((run.block, run.sizes) != (one.block, one.sizes) for one in runs):
                    runs.append(run)
                    print(run, file=sys.stderr)
    tool = subprocess.run(["yosys", "-V"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    text = msgspec.json.format(msgspec.json.encode(Recorded(tool, tuple(runs))), indent=1)
    path.write_bytes(text + b"\n")


def total(counts: list[Counts]) -> Counts:
    """The sum of all blocks."""
    return Counts(*(sum(getattr(one, name) for one in counts) for name in ("dsp", "bram36", "lut", "ff")))
