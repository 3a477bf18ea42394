"""What an unrestricted deformable convolution costs, and what its restrictions save: the authors' experiment modelled.

Their operation (Table 2 of arXiv 2006.08357, without a cache): 3x3 on 64x64 pixels, 256 to 256 channels, offsets
rounded. Theirs is modelled with beats of 16 bytes, one request at a time, and load, compute and store one after another
at 100 MHz. The clock is not printed: it is the one at which 8 x 8 x 9 products a cycle take the published 43 ms. One
number is fitted, the latency of a read. Ours is this engine's model with this engine's memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.fpga.codenet import with_random_numbers
from edgevision.engine.cycles import READ_LATENCY, modelled
from edgevision.engine.network import Convolution, Group, Header
from edgevision.target import Engine

SIDE, CHANNELS, TAPS = 64, 256, 9
#: Milliseconds, Table 2.
PUBLISHED = {
    "full": {"default": 43.1, "deform": 59.0, "bound": 43.4, "square": 43.4},
    "depthwise": {"default": 1.9, "deform": 20.5, "bound": 3.0, "square": 2.1},
}
VARIANTS = tuple(PUBLISHED["full"])
#: Fitted to the two unrestricted rows, which ask for 29 and 36 cycles by themselves.
AUTHORS_LATENCY = 33
_AUTHORS_MHZ, _AUTHORS_BEAT, _ROWS, _REACH = 100, 16, 15, 7
#: As READS_AHEAD of hw/engine/types.h.
READS_AHEAD = 8


def conflicts(rows: int = _ROWS, seed: int = 0) -> float:
    """Cycles in which banks that hold one row each give nine samples with an offset of their own.

    Offsets are uniform over what the bound allows; a bank gives one sample a cycle.
    """
    rng = np.random.default_rng(seed)
    bank = (np.arange(-1, 2).repeat(3) + rng.integers(0, _REACH + 1, (4096, TAPS))) % rows
    return float(np.mean([np.bincount(one).max() for one in bank]))


def authors(depthwise: bool, variant: str) -> float:
    """Milliseconds of their accelerator, modelled."""
    pixels, vectors = SIDE * SIDE, SIDE * SIDE * CHANNELS // _AUTHORS_BEAT
    compute = float(vectors if depthwise else pixels * (CHANNELS // 8) ** 2)
    weights = TAPS * CHANNELS * (1 if depthwise else CHANNELS) // 2 // 8
    load, store = float(vectors), vectors
    if variant == "deform":
        load = pixels * TAPS * (CHANNELS / _AUTHORS_BEAT + AUTHORS_LATENCY)
    if variant == "bound" and depthwise:
        # Behind the products of a full convolution there is time for it.
        compute *= conflicts()
    if variant in ("bound", "square"):
        load += _REACH * SIDE * CHANNELS / _AUTHORS_BEAT
    offsets = {"default": 0, "square": 1}.get(variant, 2 * TAPS)
    cycles = load + compute + store + weights + offsets * pixels / _AUTHORS_BEAT
    return cycles / _AUTHORS_MHZ / 1e3


@dataclass(frozen=True)
class Ours:
    """Cycles of this engine for one layer; `ratio` to what the engine can do, "square" of a depthwise layer."""

    variant: str
    cycles: int
    ratio: float


def ours(engine: Engine, gb_s: float, *, depthwise: bool) -> list[Ours]:
    """This engine's variants, and unrestricted ones as a front end would have them that fetches each sample."""
    plain = _layer(engine, gb_s, depthwise, False)
    rows = {"default": plain}
    if depthwise:
        rows["square"] = _layer(engine, gb_s, depthwise, True)
    restricted = rows.get("square", plain)
    for ahead in (READS_AHEAD, 1):
        rows[f"deform, {ahead} asked ahead"] = _gathered(engine, gb_s, plain, depthwise, ahead)
    return [Ours(name, cycles, cycles / restricted) for name, cycles in rows.items()]


def _gathered(engine: Engine, gb_s: float, plain: int, depthwise: bool, ahead: int) -> int:
    """Samples of all channels lie together, which is the best an unrestricted layer can have."""
    pixels, beats = SIDE * SIDE, CHANNELS * 8 // engine.axi_bits
    bursts = math.ceil(beats / engine.burst_beats)
    burst = beats / bursts
    # A request goes out when one of those ahead has been read.
    each = max(burst, (burst + READ_LATENCY) / ahead)
    port = pixels * TAPS * bursts * each
    moved = pixels * (TAPS * CHANNELS + CHANNELS + 2 * TAPS)
    memory = moved / gb_s * engine.clock_mhz / 1e3
    return math.ceil(max(port, memory, 0 if depthwise else plain))


def _layer(engine: Engine, gb_s: float, depthwise: bool, dilated: bool) -> int:
    """Cycles of the layer by itself; its map of dilations is made before and not counted."""
    layers = [
        Convolution(name="d", input="input", channels=1, depth=CHANNELS, kernel=1, limits=(0, _REACH)),
        Convolution(
            name="y", input="input", channels=CHANNELS, depth=1 if depthwise else CHANNELS, kernel=3, group=0,
            depthwise=depthwise, dilation="d" if dilated else None,
        ),
    ]  # fmt: skip
    header = Header(input_shape=(CHANNELS, SIDE, SIDE), input_group=0, groups=(Group(0.1, -128),),
                    layers=tuple(layers if dilated else layers[1:]), outputs=("y",))  # fmt: skip
    calls = [
        call for call in modelled(with_random_numbers(header, spread=False), engine, gb_s=gb_s) if "y" in call.layers
    ]
    return calls[-1].last - calls[0].first
