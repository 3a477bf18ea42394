"""What lowering once got wrong, and what it must refuse: outputs that share storages, odd biases, ranks and windows."""

import numpy as np
import pytest
from helpers.graphs import agrees, array, expected, model_of, node, quantized, weight
from helpers.walking import HOST, walk
from onnx import TensorProto, helper

from edgevision import compiler
from edgevision.errors import Unsupported
from edgevision.graph import reference

STEP = {"s": np.float32(0.03), "z": np.uint8(100)}

SHARED = {
    "the image itself": ([node("Identity", ["x"], ["y"])], ("y",)),
    "a result and its reshape": (
        [node("Relu", ["x"], ["y"]), node("Flatten", ["y"], ["b"])], ("b", "y"),
    ),
    "a result twice": ([node("Relu", ["x"], ["a"]), node("Identity", ["a"], ["y"])], ("a", "y")),
    "a constant image": ([node("Relu", ["x"], ["y"]), node("Identity", ["k"], ["b"])], ("y", "b")),
    "the input under its own name": ([node("Relu", ["x"], ["y"])], ("y", "x")),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(SHARED))
def test_outputs_that_are_one_tensor_are_each_in_onnx_order(case):
    nodes, outputs = SHARED[case]
    model = model_of(nodes, (2, 3, 4, 5), outputs, k=array(1, 2, 3, 4))
    for value in model.graph.output:  # shape inference leaves an output that is an input without a shape
        if value.name == "x":
            value.CopyFrom(model.graph.input[0])
    agrees(model, array(2, 3, 4, 5))


def test_integer_result_returned_twice():
    nodes = [node("ArgMax", ["x"], ["y"], axis=1), node("Identity", ["y"], ["b"])]
    agrees(model_of(nodes, (1, 3, 4, 5), ("y", "b"), TensorProto.INT64), array(1, 3, 4, 5))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (1,), (6, 1), (6, 6)])
def test_gemm_bias_of_any_shape(shape):
    model = model_of([node("Gemm", ["x", "w", "b"], ["y"])], (6, 5), w=array(5, 6), b=array(*shape))
    agrees(model, array(6, 5))


def test_average_over_padding_counts_no_tap_behind_the_padding():
    attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 0], "strides": [2, 2], "ceil_mode": 1}
    agrees(model_of([node("AveragePool", ["x"], ["y"], count_include_pad=1, **attributes)], (1, 4, 6, 6)),
           array(1, 4, 6, 6))  # fmt: skip


def test_shape_of_a_static_tensor_is_a_constant():
    agrees(model_of([node("Shape", ["x"], ["n"]), node("Reshape", ["x", "n"], ["y"])], (1, 2, 3, 4)), array(1, 2, 3, 4))


def exact(nodes, shape, **constants):
    """Compiled bits are the reference's; the reference is onnxruntime but for single steps."""
    model = model_of([*nodes, *quantized("c", "y", "s2")], shape, **{**STEP, "s2": np.float32(0.1), **constants})
    x = array(*shape)
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert np.array_equal(got, wanted)
    assert np.abs(wanted - expected(model, x)[0]).max() < 0.11
    assert len(np.unique(wanted)) > 3


def test_int32_bias_behind_a_dequantizer_is_not_lost():
    made, constants = weight("w", 5, 4, 3, 3)
    bias = {"bi": np.arange(5, dtype=np.int32) * 4000 - 9000, "bs": np.float32(0.001)}
    nodes = [*quantized("x", "a"), *made, node("DequantizeLinear", ["bi", "bs"], ["b"]),
             node("Conv", ["a", "w", "b"], ["c"])]  # fmt: skip
    exact(nodes, (1, 4, 6, 6), **constants, **bias)


@pytest.mark.parametrize(("shape", "kernel", "group"), [((1, 4, 9), (5, 4, 3), 1), ((1, 80, 4, 4), (80, 2, 3, 3), 40)])
def test_byte_convolution_of_one_dimension_or_many_groups(shape, kernel, group):
    made, constants = weight("w", *kernel)
    exact([*quantized("x", "a"), *made, node("Conv", ["a", "w"], ["c"], group=group)], shape, **constants)


@pytest.mark.parametrize("shape", [(1, 4, 6, 6), (3, 6)])
def test_byte_matmul_of_any_rank(shape):
    made, constants = weight("w", 6, 5, axis=1)
    exact([*quantized("x", "a"), *made, node("MatMul", ["a", "w"], ["c"])], shape, **constants)


def test_byte_product_of_operands_that_both_broadcast():
    means = [node("ReduceMean", ["x", axes], [name]) for axes, name in (("hw", "m"), ("channel", "n"))]
    nodes = [*means, *quantized("m", "a"), *quantized("n", "b"), node("Mul", ["a", "b"], ["c"])]
    model = {"hw": np.array([2, 3]), "channel": np.array([1]), "s": np.float32(0.01)}
    graph = model_of([*nodes, *quantized("c", "y", "s2")], (2, 4, 3, 3), **{**STEP, **model, "s2": np.float32(0.005)})
    x = array(2, 4, 3, 3)
    assert np.array_equal(walk(graph, x)[0], reference.run(graph, x)[0])


def test_grouped_convolution_into_one_scale_per_channel():
    points = {"s2": np.linspace(0.05, 0.1, 6, dtype=np.float32), "z2": np.arange(0, 240, 40).astype(np.uint8)}
    nodes = [node("Conv", ["x", "k"], ["c"], group=2), *quantized("c", "y", "s2", "z2", axis=1)]
    model = model_of(nodes, (1, 4, 5, 5), k=array(6, 2, 1, 1, seed=2), **points)
    x = array(1, 4, 5, 5)
    assert np.abs(walk(model, x)[0] - expected(model, x)[0]).max() <= 0.1
    assert np.abs(expected(model, x)[0]).max() > 0.1


def test_bytes_turned_to_planes_stay_bytes():
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("Transpose", ["q"], ["t"], perm=[3, 1, 0, 2]),
        node("DequantizeLinear", ["t", "s", "z"], ["y"]),
    ]
    agrees(model_of(nodes, (2, 3, 4, 5), **STEP), array(2, 3, 4, 5))


@pytest.mark.parametrize("op", ["Sigmoid", "Gelu", "HardSwish", "Tanh"])
def test_float_functions_behind_a_dequantizer_round_one_by_one_without_any_integer_operator(op):
    model = model_of([*quantized("x", "a"), node(op, ["a"], ["y"])], (2, 40), **STEP)
    x = array(2, 40)
    assert np.array_equal(walk(model, x)[0], reference.run(model, x)[0])


BYTES = [node("QuantizeLinear", ["x", "s", "z"], ["q"], name="first")]
LAST = [node("DequantizeLinear", ["m", "s", "z"], ["y"], name="last")]
REFUSED = {
    "first: expected one scale": (
        [*quantized("x", "y", "s3", "z3", axis=2)], {"s3": np.ones(6, np.float32), "z3": np.zeros(6, np.uint8)},
    ),
    "last: scale or zero point differ": (
        [*BYTES, node("DequantizeLinear", ["q", "s2", "z"], ["y"], name="last")], {"s2": np.float32(0.5)},
    ),
    "Max reads bytes": ([*BYTES, node("Max", ["q", "q"], ["m"], name="middle"), *LAST], {}),
    "Concat reads bytes": (
        [*BYTES, node("QuantizeLinear", ["x", "s2", "z"], ["r"]),
         node("Concat", ["q", "r"], ["m"], name="middle", axis=1), *LAST], {"s2": np.float32(0.5)},
    ),
    "above zero": ([*quantized("x", "y", "s0")], {"s0": np.float32(0)}),
    "got another type or a constant": ([*quantized("k", "a"), node("Add", ["x", "a"], ["y"])], {"k": array(1)}),
    "their.domain::Relu": ([node("Relu", ["x"], ["y"], domain="their.domain")], {}),
    "begins outside the image": (
        [node("MaxPool", ["x"], ["y"], kernel_shape=[1, 2], strides=[1, 3], pads=[0, 1, 0, 0], ceil_mode=1)], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", sorted(REFUSED))
def test_refused_by_check_and_compile_alike(reason):
    nodes, constants = REFUSED[reason]
    model = model_of(nodes, (1, 4, 6, 8) if "outside" in reason else (1, 4, 6, 6), **STEP, **constants)
    if reason.startswith("their"):
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6)))
    with pytest.raises(Unsupported) as compiled:
        compiler.compile_graph(model, HOST)
    with pytest.raises(Unsupported) as checked:
        compiler.check(model, HOST).require(HOST)
    assert compiled.value.reasons == checked.value.reasons
    wanted = reason.removeprefix("first: ").removeprefix("last: ")
    assert any(wanted in line for line in compiled.value.reasons)


def test_old_opset_is_refused():
    with pytest.raises(Unsupported, match="opset 13 or later, got 9"):
        compiler.check(model_of([node("Relu", ["x"], ["y"])], (1, 4), opset=9), HOST)
