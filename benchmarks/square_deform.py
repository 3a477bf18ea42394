"""Depthwise square deformable layers: against our plain depthwise kernel and onnxruntime's DeformConv, in turns.

One thread, the maps of the decoder of CoDeNet's configuration a and one larger; dilations are drawn from 0 to 7, so
that most windows of the small maps leave the frame. Times are of the layer's kernel alone, without layout changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

os.environ["TVM_NUM_THREADS"] = "1"

import common
import layer_graphs as graphs
import numpy as np
import onnx
import onnxruntime
import tvm
from kernel_rates import evaluated, in_turns

from edgevision import target as targets
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.graph import ir
from edgevision.graph.integer import integerize
from edgevision.machine import resolve

#: (height and width, channels).
SHAPES = [(8, 1024), (16, 256), (32, 128), (64, 64)]
#: Targets of the design: at most so much slower than a plain layer, at least so much faster than DeformConv.
MOST_SLOWDOWN, LEAST_SPEEDUP = 2.0, 10.0


def kernel_seconds(model: onnx.ModelProto, family: str, target: Any) -> Callable[[int], float]:
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
            arrays.append(rng.integers(0, 8 if maps else 256, storage.elements).astype(np.uint8))
        else:
            arrays.append(rng.standard_normal(storage.elements).astype(storage.dtype))
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arrays]
    return lambda number: evaluated(module, call.kernel, tensors, number)


def onnxruntime_seconds(model: onnx.ModelProto) -> Callable[[int], float]:
    """Mean time of one run of onnxruntime; offsets are whole pixels."""
    import time

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng, binding = np.random.default_rng(0), session.io_binding()
    for given in session.get_inputs():
        x = rng.standard_normal(given.shape, np.float32)
        if given.name == "D":
            grid = np.array([axis for u in (-1, 0, 1) for v in (-1, 0, 1) for axis in (u, v)], np.float32)
            size = given.shape[2]
            x = (rng.integers(0, 8, (1, 1, size, size)) - 1) * grid.reshape(1, -1, 1, 1)
        binding.bind_ortvalue_input(given.name, onnxruntime.OrtValue.ortvalue_from_numpy(x.astype(np.float32)))
    result = np.empty(session.get_outputs()[0].shape, np.float32)
    binding.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(result))

    def seconds(number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            session.run_with_iobinding(binding)
        return (time.perf_counter() - start) / number

    return seconds


def main() -> None:
    """Time every shape, print and write both ratios."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--target", default="host", help="a target this machine can run")
    parser.add_argument("--rounds", type=int, default=25)
    asked = parser.parse_args()
    target = resolve(targets.load(asked.target))
    rows = []
    for size, channels in SHAPES:
        contenders = {
            "float32 square": kernel_seconds(graphs.square_float32(size, channels), "square", target),
            "float32 plain": kernel_seconds(graphs.depthwise_float32(size, channels), "depthwise", target),
            "onnxruntime": onnxruntime_seconds(graphs.square_as_deform_conv(size, channels)),
        }
        for bits in (8, 4):
            for deformed, family in ((True, "square"), (False, "depthwise")):
                model = graphs.depthwise_qdq(size, channels, bits, deformed=deformed)
                name = f"int{bits} {'square' if deformed else 'plain'}"
                contenders[name] = kernel_seconds(model, family, target)
        took = {name: 1e6 * seconds for name, seconds in in_turns(contenders, asked.rounds).items()}
        for kind in ("float32", "int8", "int4"):
            slowdown, speedup = (
                took[f"{kind} square"] / took[f"{kind} plain"],
                took["onnxruntime"] / took[f"{kind} square"],
            )
            rows.append({"weights": kind, "shape": (size, size, channels), "us": took[f"{kind} square"],
                         "plain_us": took[f"{kind} plain"], "deform_conv_us": took["onnxruntime"],
                         "times_plain": slowdown, "faster_than_deform_conv": speedup})  # fmt: skip
            print(f"{kind:8s} {size:3d}x{size}x{channels:<5d} {took[f'{kind} square']:8.1f} us  {slowdown:5.2f} of plain  "
                  f"{speedup:6.1f} x DeformConv", flush=True)  # fmt: skip
    worst = {"times_plain": max(r["times_plain"] for r in rows),
             "faster_than_deform_conv": min(r["faster_than_deform_conv"] for r in rows)}  # fmt: skip
    reached = worst["times_plain"] <= MOST_SLOWDOWN and worst["faster_than_deform_conv"] >= LEAST_SPEEDUP
    common.write(asked.out, "edgevision.bench.square/1", {"layers": rows, "worst": worst, "reached": reached})


if __name__ == "__main__":
    main()
