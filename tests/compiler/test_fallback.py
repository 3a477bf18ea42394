"""Operators without a generator: right whatever the lengths, shared when equal, and on vectors."""

import time

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.execution import ORIGIN, run_on
from helpers.walking import HOST
from onnx import TensorProto, helper, numpy_helper

from edgevision import compiler
from edgevision.bundle import load, write
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.device.walk import Walk
from edgevision.graph import ir
from edgevision.graph.integer import integerize

node = helper.make_node


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def model_of(nodes, shape, **constants):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20)]
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def product(depth, left, right):
    """Both sides computed, so that no dense kernel takes it."""
    return [
        node("Split", ["x", "sizes"], ["a", "b"], axis=-1), node("Transpose", ["b"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["a", "t"], ["y"]),
    ], (left, right, 2 * depth), {"sizes": np.array([depth, depth])}  # fmt: skip


CASES = {
    "product of prime lengths": product(17, 2, 13),
    "product of vectors": product(32, 3, 64),
    "softmax along memory": ([node("Softmax", ["x"], ["y"], axis=-1)], (2, 5, 37), {}),
    "softmax across memory": ([node("Softmax", ["x"], ["y"], axis=1)], (2, 5, 6, 7), {}),
    "mean along memory": ([node("ReduceMean", ["x", "a"], ["y"])], (3, 7, 50), {"a": np.array([-1])}),
    "largest of an image": ([node("ReduceMax", ["x", "a"], ["y"])], (2, 5, 9, 9), {"a": np.array([2, 3])}),
    "length of a vector": ([node("ReduceL2", ["x", "a"], ["y"])], (2, 16, 5, 5), {"a": np.array([1])}),
    "sum of everything": ([node("ReduceSum", ["x"], ["y"], keepdims=1)], (2, 3, 40), {}),
    "three dimensions": ([node("Conv", ["x", "w"], ["y"], pads=[1] * 6)], (1, 3, 5, 6, 17),
                         {"w": array(4, 3, 3, 3, 3)}),
    "transposed": ([node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])], (1, 4, 5, 9), {"w": array(4, 3, 2, 2)}),
    "resize": ([node("Resize", ["x", "", "s"], ["y"], mode="linear")], (1, 3, 9, 5),
               {"s": np.array([1, 1, 2, 3], np.float32)}),
    "gather": ([node("Gather", ["x", "i"], ["y"], axis=2)], (1, 6, 9, 9), {"i": np.array([0, 8, 3])}),
    "reflected border": ([node("Pad", ["x", "p"], ["y"], mode="reflect")], (1, 3, 6, 7),
                         {"p": np.array([0, 0, 2, 1, 0, 0, 2, 3])}),
    "instance norm": ([node("InstanceNormalization", ["x", "w", "b"], ["y"])], (2, 6, 9, 9),
                      {"w": array(6), "b": array(6, seed=1)}),
    "error function": ([node("Erf", ["x"], ["y"])], (2, 5, 33), {}),
    "exponential": ([node("Exp", ["x"], ["y"])], (2, 5, 33), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
def test_agrees_with_onnxruntime(case):
    nodes, shape, constants = CASES[case]
    model = model_of(nodes, shape, **constants)
    x = 3 * array(*shape, seed=5)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    got = run_on(compiler.compile_graph(model, HOST), x)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5)


def test_equal_operators_share_a_kernel_whatever_their_tensors_are_called():
    nodes = [
        node("Softmax", ["x"], ["first"], axis=-1), node("Sigmoid", ["first"], ["other"]),
        node("Softmax", ["other"], ["a_longer_name"], axis=-1), node("Sigmoid", ["a_longer_name"], ["y"]),
    ]  # fmt: skip
    graph = integerize(ir.read(model_of(nodes, (2, 5, 37))))
    builder = lower(graph, simd_of(HOST), tvm_target(HOST))
    calls = [call.kernel for call in builder.calls if call.family == "fallback"]
    assert len(calls) == 2 and len(set(calls)) == 1


@pytest.mark.parametrize("rows", [193, 197])
def test_products_run_on_vectors(rows, tmp_path):
    """Far from what a core does, and far above what it does one product at a time."""
    nodes, shape, constants = product(64, 3, rows)
    program = compiler.compile_graph(model_of(nodes, shape, **constants), HOST)
    results = [program.tensors[step.tensors[-1]].shape for step in program.steps]
    write(program, ORIGIN, tmp_path / "b")
    best = float("inf")
    with Walk(load(tmp_path / "b")) as walk:
        walk.run()
        for _ in range(10):
            begun = time.perf_counter()
            walk.step(results.index((3, rows, rows)))
            best = min(best, time.perf_counter() - begun)
    assert 2 * 3 * rows * rows * 64 / best > 4e9
