"""Depthwise square deformable layers: against our plain depthwise kernel and onnxruntime's DeformConv, in turns.

One thread, the maps of the decoder of CoDeNet's configuration a and one larger. Dilations are drawn from 0 to 7 for
every pixel, the worst map there is for branches and caches, or for every tile of 4x4 pixels, as a network that follows
objects makes them. Times are of the layer's kernel alone, without layout changes.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

os.environ["TVM_NUM_THREADS"] = "1"

import common
import layer_graphs as graphs
import numpy as np
import onnx
import tvm
from kernel_rates import evaluated, in_turns, onnxruntime_seconds

from edgevision import target as targets
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.graph import ir
from edgevision.graph.integer import integerize
from edgevision.machine import resolve

#: (height and width, channels).
SHAPES = [(8, 1024), (16, 256), (32, 128), (64, 64)]
#: Bits of the weights of each kind of layer; 0 of floats.
KINDS = {"float32": 0, "int8": 8, "int4": 4}
#: Pixels across the tiles of one dilation.
MAPS = {"each pixel": 1, "tiles": 4}
#: Targets of the design: at most so much slower than a plain layer, at least so much faster than DeformConv.
MOST_SLOWDOWN, LEAST_SPEEDUP = 2.0, 10.0


def dilations(size: int, tile: int) -> np.ndarray:
    """One of 0 to 7 for every tile of so many pixels."""
    drawn = np.random.default_rng(0).integers(0, 8, (-(-size // tile),) * 2)
    return drawn.repeat(tile, axis=0).repeat(tile, axis=1)[:size, :size]


def kernel_seconds(model: onnx.ModelProto, family: str, target: Any, tile: int = 1) -> Callable[[int], float]:
    """Mean time of the one kernel of `family` the network `model` compiles to."""
    described = tvm_target(target)
    builder = lower(integerize(ir.read(model)), simd_of(target), described)
    (call,) = (call for call in builder.calls if call.family == family)
    source = builder.kernels[call.kernel]
    module = tvm.tirx.build(tvm.IRModule({call.kernel: source.function()}), target=described)
    rng = np.random.default_rng(0)
    arrays = []
    for index in call.storages:
        storage = builder.storages[index]
        if storage.array is not None:
            arrays.append(storage.array)
        elif storage.dtype == "uint8":
            # One byte per pixel is the map.
            maps = family == "square" and storage.elements == source.spec.window.height * source.spec.window.width
            drawn = dilations(source.spec.window.height, tile) if maps else rng.integers(0, 256, storage.elements)
            arrays.append(drawn.reshape(-1).astype(np.uint8))
        else:
            arrays.append(rng.standard_normal(storage.elements).astype(storage.dtype))
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arrays]
    return lambda number: evaluated(module, call.kernel, tensors, number)


def offsets(size: int) -> np.ndarray:
    """Offsets (1, 18, size, size) of DeformConv that move its taps as `dilations` for every pixel."""
    grid = np.array([axis for u in (-1, 0, 1) for v in (-1, 0, 1) for axis in (u, v)], np.float32)
    return ((dilations(size, 1) - 1) * grid.reshape(1, -1, 1, 1)).astype(np.float32)


def main() -> None:
    """Time every shape, print and write both ratios."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--target", default="host", help="a target this machine can run")
    parser.add_argument("--rounds", type=int, default=25)
    asked = parser.parse_args()
    target = resolve(targets.load(asked.target))
    rows = []
    for size, channels in SHAPES:
        deform_conv = onnxruntime_seconds(graphs.square_as_deform_conv(size, channels), {"D": offsets(size)})
        contenders: dict[str, Callable[[int], float]] = {"deform_conv": deform_conv}
        for kind, bits in KINDS.items():
            layers = [graphs.square_float32(size, channels), graphs.depthwise_float32(size, channels)]
            if bits:
                layers = [graphs.depthwise_qdq(size, channels, bits, deformed=deformed) for deformed in (True, False)]
            for name, tile in MAPS.items():
                contenders[f"{kind} {name}"] = kernel_seconds(layers[0], "square", target, tile)
            contenders[f"{kind} plain"] = kernel_seconds(layers[1], "depthwise", target)
        took = {name: 1e6 * seconds for name, seconds in in_turns(contenders, asked.rounds).items()}
        for kind, name in itertools.product(KINDS, MAPS):
            us, plain, theirs = took[f"{kind} {name}"], took[f"{kind} plain"], took["deform_conv"]
            row = {"weights": kind, "dilations": name, "shape": (size, size, channels), "us": us, "plain_us": plain,
                   "deform_conv_us": theirs, "times_plain": us / plain,
                   "faster_than_deform_conv": theirs / us}  # fmt: skip
            rows.append(row)
            ratios = f"{us / plain:5.2f} of plain  {theirs / us:6.1f} x DeformConv"
            print(f"{kind:8s} {name:10s} {size:3d}x{size}x{channels:<5d} {us:8.1f} us  {ratios}", flush=True)
    worst = {"times_plain": max(r["times_plain"] for r in rows),
             "faster_than_deform_conv": min(r["faster_than_deform_conv"] for r in rows)}  # fmt: skip
    missed = [f"{r['weights']} {r['dilations']} {r['shape']}" for r in rows
              if r["times_plain"] > MOST_SLOWDOWN or r["faster_than_deform_conv"] < LEAST_SPEEDUP]  # fmt: skip
    common.write(asked.out, "edgevision.bench.square/1", {"layers": rows, "worst": worst, "missed": missed})


if __name__ == "__main__":
    main()
