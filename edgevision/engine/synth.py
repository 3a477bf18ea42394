"""What yosys makes of the engine in SystemVerilog for a 7-series part, block by block; nothing is placed or routed.

Results are kept in the cache, by sources, sizes and version of yosys.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgevision.cache import Cache
from edgevision.engine.rtlsim import parameters, sources
from edgevision.errors import Mismatch, ToolMissing
from edgevision.target import Engine

#: Look-up tables that a primitive takes, where it is not one: memories in LUTs have four of them, or two.
_LUTS = {"RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM128X1S": 2, "RAM256X1S": 4}
_LONGEST_S = 1800


class Counts(msgspec.Struct, frozen=True):
    """What one block takes: DSP48E1, 36-Kb block RAMs, LUTs (with memories and shift registers in them), flip-flops."""

    dsp: int
    bram36: float
    lut: int
    ff: int


@dataclass(frozen=True)
class Block:
    """A module of the engine that is synthesised by itself.

    Attributes:
        module: its name in hw/rtl.
        parameters: of it.
    """

    name: str
    module: str
    parameters: dict[str, int]


def blocks_of(engine: Engine) -> list[Block]:
    """The modules that the top module is made of, the few FIFOs between them left out.

    Raises:
        Unsupported: the RTL cannot have these sizes.
    """
    sizes = parameters(engine)

    def block(name: str, module: str, *names: str, **fixed: int) -> Block:
        return Block(name, module, {one: sizes[one] for one in names} | fixed)

    return [
        block("1x1", "pointwise", "LANES", "COLUMNS", "SUM_BITS", "MAX_GROUPS", "WEIGHT_BLOCKS"),
        block("3x3", "spatial", "LANES", "SUM_BITS", "MAX_PLANES", "LINE_ROWS", "LINE_VECTORS"),
        block("3x3 scale", "requantise", "LANES", "SCALE_LANES", "SUM_BITS", "MAX_PLANES", GROUP=1),
        block("1x1 scale", "requantise", "LANES", "SCALE_LANES", "SUM_BITS", "MAX_PLANES",
              GROUP=engine.columns // engine.lanes),
        block("arrange", "arrange", "LANES", "MAX_PLANES", "TILE_VECTORS"),
        block("collect", "collect", "LANES", "TILE_VECTORS"),
        block("load", "load", "LANES", "MAX_PLANES", "AXI_BITS"),
        block("dilations", "dilations", "LANES", "AXI_BITS"),
        block("store", "store", "LANES", "MAX_PLANES", "AXI_BITS"),
        block("program", "packet_queues", "BURST_BEATS"),
        block("registers", "registers"),
    ]  # fmt: skip


def synthesised(block: Block) -> Counts:
    """What yosys counts for `block`.

    Raises:
        ToolMissing: no yosys.
        Mismatch: it does not accept the sources.
    """
    yosys = shutil.which("yosys")
    if yosys is None:
        raise ToolMissing("synthesis needs yosys", fix="apt-get install yosys")
    version = subprocess.run([yosys, "-V"], capture_output=True, text=True, timeout=60, check=False).stdout
    text = hashlib.sha256(f"{version} {block.module} {sorted(block.parameters.items())} {_PASSES}".encode())
    for path in sources():
        text.update(path.read_bytes())
    cache = Cache("synth")
    found = cache.get(text.hexdigest())
    if found is None:
        found = msgspec.json.encode(_counted(_statistics(yosys, block)))
        cache.put(text.hexdigest(), found)
        cache.trim()
    return msgspec.json.decode(found, type=Counts)


_PASSES = "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf"


def _statistics(yosys: str, block: Block) -> dict[str, int]:
    sizes = " ".join(f"-set {name} {value}" for name, value in block.parameters.items())
    # chparam rather than hierarchy -chparam, on which yosys 0.23 fails an assertion.
    resize = f"chparam {sizes} {block.module}; " if sizes else ""
    with tempfile.TemporaryDirectory(prefix="edgevision-synth-") as folder:
        out = Path(folder) / "stat.json"
        script = (
            f"read_verilog -sv {' '.join(map(str, sources()))}; {resize}"
            f"{_PASSES} -top {block.module}; tee -q -o {out} stat -json"
        )
        done = subprocess.run(
            [yosys, "-q", "-p", script], capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
        if done.returncode:
            said = " ".join(line for line in done.stderr.splitlines() if "ERROR" in line)
            raise Mismatch(f"yosys does not synthesise '{block.module}': {said}", where="hw/rtl",
                           fix="yosys 0.23 is known to work")  # fmt: skip
        # Some versions write more than the JSON.
        said = out.read_text()
        stat = json.loads(said[said.index("{") :])
    return {name: int(count) for name, count in stat["design"]["num_cells_by_type"].items()}


def _counted(cells: dict[str, int]) -> Counts:
    lut = ff = 0
    for name, count in cells.items():
        if re.fullmatch(r"LUT[1-6]|SRL16E|SRLC32E|INV", name):
            lut += count
        elif name in _LUTS:
            lut += count * _LUTS[name]
        elif re.fullmatch(r"FD[RSCP]E(_1)?", name):
            ff += count
    brams = cells.get("RAMB36E1", 0) + cells.get("RAMB18E1", 0) / 2
    return Counts(cells.get("DSP48E1", 0), brams, lut, ff)
