"""The authors' accelerator in this project's models, beside what they published.

Time: their engine computes 16 x 16 products, or 16 windows, a cycle at 250 MHz, and does not overlap that with memory.
The memory's rate and the cost of a call are fitted to configurations a and c; b, d and e are predicted. Layers as their
notebook runs them: all convolutions but the first. Area: the sizes of their buffers in this engine's model of area.
"""

from __future__ import annotations

import msgspec
import numpy as np

from benchmarks.fpga.codenet import codenet_header
from edgevision.engine.area import Use, use_of
from edgevision.engine.checks import tensors_of
from edgevision.engine.hardware import checked, hardware
from edgevision.engine.network import INPUT, Convolution, Header
from edgevision.target import Engine

#: Milliseconds of the convolutions alone, from the measured notebook in their repository.
CONVOLUTIONS_MS = {"codenet_a": 19.7, "codenet_b": 19.8, "codenet_c": 66.0, "codenet_d": 124.3, "codenet_e": 124.0}
FITTED = ("codenet_a", "codenet_c")
#: Table 5 of arXiv 2006.08357: used of an XCZU3EG.
RESOURCES = {"LUT": 34144, "FF": 41827, "BRAM36": 216, "DSP": 360}
_MHZ = 250


def engine() -> Engine:
    """Their sizes: 16 x 16 products, 16 rows of 16 KiB (theirs are 15), weights of 512 x 1024 channels."""
    sizes = {"columns": 16, "scale_lanes": 16, "weight_blocks": 2048, "planes": 64, "groups": 64, "tile_vectors": 128}
    return checked(msgspec.structs.replace(hardware("ultra96"), **sizes), "the authors' sizes")


def uses() -> list[Use]:
    """What this project's model of area says of their sizes."""
    return use_of(engine())


def work(header: Header) -> tuple[float, float, int]:
    """Milliseconds of computing, megabytes moved, and calls."""
    tensors = tensors_of(header)
    cycles = moved = calls = 0
    for layer in header.layers:
        if not isinstance(layer, Convolution) or layer.input == INPUT:
            continue
        (channels, height, width), given = tensors[layer.name].shape, tensors[layer.input].shape
        out, depth = -(-channels // 16), -(-layer.depth // 16)
        cycles += height * width * out * (1 if layer.depthwise else depth * layer.kernel**2)
        moved += int(np.prod(given)) + channels * height * width + channels * layer.depth * layer.kernel**2 // 2
        calls += 1
    return cycles / _MHZ / 1e3, moved / 1e6, calls


def times() -> dict[str, float]:
    """Milliseconds of every configuration, modelled."""
    found = {name: work(codenet_header(name)) for name in CONVOLUTIONS_MS}
    left = [CONVOLUTIONS_MS[name] - found[name][0] for name in FITTED]
    per_mb, per_call = np.linalg.solve([found[name][1:] for name in FITTED], left)
    return {name: float(ms + mb * per_mb + calls * per_call) for name, (ms, mb, calls) in found.items()}
