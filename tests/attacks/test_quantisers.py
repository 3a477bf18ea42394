"""Odd quantisers: each is refused by name in `check`, or computed exactly; none falls to float unseen."""

import numpy as np
import pytest
from helpers.graphs import array, expected, model_of, node, quantized, weight
from helpers.walking import HOST, walk
from onnx import TensorProto, helper

from edgevision import compiler
from edgevision.errors import Unsupported
from edgevision.graph import reference

STEP = {"s": np.float32(0.03), "z": np.uint8(100)}
MADE, WEIGHT = weight("w", 6, 4, 3, 3)
CONV = [*quantized("x", "a"), *MADE, node("Conv", ["a", "w"], ["y"], name="layer")]


def reasons(nodes, shape=(1, 4, 6, 6), opset=20, **constants):
    model = model_of(nodes, shape, opset=opset, **{**STEP, **constants})
    with pytest.raises(Unsupported) as caught:
        compiler.check(model, HOST).require(HOST)
    return caught.value.reasons


def test_scale_computed_from_the_image():
    nodes = [
        node("ReduceMax", ["x"], ["m"], keepdims=0), node("QuantizeLinear", ["x", "m", "z"], ["q"], name="dynamic"),
        node("DequantizeLinear", ["q", "m", "z"], ["y"], name="back"),
    ]  # fmt: skip
    assert any("dynamic: the scale is not a constant" in line for line in reasons(nodes))


def test_quantise_and_dequantise_with_other_scales():
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             node("DequantizeLinear", ["q", "s2", "z"], ["y"], name="other")]  # fmt: skip
    assert reasons(nodes, s2=np.float32(0.5)) == ("other: scale or zero point differ from the quantiser's",)


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_sixteen_bit_quantisers(dtype):
    nodes = quantized("x", "y")
    assert any("8-bit" in line and np.dtype(dtype).name in line for line in reasons(nodes, opset=21, z=dtype(0)))


def test_dequantised_integers_no_quantiser_made():
    nodes = [
        node("Cast", ["x"], ["c"], to=TensorProto.UINT8),
        node("DequantizeLinear", ["c", "s", "z"], ["y"], name="d"),
    ]
    assert reasons(nodes) == ("d: dequantises a tensor no quantiser made",)


@pytest.mark.parametrize("op", ["Max", "Where"])
def test_bytes_read_by_an_operator_that_computes(op):
    inputs, extra = (["c", "q", "q"], {"c": np.array([True])}) if op == "Where" else (["q", "q"], {})
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node(op, inputs, ["m"], name="middle"),
        node("DequantizeLinear", ["m", "s", "z"], ["y"]),
    ]
    assert any(f"middle: {op} reads bytes" in line for line in reasons(nodes, **extra))


def test_activations_with_scales_along_the_rows():
    points = {"s3": np.full(6, 0.1, np.float32), "z3": np.zeros(6, np.uint8)}
    assert any("axis 2" in line for line in reasons(quantized("x", "y", "s3", "z3", axis=2), **points))


@pytest.mark.parametrize("axis", [1, 2])
def test_convolution_weights_with_scales_along_another_axis_than_the_output_channels(axis):
    made, constants = weight("w", 6, 4, 3, 3, axis=axis)
    nodes = [*quantized("x", "a"), *made, node("Conv", ["a", "w"], ["y"], name="layer")]
    assert any(f"layer: weights are quantised along axis {axis}" in line for line in reasons(nodes, **constants))


@pytest.mark.parametrize(("op", "axis", "attributes"), [("Gemm", 0, {}), ("Gemm", 1, {"transB": 1}), ("MatMul", 0, {})])
def test_linear_weights_with_scales_along_the_depth(op, axis, attributes):
    made, constants = weight("w", 6, 6, axis=axis)
    nodes = [*quantized("x", "a"), *made, node(op, ["a", "w"], ["y"], name="layer", **attributes)]
    assert any("layer: weights are quantised along axis" in line for line in reasons(nodes, (3, 6), **constants))


def test_transposed_convolution_with_scales_along_its_inputs():
    made, constants = weight("w", 4, 6, 3, 3)
    nodes = [*quantized("x", "a"), *made, node("ConvTranspose", ["a", "w"], ["y"], name="layer")]
    assert any("layer: weights are quantised along axis 0" in line for line in reasons(nodes, **constants))


def test_transposed_convolution_of_quantised_signals():
    made, constants = weight("w", 4, 6, 3, axis=1)
    nodes = [*quantized("x", "a"), *made, node("ConvTranspose", ["a", "w"], ["y"], name="layer")]
    assert any("layer: ConvTranspose of quantised" in line for line in reasons(nodes, (1, 4, 9), **constants))


def test_blocked_weights():
    constants = {"wi": np.zeros((6, 6), np.int8), "ws": np.full((6, 2), 0.1, np.float32)}
    nodes = [node("DequantizeLinear", ["wi", "ws"], ["w"], name="blocks", axis=1, block_size=3),
             node("MatMul", ["x", "w"], ["y"])]  # fmt: skip
    assert any("blocks: blocked quantisation" in line for line in reasons(nodes, (2, 6), 21, **constants))


def stored_as(kind):
    stored = helper.make_tensor("wi", kind, (6, 6), [1] * 36)
    return model_of([node("DequantizeLinear", ["wi", "s"], ["w"], name="stored"), node("MatMul", ["x", "w"], ["y"])],
                    (2, 6), opset=21, initialisers=[stored], **STEP)  # fmt: skip


def test_four_bit_weights_are_taken_and_eight_bit_floats_are_not():
    compiler.check(stored_as(TensorProto.INT4), HOST)
    with pytest.raises(Unsupported, match="stored: expected a constant of int8, uint8 or int32, got float8"):
        compiler.check(stored_as(TensorProto.FLOAT8E4M3FN), HOST)


@pytest.mark.parametrize("scale", [0.0, -0.1, np.inf, np.nan])
def test_scales_that_are_no_steps(scale):
    assert any("finite float32 scales above zero" in line for line in reasons(quantized("x", "y"), s=np.float32(scale)))


def test_a_sum_that_could_leave_int32_is_refused_with_its_channel():
    depth = 70_000
    constants = {"wi": np.full((depth, 3), 127, np.int8), "ws": np.float32(0.01)}
    constants["wi"][:, :2] = 1
    nodes = [*quantized("x", "a"), node("DequantizeLinear", ["wi", "ws"], ["w"]),
             node("MatMul", ["a", "w"], ["y"], name="deep")]  # fmt: skip
    (line,) = reasons(nodes, (1, depth), **constants)
    assert line.startswith("deep: the sum of channel 2 can reach") and "int32" in line


def test_the_deepest_sum_that_fits_does_not_overflow():
    depth = 33_000
    constants = {"wi": np.tile(np.int8([[127, -127]]), (depth, 1)), "ws": np.float32(0.001)}
    nodes = [*quantized("x", "a"), node("DequantizeLinear", ["wi", "ws"], ["w"]), node("MatMul", ["a", "w"], ["c"]),
             *quantized("c", "y", "s2")]  # fmt: skip
    model = model_of(nodes, (2, depth), **{**STEP, "z": np.uint8(0)}, **constants, s2=np.float32(300))
    x = np.stack([np.full(depth, 9, np.float32), np.zeros(depth, np.float32)])
    (got,) = walk(model, x)
    assert np.array_equal(got, reference.run(model, x)[0])
    np.testing.assert_allclose(got[0, 0], 255 * 0.03 * 127 * 0.001 * depth, rtol=0.01)


# -- odd, and understood --------------------------------------------------------------------------------------------


def exact(nodes, shape, steps=1, dtype=TensorProto.FLOAT, x=None, **constants):
    model = model_of(nodes, shape, dtype=dtype, **{**STEP, "s2": np.float32(0.1), **constants})
    x = array(*shape) if x is None else x
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert got.dtype == wanted.dtype and np.array_equal(got, wanted)
    difference = np.abs(wanted.astype(np.float64) - expected(model, x)[0])
    assert difference.max() <= (steps if dtype != TensorProto.FLOAT else 1.01 * steps * float(constants.get("s2", 0.1)))
    assert len(np.unique(wanted)) > 3
    return compiler.check(model, HOST)


@pytest.mark.parametrize("zero", [128, 90, 0])
@pytest.mark.parametrize(("kernel", "group"), [((6, 4, 3, 3), 1), ((8, 2, 3, 3), 2), ((4, 1, 3, 3), 4)])
def test_unsigned_weights_with_any_zero_point(zero, kernel, group):
    constants = {
        "wi": np.random.default_rng(2).integers(0, 256, kernel).astype(np.uint8), "ws": np.float32(0.01),
        "wz": np.uint8(zero),
    }  # fmt: skip
    nodes = [*quantized("x", "a"), node("DequantizeLinear", ["wi", "ws", "wz"], ["w"]),
             node("Conv", ["a", "w"], ["c"], group=group, pads=[1, 1, 1, 1]), *quantized("c", "y", "s2")]  # fmt: skip
    assert exact(nodes, (1, 4, 6, 6), **constants, s2=np.float32(0.3)).float_mac_share == 0


def test_bias_in_steps_of_the_accumulator_keeps_every_bit():
    bias = np.array([2**27 + 1, -(2**26) - 3, 5, 0, 1, 2], np.int32)
    _, constants = weight("w", 6, 4, 1, 1)
    nodes = [*quantized("x", "a"), *weight("w", 6, 4, 1, 1)[0], node("DequantizeLinear", ["bi", "bs"], ["b"], axis=0),
             node("Conv", ["a", "w", "b"], ["y"])]  # fmt: skip
    scales = (STEP["s"].astype(np.float64) * constants["w.s"]).astype(np.float32)
    graph = compiler._prepared(model_of(nodes, (1, 4, 3, 3), **STEP, **constants, bi=bias, bs=scales))
    (conv,) = (n for n in graph.nodes if n.op == "IntConv")
    assert np.array_equal(conv.attributes["bias"], bias)


FUNCTIONS = {
    "hard swish in four operators": ([
        node("Add", ["a", "three"], ["p"]), node("Clip", ["p", "zero", "six"], ["r"]), node("Mul", ["a", "r"], ["m"]),
        node("Div", ["m", "six"], ["c"]),
    ], {"three": np.float32(3), "zero": np.float32(0), "six": np.float32(6)}),
    "erf GELU": ([
        node("Div", ["a", "root"], ["d"]), node("Erf", ["d"], ["e"]), node("Add", ["e", "one"], ["p"]),
        node("Mul", ["a", "p"], ["m"]), node("Mul", ["m", "half"], ["c"]),
    ], {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}),
    "leaky": ([node("LeakyRelu", ["a"], ["c"], alpha=0.1)], {}),
    "product with a constant": ([node("Mul", ["a", "k"], ["c"])], {"k": np.float32([-1.7])}),
    "hard sigmoid": ([node("HardSigmoid", ["a"], ["c"], alpha=0.3)], {}),
    "relu": ([node("Relu", ["a"], ["c"])], {}),
    "clip of one side": ([node("Clip", ["a", "", "six"], ["c"])], {"six": np.float32(1.5)}),
    "another scale": ([node("Identity", ["a"], ["c"])], {}),
    "tanh GELU": ([node("Gelu", ["a"], ["c"], approximate="tanh")], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(FUNCTIONS))
def test_functions_between_quantisers_are_computed_on_bytes(case):
    nodes, constants = FUNCTIONS[case]
    coverage = exact(
        [*quantized("x", "a"), *nodes, *quantized("c", "y", "s2")], (2, 40), s2=np.float32(0.02), **constants
    )
    assert {item.op for item in coverage.generated if not item.op.startswith("Int")} <= {
        "Dequantize", "Identity", "Quantize",
    }  # fmt: skip


def test_difference_and_constant_operands():
    nodes = [*quantized("x", "a"), node("DequantizeLinear", ["ki", "s2", "z"], ["k"]), node("Sub", ["k", "a"], ["c"]),
             *quantized("c", "d", "s2"), node("Mul", ["d", "k"], ["e"]), *quantized("e", "y", "s2")]  # fmt: skip
    kernel = np.arange(4, dtype=np.uint8).reshape(4, 1, 1) * 60
    assert exact(nodes, (2, 4, 3, 5), ki=kernel, s2=np.float32(0.05)).float_step_share < 0.6


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_quantised_image_and_quantised_result(dtype):
    rng = np.random.default_rng(3)
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (1, 4, 6, 6)).astype(dtype)
    kind = TensorProto.UINT8 if dtype == np.uint8 else TensorProto.INT8
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["a"]), *MADE, node("Conv", ["a", "w"], ["c"]),
             node("QuantizeLinear", ["c", "s2", "z"], ["y"])]  # fmt: skip
    model = model_of(nodes, x.shape, dtype=kind, input_dtype=kind, s=np.float32(0.03), z=dtype(10), s2=np.float32(0.2),
                     **WEIGHT)  # fmt: skip
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert got.dtype == dtype and np.array_equal(got, wanted)
    assert np.abs(got.astype(int) - expected(model, x)[0].astype(int)).max() <= 1
    assert len(np.unique(got)) > 10


def test_a_float_layer_that_reads_bytes_shows_as_float():
    nodes = [*quantized("x", "a"), node("Conv", ["a", "k"], ["y"])]
    model = model_of(nodes, (1, 4, 6, 6), k=array(3, 4, 1, 1), **STEP)
    assert compiler.check(model, HOST).float_mac_share == 1
