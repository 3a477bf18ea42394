"""One build of the engine: sizes from a target, checked together, and the header the C++ sources are compiled with."""

from __future__ import annotations

import hashlib

import msgspec

from edgevision.errors import Unsupported, UsageError
from edgevision.graph.sampling import LARGEST_DILATION
from edgevision.target import Engine, load, names

#: The interface of sources, program and registers; a program of another version is refused.
VERSION = 1
#: Products of a byte and a 5-bit weight that fit the 17 bits which one of two packed sums has.
_MOST_LANES = 32


def hardware(target: str) -> Engine:
    """The engine of `target`.

    Raises:
        Unsupported: the target has none.
        UsageError: unknown target, or sizes the sources cannot be built with; all reasons are named.
    """
    engine = load(target).engine
    if engine is None:
        having = [name for name in names() if load(name).engine is not None]
        raise Unsupported(f"target '{target}' has no engine", fix=f"one of: {', '.join(having)}")
    return checked(engine, f"[engine] of target '{target}'")


def checked(engine: Engine, where: str) -> Engine:
    """Return `engine` when the sources can be built with it.

    Raises:
        UsageError: they cannot; all reasons are named.
    """
    reasons = []
    vector_bits = engine.lanes * 8
    if engine.lanes not in (8, 16, _MOST_LANES):
        reasons.append(f"lanes: expected 8, 16 or {_MOST_LANES}, got {engine.lanes}")
    elif engine.columns < 1 or engine.columns % engine.lanes:
        reasons.append(f"columns: expected a multiple of {engine.lanes} lanes, got {engine.columns}")
    if engine.scale_lanes < 1 or engine.lanes % engine.scale_lanes:
        reasons.append(f"scale_lanes: expected a divisor of {engine.lanes} lanes, got {engine.scale_lanes}")
    if engine.axi_bits not in (64, 128) or vector_bits % engine.axi_bits:
        reasons.append(f"axi_bits: expected 64 or 128 in a vector of {vector_bits} bits, got {engine.axi_bits}")
    elif engine.burst_beats < 2 * vector_bits // engine.axi_bits or engine.burst_beats > 256:
        reasons.append(f"burst_beats: expected two vectors to 256 beats, got {engine.burst_beats}")
    for name in ("line_rows", "weight_blocks"):
        size = getattr(engine, name)
        if size < 2 or size & (size - 1):
            reasons.append(f"{name}: expected a power of two, got {size}")
    if engine.line_rows < 2 * LARGEST_DILATION + 2:
        reasons.append(f"line_rows: expected {2 * LARGEST_DILATION + 2} or more, got {engine.line_rows}")
    if engine.tile_vectors < 2 * engine.planes:
        reasons.append(f"tile_vectors: expected two pixels of {engine.planes} planes, got {engine.tile_vectors}")
    if reasons:
        raise UsageError("the engine cannot be built with these sizes", where=where, reasons=reasons)
    return engine


def header_text(engine: Engine) -> str:
    """`engine_config.h`."""
    sizes = {
        "AXI_BITS": engine.axi_bits, "SUM_BITS": engine.sum_bits, "LANES": engine.lanes, "COLUMNS": engine.columns,
        "SCALE_LANES": engine.scale_lanes, "LINE_ROWS": engine.line_rows, "LINE_VECTORS": engine.line_vectors,
        "WEIGHT_BLOCKS": engine.weight_blocks, "MAX_PLANES": engine.planes, "MAX_GROUPS": engine.groups,
        "TILE_VECTORS": engine.tile_vectors,
    }  # fmt: skip
    lines = ["// Generated from a target; see targets/*.toml.", "#pragma once"]
    # A macro, because it stands in pragmas.
    lines.append(f"#define BURST_BEATS {engine.burst_beats}")
    lines += [f"const int {name} = {value};" for name, value in sizes.items()]
    return "\n".join(lines) + "\n"


def fingerprint(engine: Engine) -> str:
    """Eight hex digits of everything a program depends on; a program runs on engines with its own only."""
    fields = msgspec.structs.asdict(engine)
    for name in ("part", "clock_mhz", "dsp", "bram36", "lut", "ff"):
        del fields[name]
    text = f"{VERSION} " + " ".join(f"{name}={fields[name]}" for name in sorted(fields))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
