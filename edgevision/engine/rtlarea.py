"""What the engine in SystemVerilog takes of a 7-series part, without running yosys: modelled, nothing is synthesised.

DSPs and block RAMs are counted from sizes. LUTs and flip-flops of a block are a + b x, x being what the block is
widest in, fitted on the yosys runs recorded in hw/rtl/synthesis.json that are not held out.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
import numpy as np

from edgevision.engine.area import Use, block_rams
from edgevision.engine.synth import Counts, blocks_of
from edgevision.resources import shipped
from edgevision.target import Engine


class Run(msgspec.Struct, frozen=True):
    """One block that yosys has synthesised.

    Attributes:
        sizes: parameters of the module.
        held_out: whether the fit may not look at it.
    """

    block: str
    sizes: dict[str, int]
    held_out: bool
    counts: Counts


class Recorded(msgspec.Struct, frozen=True):
    """hw/rtl/synthesis.json: what made the runs, and the runs."""

    tool: str
    runs: tuple[Run, ...]


@lru_cache
def recorded() -> Recorded:
    """The recorded runs."""
    return msgspec.json.decode((shipped("hw") / "rtl" / "synthesis.json").read_bytes(), type=Recorded)


def estimated(engine: Engine) -> dict[str, Counts]:
    """Every block of `engine` by name.

    Raises:
        Unsupported: the RTL cannot have these sizes.
    """
    return {block.name: estimate(block.name, block.parameters) for block in blocks_of(engine)}


def estimate(block: str, sizes: dict[str, int]) -> Counts:
    """One block with these parameters.

    >>> estimate("1x1", {"LANES": 16, "COLUMNS": 16, "SUM_BITS": 24, "MAX_GROUPS": 256, "WEIGHT_BLOCKS": 1024}).dsp
    128
    """
    dsp, bram = _counted(block, sizes)
    lut, ff = (max(0, round(low + slope * _width(block, sizes))) for low, slope in _fitted(block))
    return Counts(dsp, bram, lut, ff)


def use_of_rtl(engine: Engine) -> list[Use]:
    """All blocks together against what the part has; the FIFOs between them and the interconnect are not in it."""
    parts = estimated(engine).values()
    return [
        Use("DSP", sum(part.dsp for part in parts), engine.dsp),
        Use("BRAM36", sum(part.bram36 for part in parts), engine.bram36),
        Use("LUT", sum(part.lut for part in parts), engine.lut),
        Use("FF", sum(part.ff for part in parts), engine.ff),
    ]


def _power(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _counted(block: str, sizes: dict[str, int]) -> tuple[int, float]:
    lanes = sizes.get("LANES", 0)
    if block == "1x1":
        weights = lanes * block_rams(4 * sizes["COLUMNS"], sizes["WEIGHT_BLOCKS"])
        return lanes * sizes["COLUMNS"] // 2, weights + block_rams(8 * lanes, 2 * _power(sizes["MAX_GROUPS"]))
    if block == "3x3":
        line = sizes["LINE_ROWS"] * block_rams(8 * lanes, sizes["LINE_VECTORS"])
        # Four multiply for addresses.
        return 3 * lanes + 4, line + block_rams(3 * 8 * lanes, _power(3 * sizes["MAX_PLANES"]))
    if block.endswith("scale"):
        rows = _power(sizes["MAX_PLANES"]) * lanes // sizes["SCALE_LANES"]
        return sizes["SCALE_LANES"], 2 * block_rams(16 * sizes["SCALE_LANES"], rows)
    if block in ("arrange", "collect"):
        return 0, block_rams(8 * lanes, 2 * _power(sizes["TILE_VECTORS"]))
    # A table of planes; the three deep FIFOs of packets.
    return 0, {"load": 1.0, "store": 1.0, "program": 3.0}.get(block, 0.0)


def _width(block: str, sizes: dict[str, int]) -> int:
    """What look-up tables and flip-flops grow with."""
    if block == "1x1":
        return sizes["LANES"] * sizes["COLUMNS"]
    if block.endswith("scale"):
        return sizes["SCALE_LANES"]
    return sizes.get("LANES", 0)


@lru_cache
def _fitted(block: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Constant and slope of LUTs and of flip-flops."""
    # The two requantisers are one module.
    kind = "scale" if block.endswith("scale") else block
    runs = [run for run in recorded().runs if run.block.endswith(kind) and not run.held_out]
    widths = np.array([_width(run.block, run.sizes) for run in runs], float)
    columns = np.stack([np.ones_like(widths), widths], axis=1)
    found = []
    for values in ([run.counts.lut for run in runs], [run.counts.ff for run in runs]):
        solved = np.linalg.lstsq(columns, np.array(values, float), rcond=None)[0]
        found.append((float(solved[0]), float(solved[1])))
    return found[0], found[1]
