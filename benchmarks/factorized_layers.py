"""Factorized convolutions layer by layer: our one kernel, our dense kernel, and onnxruntime's thin convolutions.

One thread, in turns, the least of each; layers of ResNet-18 at 224x224 and of the wave surrogate, ranks 1 and 4. Times
are of a layer's kernels without layout changes; onnxruntime has the better of two graphs, the body of the function,
whose groups sum the products, and three convolutions for each product. `--kinds int8` takes bytes and gives float, with
our dense kernel of bytes. The cost model's choice is judged by the two of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import common
import kernel_rates as rates
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevision import target as targets
from edgevision.compress.factorized_cost import for_floats, for_integers
from edgevision.compress.factorized_graph import CONV, Shape, as_convolutions, declare, function
from edgevision.compress.onnxgraph import finished
from edgevision.machine import resolve

#: (channels in, out, side of the input, kernel, stride).
RESNET = [(3, 64, 224, 7, 2), (64, 64, 56, 3, 1), (64, 128, 56, 3, 2), (128, 128, 28, 3, 1), (128, 256, 28, 3, 2),
          (256, 256, 14, 3, 1), (256, 512, 14, 3, 2), (512, 512, 7, 3, 1)]  # fmt: skip
SURROGATE = [(3, 16, 64, 3, 1), (16, 16, 64, 3, 1), (16, 32, 64, 3, 2), (32, 32, 32, 3, 1), (32, 64, 32, 3, 2),
             (64, 64, 16, 3, 1), (64, 128, 16, 3, 2), (128, 128, 8, 3, 1)]  # fmt: skip
RANKS = (1, 4)
#: Goals: times of onnxruntime's thin convolutions at least, layers whose choice is the faster one at least. A layer
#: whose two ways differ by less than `EQUAL` is no choice: a run on a busy machine does not tell them apart.
LEAST_SPEEDUP, LEAST_RIGHT, EQUAL = 2.0, 0.95, 0.05


@dataclass(frozen=True)
class Layer:
    """One layer: its call, and the two graphs onnxruntime may run."""

    name: str
    shape: Shape
    call: onnx.ModelProto
    plain: tuple[onnx.ModelProto, ...]
    dense: onnx.ModelProto


def layer(
    name: str, inputs: int, outputs: int, side: int, kernel: int, stride: int, rank: int, *, integer: bool
) -> Layer:
    """A layer of drawn factors, padded so that stride 1 keeps the side."""
    rng, products, pad = np.random.default_rng(0), outputs * rank, kernel // 2
    result = (side + 2 * pad - kernel) // stride + 1
    shapes = {"a": (products, inputs, 1, 1), "b": (products, 1, kernel, 1), "d": (outputs, rank, 1, kernel),
              "bias": (outputs,)}  # fmt: skip
    constants = {key: rng.standard_normal(size).astype(np.float32) for key, size in shapes.items()}
    call = helper.make_node(
        CONV, ["x", *shapes], ["y"], name="layer", domain="edgevision", products=products, group=outputs,
        row_strides=[stride, 1], column_strides=[1, stride], row_pads=[pad, 0, pad, 0], column_pads=[0, pad, 0, pad],
    )  # fmt: skip
    images = {"x": (1, inputs, side, side), "y": (1, outputs, result, result)}
    values = [helper.make_tensor_value_info(key, TensorProto.FLOAT, size) for key, size in images.items()]
    initializers = [numpy_helper.from_array(array, key) for key, array in constants.items()]
    made = helper.make_model(
        helper.make_graph([call], "layer", values[:1], values[1:], initializers),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip
    declare(made)
    made = finished(made)
    dense, ((choice),) = as_convolutions(made, lambda shape: False)
    plain = (made, as_convolutions(made, lambda shape: True)[0])
    if integer:
        made, dense = in_bytes(made), in_bytes(dense)
    return Layer(
        f"{name} {inputs}-{outputs} {side}x{side} k{kernel} s{stride} r{rank}", choice.shape, made, plain, dense
    )


def in_bytes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with the input and the first constant of its one layer in bytes, dequantised ahead of it."""
    (node,) = model.graph.node
    (weight,) = (t for t in model.graph.initializer if t.name == node.input[1])
    array = numpy_helper.to_array(weight)
    scale = np.abs(array.reshape(len(array), -1)).max(axis=1).astype(np.float32) / 127
    steps = np.rint(array / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
    constants = {"xs": np.float32(8 / 255), "xz": np.uint8(128), "wq": steps, "ws": scale,
                 "wz": np.zeros(len(array), np.int8)}  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
    ]
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.node[0].input[0], made.graph.node[0].input[1] = "xd", "wd"
    kept = [*nodes, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(kept)
    made.graph.initializer.remove(weight)
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), key) for key, a in constants.items())
    del made.graph.value_info[:]
    if any(node.domain == "edgevision" for node in made.graph.node) and not made.functions:
        made.functions.append(function(CONV))
    return finished(made)


def layers(kind: str) -> list[Layer]:
    """Every layer of a kind whose rank has fewer factors than its kernel weights."""
    made = []
    for name, shapes in (("resnet", RESNET), ("surrogate", SURROGATE)):
        for inputs, outputs, side, kernel, stride in shapes:
            for rank in RANKS:
                if rank * (inputs + 2 * kernel) < inputs * kernel**2:
                    made.append(layer(name, inputs, outputs, side, kernel, stride, rank, integer=kind == "int8"))
    return made


def right(rows: list[dict[str, Any]]) -> float:
    """Share of the layers whose choice is the faster of our two kernels, or as fast."""
    good = [row["factored"] == (row["fused_us"] < row["dense_us"]) or row["undecided"] for row in rows]
    return float(np.mean(good))


def main() -> None:
    """Time every layer, print and write it."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--target", default="host", help="a target this machine can run")
    parser.add_argument("--kinds", nargs="+", default=["fp32", "int8"], choices=["fp32", "int8"])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", default="", help="layers whose name has this in it")
    asked = parser.parse_args()
    target = resolve(targets.load(asked.target))
    rows: list[dict[str, Any]] = []
    for kind in asked.kinds:
        choose = for_floats if kind == "fp32" else for_integers
        for made in (one for one in layers(kind) if asked.only in one.name):
            contenders: dict[str, Callable[[int], float]] = {
                "fused": rates.Ours(made.call, target).seconds, "dense": rates.Ours(made.dense, target).seconds,
            }  # fmt: skip
            if kind == "fp32":
                for index, model in enumerate(made.plain):
                    contenders[f"thin{index}"] = rates.onnxruntime_seconds(model)
                contenders["theirs"] = rates.onnxruntime_seconds(made.dense)
            took = {name: 1e6 * seconds for name, seconds in rates.in_turns(contenders, asked.rounds, 0.0).items()}
            thin = min((us for name, us in took.items() if name.startswith("thin")), default=None)
            near = abs(took["fused"] - took["dense"]) <= EQUAL * took["dense"]
            row = {"kind": kind, "layer": made.name, "fused_us": took["fused"], "dense_us": took["dense"],
                   "onnxruntime_thin_us": thin, "onnxruntime_dense_us": took.get("theirs"),
                   "factored": choose(made.shape), "undecided": near, "macs": made.shape.macs,
                   "dense_macs": made.shape.dense_macs,
                   "times_thin": None if thin is None else thin / took["fused"]}  # fmt: skip
            rows.append(row)
            against = "" if thin is None else f"  {thin / took['fused']:6.2f} x onnxruntime's thin"
            chosen = "factors" if row["factored"] else "kernel"
            print(
                f"{kind} {made.name:34s} fused {took['fused']:8.1f} us  dense {took['dense']:8.1f} us  "
                f"chosen {chosen:7s}{against}", flush=True,
            )  # fmt: skip
    speedups = [row["times_thin"] for row in rows if row["times_thin"]]
    found = {"layers": rows, "right": right(rows), "goals": {"times_thin": LEAST_SPEEDUP, "right": LEAST_RIGHT}}
    if speedups:
        found["least_times_thin"] = min(speedups)
        print(
            f"onnxruntime's thin convolutions: geomean {np.exp(np.mean(np.log(speedups))):.2f}, "
            f"least {min(speedups):.2f}"
        )
    print(f"the choice is the faster one in {100 * right(rows):.0f} % of {len(rows)} layers")
    common.write(asked.out, "edgevision.bench.factorized/1", found)


if __name__ == "__main__":
    main()
