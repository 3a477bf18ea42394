"""The engine in SystemVerilog: cycles against the model, bytes against the C simulation, and what yosys counts.

python -m benchmarks.rtl --out rtl.json                        # 14 different calls of configurations a and c
python -m benchmarks.rtl --networks codenet_a --whole          # all calls of one program, started once
python -m benchmarks.rtl --synthesis --out resources.json      # LUT, FF, DSP48E1 and BRAM36 of each block

Cycles are counted in an RTL simulation behind a model of the memory; nothing here was measured on a board.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.fpga.codenet import codenet
from benchmarks.rtl.calls import comparable, distinct, whole
from benchmarks.rtl.resources import record, resources
from edgevision.engine import csim, rtlsim
from edgevision.engine.cycles import GB_S
from edgevision.engine.hardware import hardware
from edgevision.errors import EdgeVisionError
from edgevision.target import Engine
from edgevision.zoo.codenet import VARIANTS

SCHEMA = "edgevision.rtl/1"


def main() -> int:
    """Print one JSON object, or write it to a file and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="pynq-z2")
    parser.add_argument("--networks", nargs="+", choices=list(VARIANTS), default=["codenet_a", "codenet_c"])
    parser.add_argument("--calls", type=int, default=14, help="at most so many different calls of each (%(default)s)")
    parser.add_argument("--whole", action="store_true", help="the whole program instead of single calls")
    parser.add_argument("--gb-s", type=float, default=GB_S, help="bytes a nanosecond of the memory (%(default)s)")
    parser.add_argument("--synthesis", action="store_true", help="what yosys makes of each block instead of cycles")
    parser.add_argument("--record", type=Path, metavar="hw/rtl/synthesis.json",
                        help="synthesise what the model of resources is fitted on and held against")  # fmt: skip
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    try:
        engine = hardware(given.target)
        if given.record:
            record(given.record)
            return 0
        head = {"schema": SCHEMA, "target": given.target}
        if given.synthesis:
            found = head | resources(engine)
        else:
            rows = [row for name in given.networks for row in _rows(name, engine, given)]
            worst = max(abs(row["model_error_percent"]) for row in rows)
            found = head | {
                "kind": "RTL simulation", "clock_mhz": engine.clock_mhz,
                "memory": msgspec.to_builtins(rtlsim.Memory(gb_s=given.gb_s)), "worst_model_error_percent": worst,
                "runs": rows,
            }  # fmt: skip
    except EdgeVisionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    text = msgspec.json.format(msgspec.json.encode(found)).decode()
    if given.out:
        given.out.write_text(text + "\n")
    print(text)
    return 0


def _rows(name: str, engine: Engine, given: argparse.Namespace) -> list[dict[str, object]]:
    behind = rtlsim.Memory(gb_s=given.gb_s)
    network = codenet(name, spread=False)
    if given.whole:
        program, cycles = whole(network, engine, gb_s=given.gb_s)
        return [{"network": name, "calls": len(program.header.calls),
                 **_run(program.words, program.header.map_bytes, engine, behind, cycles)}]  # fmt: skip
    rows = []
    for call in distinct(comparable(network, engine, gb_s=given.gb_s), given.calls):
        m = call.modelled
        row = {"network": name, "call": call.index, "layers": " + ".join(m.layers), "bound": m.bound}
        row |= _run(call.words, call.map_bytes, engine, behind, m.last)
        array = 100 * m.pointwise / int(str(row["rtl_cycles"]))
        rows.append(row | {"array_busy_percent": round(array, 1)})
        print(f"{name} {call.index}: {row['model_error_percent']:+} %", file=sys.stderr)
    return rows


def _run(
    words: np.ndarray, map_bytes: int, engine: Engine, behind: rtlsim.Memory, modelled: int
) -> dict[str, int | float | bool]:
    memory = np.random.default_rng(0).integers(0, 256, map_bytes).astype(np.uint8)
    wanted = memory.copy()
    counted = rtlsim.execute(words, engine, memory, behind).cycles
    csim.execute(words, engine, wanted)
    return {
        "rtl_cycles": counted,
        "model_cycles": modelled,
        "model_error_percent": round(100 * (modelled / counted - 1), 2),
        "bytes_equal_csim": bool(np.array_equal(memory, wanted)),
    }


if __name__ == "__main__":
    sys.exit(main())
