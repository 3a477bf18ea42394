"""A constant of whole steps behind a layer is added to its bytes (quant/NUMERICS.md section 4)."""

import numpy as np
import onnx
import pytest
from helpers.execution import run_on
from helpers.walking import walk
from onnx import TensorProto, helper, numpy_helper

from edgevision import compiler, target
from edgevision.graph import ir, reference, square
from edgevision.graph.integer import integerize
from edgevision.machine import resolve

SCALE, STEP, ZERO = np.float32(0.02), np.float32(0.05), 9


def layer(kind, steps, *, relu=True, channels=19, kernel=1):
    """x (1, C, 7, 9) through one layer, `steps` of the result added behind it, as bytes; and the numbers it has."""
    rng = np.random.default_rng(0)
    depth = 1 if kind in ("depthwise", "square") else channels
    outputs = 1 if kind == "one" else channels
    weight = rng.integers(-8, 8, (outputs, depth, kernel, kernel)).astype(np.int8)
    scale = rng.uniform(0.01, 0.1, outputs).astype(np.float32)
    bias = np.rint(rng.normal(0, 40, outputs))
    values = {
        "xs": SCALE, "xz": np.uint8(100), "ys": STEP, "yz": np.uint8(ZERO), "wq": weight, "ws": scale,
        "wz": np.zeros(outputs, np.int8), "b": (bias * SCALE * scale).astype(np.float32),
        "k": (np.asarray(steps)[:outputs] * STEP).astype(np.float32).reshape(1, -1, 1, 1),
        "d": np.ones((1, 1, 7, 9), np.float32),
    }  # fmt: skip
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["x", "xs", "xz"], ["q"]), make("DequantizeLinear", ["q", "xs", "xz"], ["xd"]),
        make("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
    ]  # fmt: skip
    if kind == "square":
        values["b"] = values["b"].reshape(1, -1, 1, 1)
        nodes += [square.node("xd", "d", "wd", "s", channels=outputs, name="s"), make("Add", ["s", "b"], ["t"])]
    else:
        group = channels if depth == 1 else 1
        nodes.append(make("Conv", ["xd", "wd", "b"], ["t"], name="conv", pads=[kernel // 2] * 4, group=group))
    nodes += [
        make("Add", ["t", "k"], ["u"]), make("Relu" if relu else "Identity", ["u"], ["v"]),
        make("QuantizeLinear", ["v", "ys", "yz"], ["w"]), make("DequantizeLinear", ["w", "ys", "yz"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, channels, 7, 9))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 20), helper.make_opsetid(square.DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    square.declare(model)
    return onnx.shape_inference.infer_shapes(model), values, bias


def written_out(values, bias, steps, x, relu):
    """The bytes, sum by sum, in whole numbers and binary32."""
    q = np.clip(np.rint(x * np.float32(1 / np.float64(SCALE))) + 100, 0, 255).astype(np.int64) - 100
    weight, reach = values["wq"].astype(np.int64), values["wq"].shape[2] // 2
    padded = np.pad(q[0], ((0, 0), (reach, reach), (reach, reach)))
    result = np.zeros((len(weight), 7, 9), np.int64)
    for o, i, j in np.ndindex(result.shape):
        part = padded[:, i : i + weight.shape[2], j : j + weight.shape[2]]
        part = part[o : o + 1] if weight.shape[1] == 1 else part
        acc = int((part * weight[o]).sum()) + int(bias[o])
        ratio = np.float32(np.float64(SCALE) * np.float64(values["ws"][o]) / np.float64(STEP))
        result[o, i, j] = int(np.rint(np.float32(acc) * ratio)) + ZERO + int(steps[o])
    return np.clip(result, ZERO if relu else 0, 255)


CASES = [("pointwise", 1), ("full", 3), ("depthwise", 3), ("square", 3), ("one", 1)]


@pytest.mark.parametrize(("kind", "kernel"), CASES)
# Remainders of vectors, and whole vectors that are stored four at a time.
@pytest.mark.parametrize(("relu", "channels"), [(True, 19), (False, 19), (True, 64)])
def test_the_bytes_are_those_of_every_sum_written_out(kind, kernel, relu, channels):
    rng = np.random.default_rng(1)
    steps = rng.integers(-150, 300, channels)
    model, values, bias = layer(kind, steps, relu=relu, kernel=kernel, channels=channels)
    x = rng.uniform(-2, 3, (1, channels, 7, 9)).astype(np.float32)
    wanted = written_out(values, bias, steps, x, relu)
    (got,) = reference.run(model, x)
    assert np.array_equal(np.rint(got[0] / STEP) + ZERO, wanted)
    assert len(np.unique(wanted)) > 8 and (kind == "one" or {ZERO if relu else 0, 255} <= set(wanted.ravel()))
    (compiled,) = walk(model, x)
    assert np.array_equal(compiled, got)


@pytest.mark.parametrize(("steps", "integer"), [(3.0, True), (3.01, False), (2.0**20, False), (0.0, True)])
def test_only_whole_steps_are_taken_for_them(steps, integer):
    graph = integerize(ir.read(layer("pointwise", np.full(19, steps))[0]))
    layers = [node for node in graph.nodes if node.op == "IntConv"]
    assert len(layers) == 1 and (layers[0].attributes["out"] is not None) == integer
    assert any(node.op == "Add" for node in graph.nodes) != integer


@pytest.mark.parametrize("name", ["rpi4", "zynq7020-ps", "arm64-i8mm"])
def test_the_bytes_are_the_same_on_other_architectures(name):
    rng = np.random.default_rng(2)
    x = rng.uniform(-2, 3, (1, 19, 7, 9)).astype(np.float32)
    for kind, kernel in CASES:
        model, _, _ = layer(kind, rng.integers(-150, 300, 19), kernel=kernel)
        got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
        assert np.array_equal(got, reference.run(model, x)[0]), kind
