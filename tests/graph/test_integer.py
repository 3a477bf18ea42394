"""QDQ graphs become explicit integer operators whose numpy evaluation agrees with onnxruntime to one step."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgevision.errors import Unsupported
from edgevision.graph import ir, reference
from edgevision.graph.integer import integerize


class Network:
    """A QDQ graph under construction."""

    def __init__(self, shape, seed=0):
        self.nodes, self.initialisers, self.shape = [], [], shape
        self.rng = np.random.default_rng(seed)
        self.last, self.count = "x", 0

    def constant(self, array, dtype):
        name = f"c{len(self.initialisers)}"
        self.initialisers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def node(self, op, inputs, **attributes):
        self.count += 1
        name = f"t{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{op}{self.count}", **attributes))
        return name

    def quantized(self, tensor, scale, zero, dtype=np.uint8):
        s, z = self.constant(scale, np.float32), self.constant(zero, dtype)
        q = self.node("QuantizeLinear", [tensor, s, z])
        return self.node("DequantizeLinear", [q, s, z])

    def weight(self, array, axis=0):
        scale = np.abs(array).max(axis=tuple(range(1, array.ndim))) / 127 + 1e-12
        q = np.rint(array / scale.reshape(-1, *[1] * (array.ndim - 1))).astype(np.int8)
        scales, zeros = self.constant(scale, np.float32), self.constant(np.zeros(len(scale)), np.int8)
        return self.node("DequantizeLinear", [self.constant(q, np.int8), scales, zeros], axis=axis)

    def conv(self, tensor, weight, bias, **attributes):
        return self.node("Conv", [tensor, self.weight(weight), self.constant(bias, np.float32)], **attributes)

    def model(self, output):
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], self.initialisers,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)


def compare(model, x, step, share=0.02):
    """At most one step of difference to onnxruntime, and in few places."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    (got,) = reference.run(model, x)
    difference = np.abs(got - expected) / step
    assert difference.max() < 1.01
    assert (difference > 0.5).mean() <= share


def ops(model):
    return [node.op for node in integerize(ir.read(model)).nodes]


@given(st.sampled_from([np.uint8, np.int8]), st.integers(0, 1), st.integers(1, 2), st.booleans(), st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_padded_convolution_with_any_zero_point(dtype, pad, stride, relu, seed):
    net = Network((1, 3, 9, 9), seed)
    x = net.quantized("x", 0.05, 100 if dtype == np.uint8 else -20, dtype)
    y = net.conv(
        x, net.rng.standard_normal((5, 3, 3, 3)), net.rng.standard_normal(5), pads=[pad] * 4, strides=[stride] * 2
    )
    y = net.node("Relu", [y]) if relu else y
    model = net.model(net.quantized(y, 0.1, 40, np.uint8))
    assert ops(model) == ["Quantize", "IntConv", "Dequantize"]
    compare(model, net.rng.standard_normal((1, 3, 9, 9)).astype(np.float32) * 3, 0.1)


def test_addition_product_table_and_average_are_integer():
    net = Network((1, 8, 6, 6))
    a = net.quantized("x", 0.04, 120)
    gelu = net.quantized(net.node("Gelu", [a]), 0.03, 10)
    total = net.quantized(net.node("Add", [a, gelu]), 0.07, 90)
    mean = net.quantized(net.node("GlobalAveragePool", [total]), 0.02, 128)
    gate = net.quantized(net.node("Sigmoid", [mean]), 1 / 256, 0)
    model = net.model(net.quantized(net.node("Mul", [total, gate]), 0.05, 100))
    assert ops(model) == [
        "Quantize", "IntLookup", "IntAdd", "IntPool", "IntLookup", "IntMul", "Dequantize",
    ]  # fmt: skip
    compare(model, net.rng.standard_normal((1, 8, 6, 6)).astype(np.float32) * 2, 0.05, share=0.1)


def test_clip_is_folded_into_the_limits_of_the_byte():
    net = Network((1, 4, 5, 5))
    x = net.quantized("x", 0.05, 128)
    y = net.conv(x, net.rng.standard_normal((4, 4, 1, 1)) * 2, net.rng.standard_normal(4))
    y = net.node("Clip", [y, net.constant(0.0, np.float32), net.constant(6.0, np.float32)])
    model = net.model(net.quantized(y, 0.05, 20))
    (conv,) = (n for n in integerize(ir.read(model)).nodes if n.op == "IntConv")
    assert (conv.attributes["low"], conv.attributes["high"]) == (20, 140)
    compare(model, net.rng.standard_normal((1, 4, 5, 5)).astype(np.float32) * 5, 0.05)


def test_depthwise_input_may_have_a_scale_and_zero_point_per_channel():
    net = Network((1, 6, 7, 7))
    scale, zero = net.constant(np.linspace(0.02, 0.07, 6), np.float32), net.constant(np.arange(6) * 20 - 50, np.int8)
    q = net.node("QuantizeLinear", ["x", scale, zero], axis=1)
    x = net.node("DequantizeLinear", [q, scale, zero], axis=1)
    y = net.conv(x, net.rng.standard_normal((6, 1, 3, 3)), net.rng.standard_normal(6), pads=[1] * 4, group=6)
    model = net.model(net.quantized(y, 0.05, 128))
    assert ops(model) == ["Quantize", "IntConv", "Dequantize"]
    compare(model, net.rng.standard_normal((1, 6, 7, 7)).astype(np.float32), 0.05)


def test_bias_too_large_for_its_channel_gets_coarser_steps_instead_of_overflowing():
    net = Network((1, 2, 3, 3))
    weight = np.ones((3, 2, 1, 1)) * np.array([1.0, 1e-9, 1.0]).reshape(3, 1, 1, 1)
    x = net.quantized("x", 0.02, 128)
    model = net.model(net.quantized(net.conv(x, weight, [0.5, 3.0, -0.5]), 0.05, 100))
    (conv,) = (n for n in integerize(ir.read(model)).nodes if n.op == "IntConv")
    assert np.abs(conv.attributes["bias"].astype(np.int64)).max() <= 2**30
    compare(model, net.rng.standard_normal((1, 2, 3, 3)).astype(np.float32), 0.05)


def test_dense_input_with_a_scale_per_channel_is_refused_by_name():
    net = Network((1, 4, 5, 5))
    scale, zero = net.constant(np.linspace(0.02, 0.05, 4), np.float32), net.constant(np.zeros(4), np.int8)
    q = net.node("QuantizeLinear", ["x", scale, zero], axis=1)
    x = net.node("DequantizeLinear", [q, scale, zero], axis=1)
    model = net.model(net.conv(x, net.rng.standard_normal((3, 4, 1, 1)), np.zeros(3)))
    with pytest.raises(Unsupported, match="Conv4: input has one scale per channel"):
        integerize(ir.read(model))


def test_weight_only_layer_keeps_its_bytes():
    net = Network((1, 4, 5, 5))
    model = net.model(net.conv("x", net.rng.standard_normal((3, 4, 1, 1)), np.zeros(3)))
    (conv,) = integerize(ir.read(model)).nodes
    assert conv.op == "ByteWeightConv"
    assert conv.attributes["weight"].dtype == np.int8


def test_dynamic_shapes_are_refused_with_the_tensors_named():
    model = Network(("batch", 3, 8, 8)).model("x")
    with pytest.raises(Unsupported) as caught:
        ir.read(model)
    assert "tensor 'x'" in caught.value.reasons
