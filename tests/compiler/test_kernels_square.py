"""Square deformable convolution, compiled: floats against every sum written out, bytes bit for bit, every core."""

import numpy as np
import onnxruntime
import pytest
from helpers.execution import run_on
from helpers.graphs import node
from helpers.squares import direct, layer, layer_inputs, quantised_layer
from helpers.walking import HOST, walk
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgevision import compiler, target
from edgevision.errors import Unsupported
from edgevision.graph import ir, numerics, reference, square
from edgevision.graph.integer import integerize
from edgevision.machine import resolve


@given(
    st.integers(0, 999), st.integers(1, 70), st.integers(1, 2), st.integers(1, 11), st.integers(1, 9), st.integers(1, 2)
)
@settings(max_examples=12, deadline=None)
def test_floats_of_any_shape(seed, channels, stride, height, width, batch):
    x, dilation, weight = layer_inputs(seed, channels=channels, size=(height, width), stride=stride, batch=batch)
    (got,) = walk(layer(x, dilation, weight, stride), x, dilation)
    np.testing.assert_allclose(got, direct(x, dilation, weight, stride), rtol=1e-5, atol=1e-5)


@given(
    st.integers(0, 999), st.integers(2, 140), st.integers(1, 2), st.integers(1, 11), st.integers(1, 9),
    st.sampled_from([4, 8]), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_bytes_of_any_shape_have_the_bits_of_the_reference(seed, channels, stride, height, width, bits, relu, last):
    model, _ = quantised_layer(
        seed, channels=channels, size=(height, width), stride=stride, bits=bits, relu=relu, last=last
    )
    x = np.random.default_rng(seed).normal(0, 2, (1, channels, height, width)).astype(np.float32)
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("bits", [4, 8])
def test_the_reference_is_the_sum_of_the_bytes_written_out(bits):
    model, c = quantised_layer(1, channels=5, size=(8, 6), stride=1, bits=bits)
    x = np.random.default_rng(1).normal(0, 2, (1, 5, 8, 6)).astype(np.float32)
    q = numerics.quantize(x, c["xs"], int(c["xz"])).astype(np.int64)
    reader = onnxruntime.InferenceSession(with_output(model, "m").SerializeToString())
    dilation = square.dilations(reader.run(["m"], {"x": x})[0])
    assert len(np.unique(dilation)) > 4
    acc = direct(q, dilation, c["wq"], 1, int(c["xz"])).astype(np.int64)
    steps = c["xs"].astype(np.float64) * c["ws"].astype(np.float64)
    acc += numerics.quantize_bias(c["bias"].reshape(-1), steps).astype(np.int64).reshape(1, -1, 1, 1)
    scale = (steps / np.float64(c["ys"])).astype(np.float32).reshape(1, -1, 1, 1)
    wanted = numerics.requantize(acc, scale, int(c["yz"]), int(c["yz"]), 255)
    (got,) = reference.run(model, x)
    assert np.array_equal(got, numerics.dequantize(wanted, c["ys"], int(c["yz"])))


@pytest.mark.parametrize("low", [0, 1])
def test_a_quantised_layer_is_one_integer_step_and_its_map_another(low):
    model, _ = quantised_layer(2, channels=8, size=(8, 8), stride=1, low=low)
    graph = integerize(ir.read(model))
    assert [n.op for n in graph.nodes] == ["Quantize", "IntConv", "IntSquareDeform", "Dequantize"]
    assert (graph.nodes[1].attributes["low"], graph.nodes[1].attributes["high"]) == (low, 7)
    assert compiler.check(model, HOST).float_mac_share == 0


def test_the_same_as_onnxruntime_but_for_ties():
    model, c = quantised_layer(3, channels=24, size=(16, 16), stride=1)
    x = np.random.default_rng(3).normal(0, 2, (1, 24, 16, 16)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    steps = np.rint(np.abs(walk(model, x)[0] - wanted) / c["ys"])
    assert (steps > 0).mean() < 0.01


@pytest.mark.parametrize("narrow", [True, False])
def test_the_largest_sums_do_not_leave_their_type(narrow):
    weight = np.zeros((40, 1, 3, 3), np.int8)
    weight[:, 0, :2] = -21 if narrow else -128
    weight[:, 0, 0, 0] = -23 if narrow else -128
    model, _ = quantised_layer(4, channels=40, size=(4, 4), stride=1)
    for tensor in model.graph.initializer:
        if tensor.name in ("wq", "xz"):
            value = weight if tensor.name == "wq" else np.uint8(0)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), tensor.name))
    x = np.full((1, 40, 4, 4), 100.0, np.float32)
    assert np.array_equal(walk(model, x)[0], reference.run(model, x)[0])


@pytest.mark.parametrize("name", ["host", "rpi4", "rpi3", "zynq7020-ps"])
@pytest.mark.parametrize("bits", [4, 8])
def test_bytes_on_every_architecture(name, bits):
    model, _ = quantised_layer(5, channels=29, size=(9, 8), stride=2, bits=bits)
    x = np.random.default_rng(5).normal(0, 2, (1, 29, 9, 8)).astype(np.float32)
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    assert np.array_equal(got, reference.run(model, x)[0])


@pytest.mark.parametrize("name", ["host", "rpi4", "rpi3", "zynq7020-ps"])
def test_floats_on_every_architecture(name):
    x = np.random.default_rng(6).standard_normal((1, 29, 9, 8)).astype(np.float32)
    _, _, weight = layer_inputs(6, channels=29, size=(9, 8), stride=1)
    map_weight = np.random.default_rng(7).standard_normal((1, 29, 1, 1)).astype(np.float32)
    made = layer(x, x[:, :1], weight, 1)
    made.graph.node.insert(0, node("Conv", ["x", "mw"], ["D"], name="map"))
    made.graph.initializer.append(numpy_helper.from_array(map_weight, "mw"))
    del made.graph.input[1]
    got = run_on(compiler.compile_graph(made, resolve(target.load(name))), x)
    dilation = square.dilations(np.einsum("nchw,oc->nohw", x, map_weight[:, :, 0, 0]))
    np.testing.assert_allclose(got, direct(x, dilation, weight, 1), rtol=1e-5, atol=1e-5)


def test_a_tap_outside_that_is_not_a_number_is_still_zero():
    x, dilation, weight = layer_inputs(8, channels=20, size=(5, 5), stride=1)
    x[...], dilation[...] = np.inf, 7
    weight[:, 0, 1, 1] = 2
    (got,) = walk(layer(x, dilation, np.abs(weight), 1), x, dilation)
    assert np.all(np.isposinf(got))


def test_a_layer_that_is_not_depthwise_is_refused_by_name():
    x, dilation, weight = layer_inputs(9, channels=4, size=(5, 5), stride=1)
    made = layer(x, dilation, weight, 1)
    made.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("group", 2))
    with pytest.raises(Unsupported, match=r"(?s)edgevision::SquareDeformConv 'square'"):
        compiler.check(made, HOST).require(HOST)


def with_output(model, name):
    made = type(model)()
    made.CopyFrom(model)
    made.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return made
