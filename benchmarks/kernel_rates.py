"""Rates of single layers: GOP/s, share of the multiplier's peak, and onnxruntime on the same layer in turns.

One thread. A layer is compiled as a network of its own; its time is the sum of its steps without the layout changes at
the border, which a whole network has once. int8 layers take float and give float: quantise, product, scale.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

os.environ["TVM_NUM_THREADS"] = "1"

import common
import layer_graphs as graphs
import numpy as np
import onnx
import onnxruntime
import tvm
from tvm.script.ir_builder import tirx as T

from edgevision import target as targets
from edgevision.compiler.kernels import emit, x86
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import Simd, simd_of, tvm_target
from edgevision.graph import ir
from edgevision.graph.integer import integerize
from edgevision.machine import resolve

#: (rows, depth, channels): linear layers of DeiT and Swin, pointwise convolutions of CAS-ViT XS.
GEMMS = [
    (197, 192, 192), (197, 192, 768), (197, 768, 192), (197, 384, 384), (197, 384, 1152), (197, 384, 1536),
    (197, 1536, 384), (3136, 96, 384), (784, 192, 768), (49, 768, 3072), (3136, 48, 192), (784, 56, 224),
    (196, 112, 448), (49, 220, 880),
]  # fmt: skip
#: (height and width, channels) of the 3x3 depthwise convolutions of CAS-ViT XS.
DEPTHWISE = [(56, 48), (28, 56), (14, 112), (7, 220)]
#: Seconds of one block of runs: long against the clock, short against the scheduler's slices.
BLOCK = 2e-4


def peak_kernel(simd: Simd, *, integer: bool, steps: int = 4096) -> tuple[Any, int]:
    """A loop of multiply-accumulates that never leaves the registers, and its operations."""
    chains = 12
    kind = "int32" if integer else "float32"
    with emit.kernel("peak", [("values", 16 * simd.lanes, kind)]) as (buffers, made):
        acc = emit.Tile(chains, simd.lanes, kind)
        x, y = (emit.named(emit.load(buffers[0], i * simd.lanes, simd.lanes)) for i in range(2))
        for i in range(chains):
            acc.set(i, x)
        with T.serial(steps):
            for i in range(chains):
                if integer:
                    left, right = (T.reinterpret(f"int8x{4 * simd.lanes}", v) for v in (x, y))
                    acc.set(i, x86.add_products(acc.get(i), left, right, simd.lanes, 4))
                else:
                    acc.set(i, acc.get(i) * x + y)
        for i in range(chains):
            emit.store(buffers[0], i * simd.lanes, acc.get(i), simd.lanes)
    return made[0], chains * steps * simd.lanes * (8 if integer else 2)


class Ours:
    """The steps of a one-layer network, each with tensors of its own."""

    def __init__(self, model: onnx.ModelProto, target: Any) -> None:
        described = tvm_target(target)
        builder = lower(integerize(ir.read(model)), simd_of(target), described)
        self.operations = 2 * sum(call.macs for call in builder.calls)
        module = tvm.tirx.build(
            tvm.IRModule({name: source.function() for name, source in builder.kernels.items()}), target=described
        )
        storages = [
            tvm.runtime.tensor(np.resize(s.array, s.elements) if s.array is not None else np.ones(s.elements, s.dtype))
            for s in builder.storages
        ]
        self._steps = [
            (module, call.kernel, [storages[s] for s in call.storages])
            for call in builder.calls
            if call.family != "layout"
        ]

    def seconds(self, number: int) -> float:
        """Mean time of one run over `number` of them."""
        return sum(evaluated(module, name, arguments, number) for module, name, arguments in self._steps)


def evaluated(module: Any, name: str, arguments: list[Any], number: int) -> float:
    """Mean seconds of one call."""
    return float(module.time_evaluator(name, tvm.cpu(), number=number, repeat=1)(*arguments).results[0])


def onnxruntime_seconds(
    model: onnx.ModelProto, given: Mapping[str, np.ndarray] | None = None
) -> Callable[[int], float]:
    """Mean time of one run of onnxruntime, its tensors bound once.

    Args:
        given: inputs by name, float32; normal numbers for those that are not there.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng, binding, known = np.random.default_rng(0), session.io_binding(), given or {}
    for entry in session.get_inputs():
        drawn = rng.standard_normal(entry.shape, np.float32)
        value = onnxruntime.OrtValue.ortvalue_from_numpy(known.get(entry.name, drawn))
        binding.bind_ortvalue_input(entry.name, value)
    result = np.empty(session.get_outputs()[0].shape, np.float32)
    binding.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(result))

    def seconds(number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            session.run_with_iobinding(binding)
        return (time.perf_counter() - start) / number

    return seconds


def in_turns(contenders: dict[str, Callable[[int], float]], rounds: int, quantile: float = 0.25) -> dict[str, float]:
    """Seconds of each contender, a block of each per round: the lower quartile, as a scheduler only adds."""
    number = {name: max(1, int(BLOCK / max(run(3), 1e-7))) for name, run in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            taken[name].append(run(number[name]))
    return {name: float(np.quantile(times, quantile)) for name, times in taken.items()}


def main() -> None:
    """Time every family over its shapes and print a table."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--target", default="host", help="a target this machine can run")
    parser.add_argument("--families", nargs="+", default=["fp32", "int8", "depthwise"])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--alone", action="store_true", help="leave onnxruntime out")
    asked = parser.parse_args()
    target = resolve(targets.load(asked.target))
    simd = simd_of(target)
    layers: list[tuple[str, tuple[int, ...], onnx.ModelProto, dict[str, onnx.ModelProto]]] = []
    for shape in GEMMS:
        exact = graphs.gemm_float32(*shape)
        layers.append(("fp32", shape, exact, {"float32": exact}))
        qdq = graphs.gemm_qdq(*shape)
        layers.append(("int8", shape, qdq, {"qdq": qdq, "dynamic": graphs.gemm_dynamic(*shape)}))
    for size, channels in DEPTHWISE:
        exact = graphs.depthwise_float32(size, channels)
        layers.append(("depthwise", (size, size, channels), exact, {"float32": exact}))
    rows = []
    for family in asked.families:
        integer = family == "int8"
        peak, peak_operations = 0.0, 0
        contenders: dict[str, Callable[[int], float]] = {}
        if not integer or simd.dot == "vnni":
            function, peak_operations = peak_kernel(simd, integer=integer)
            module = tvm.tirx.build(tvm.IRModule({"peak": function}), target=tvm_target(target))
            values = tvm.runtime.tensor(np.ones(16 * simd.lanes, "int32" if integer else "float32"))
            contenders["peak"] = lambda n, m=module, v=values: evaluated(m, "peak", [v], n)
        for kind, shape, mine, theirs in layers:
            if kind != family:
                continue
            ours = Ours(mine, target)
            contenders["ours"] = ours.seconds
            if not asked.alone:
                contenders.update({f"onnxruntime {name}": onnxruntime_seconds(m) for name, m in theirs.items()})
            took = in_turns(contenders, asked.rounds)
            peak = peak_operations / took["peak"] if "peak" in took else 0.0
            rate = ours.operations / took["ours"]
            row: dict[str, Any] = {"family": family, "shape": shape, "gop_s": rate / 1e9, "us": took["ours"] * 1e6}
            row["share_of_peak"] = rate / peak if peak else None
            peers = {name: s * 1e6 for name, s in took.items() if name.startswith("onnxruntime")}
            row["peers_us"], row["ratio"] = peers, min(peers.values()) / row["us"] if peers else None
            rows.append(row)
            share = f"{100 * rate / peak:5.1f} %" if peak else "      -"
            against = "  ".join(f"{name} {us:8.1f} us" for name, us in peers.items())
            ratio = f"  ratio {row['ratio']:.2f}" if peers else ""
            text = "x".join(map(str, shape))
            print(
                f"{family:9s} {text:14s} {row['us']:8.1f} us {rate / 1e9:7.1f} GOP/s {share}  {against}{ratio}",
                flush=True,
            )
        ratios = [row["ratio"] for row in rows if row["family"] == family and row["ratio"]]
        if ratios:
            print(f"{family}: geomean {np.exp(np.mean(np.log(ratios))):.3f}, least {min(ratios):.3f}")
    common.write(asked.out, "edgevision.bench.kernels/1", {"target": target.name, "layers": rows})


if __name__ == "__main__":
    main()
