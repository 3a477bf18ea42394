"""DSPs and block RAMs of an engine, counted from its sizes: modelled, nothing was synthesised.

LUTs and flip-flops are not modelled: they cannot be counted from sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgevision.target import Engine

#: Assumed: multipliers of addresses, and block RAMs of the adapters of four memory ports.
ADDRESS_DSP, PORT_BRAM = 8, 8
#: Widths and depths a RAMB36 can have with a port to write and one to read; half of one is a RAMB18.
_SHAPES = ((72, 512), (36, 1024), (18, 2048), (9, 4096))


@dataclass(frozen=True)
class Part:
    """DSPs and 36-Kb block RAMs of one part of the engine."""

    name: str
    dsp: int
    bram36: float


@dataclass(frozen=True)
class Use:
    """What is used of what the part has; "tight" from nine tenths on, where routing becomes hard."""

    resource: str
    used: float
    available: int

    @property
    def verdict(self) -> Literal["fits", "tight", "no"]:
        """Whether it fits."""
        if self.used > self.available:
            return "no"
        return "tight" if self.used > 0.9 * self.available else "fits"


def parts_of(engine: Engine) -> list[Part]:
    """The engine, part by part."""
    vector, row = 8 * engine.lanes, 4 * engine.lanes
    numbers = engine.planes * engine.lanes // engine.scale_lanes
    return [
        # Two products to a DSP.
        Part("1x1 array", engine.lanes * engine.columns // 2, 2 * block_rams(vector, engine.groups)),
        Part("weights", 0, engine.columns * block_rams(row, engine.weight_blocks)),
        Part("line buffer", 0, engine.line_rows * block_rams(vector, engine.line_vectors)),
        Part("3x3 unit", 3 * engine.lanes, 3 * block_rams(vector, 3 * engine.planes)),
        Part("requantisers", 2 * engine.scale_lanes, 4 * block_rams(16 * engine.scale_lanes, numbers)),
        Part("tiles", 0, 4 * block_rams(vector, engine.tile_vectors)),
        Part("packet FIFOs", 0, 3 * block_rams(64, 512)),
        Part("ports and addresses (assumed)", ADDRESS_DSP, PORT_BRAM),
    ]


def use_of(engine: Engine) -> list[Use]:
    """All parts together, against what the FPGA has."""
    parts = parts_of(engine)
    return [
        Use("DSP", sum(part.dsp for part in parts), engine.dsp),
        Use("BRAM36", sum(part.bram36 for part in parts), engine.bram36),
    ]


def block_rams(width: int, depth: int) -> float:
    """36-Kb block RAMs of a memory with one port to write and one to read.

    >>> block_rams(128, 1024), block_rams(64, 512), block_rams(32, 512)
    (4.0, 1.0, 0.5)
    """
    whole = [float(-(-width // wide) * -(-depth // deep)) for wide, deep in _SHAPES]
    halves = [-(-width // (wide // 2)) * -(-depth // deep) / 2 for wide, deep in _SHAPES]
    return min(whole + halves)
