"""Transposed convolutions against onnxruntime, torch and the integer reference: any stride, border and grouping."""

import numpy as np
import pytest
import torch
from helpers.execution import run_on
from helpers.graphs import agrees, array, expected, model_of, node, quantized, weight
from helpers.walking import HOST, walk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edgevision import compiler
from edgevision import target as targets
from edgevision.graph import reference
from edgevision.graph.transposed import channels_first, spread_of
from edgevision.machine import resolve

QUANT = {"s": np.float32(0.03), "z": np.uint8(100), "s2": np.float32(0.2)}


@st.composite
def geometries(draw):
    """Shape of the image, channels per group, and the attributes."""
    group, inputs, share = draw(st.sampled_from([(1, 3, 5), (1, 6, 1), (2, 2, 3), (5, 1, 1), (3, 1, 2), (19, 1, 1)]))
    pair = st.tuples(*[st.integers(1, 4)] * 2)
    kernel, stride, dilation = draw(st.tuples(*[st.integers(1, 5)] * 2)), draw(pair), draw(st.sampled_from([1, 1, 2]))
    added = [draw(st.integers(0, s - 1)) for s in stride]
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    size = draw(st.tuples(st.integers(1, 6), st.integers(1, 9)))
    for axis in (0, 1):
        reach = stride[axis] * (size[axis] - 1) + added[axis] + (kernel[axis] - 1) * dilation + 1
        assume(reach - pads[axis] - pads[axis + 2] >= 1)
    attributes = {"strides": stride, "pads": pads, "output_padding": added, "dilations": [dilation] * 2, "group": group}
    return (draw(st.integers(1, 2)), group * inputs, *size), (group * inputs, share, *kernel), attributes


def float_network(shape, kernel, attributes):
    constants = {"w": array(*kernel, seed=1), "b": array(kernel[1] * attributes.get("group", 1), seed=2)}
    return model_of([node("ConvTranspose", ["x", "w", "b"], ["y"], name="up", **attributes)], shape, **constants)


def byte_network(shape, kernel, attributes, to_bytes=True):
    made, constants = weight("w", *kernel, axis=1)
    bias = array(kernel[1] * attributes.get("group", 1), seed=2)
    layer = node("ConvTranspose", ["a", "w", "b"], ["c" if to_bytes else "y"], name="up", **attributes)
    after = [node("Relu", ["c"], ["r"]), *quantized("r", "y", "s2")] if to_bytes else []
    return model_of([*quantized("x", "a"), *made, layer, *after], shape, **QUANT, **constants, b=bias)


@given(geometries())
@settings(max_examples=25, deadline=None)
def test_float_agrees_with_onnxruntime(drawn):
    model = float_network(*drawn)
    (got,), (wanted,) = (run(model, array(*drawn[0])) for run in (walk, expected))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@given(geometries(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_bytes_have_the_bits_of_the_reference(drawn, to_bytes):
    model, x = byte_network(*drawn, to_bytes), 3 * array(*drawn[0])
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert np.array_equal(got, wanted)
    # One step of the result; else half a step of the bias, which is at most 0.01 * 0.03.
    assert np.abs(got - expected(model, x)[0]).max() < (0.201 if to_bytes else 2e-4)
    assert compiler.check(model, HOST).float_mac_share == 0


@given(geometries(), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_reference_spreads_as_torch_does(drawn, seed):
    shape, kernel, attributes = drawn
    pads, added, group = attributes["pads"], attributes["output_padding"], attributes["group"]
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-99, 99, shape), rng.integers(-99, 99, kernel)
    stride, dilation = attributes["strides"], attributes["dilations"]
    whole = torch.nn.functional.conv_transpose2d(
        torch.tensor(x).double(), torch.tensor(w).double(), stride=stride, groups=group, dilation=dilation
    ).numpy()
    # Rows past the last tap are zero; then both sides are cut.
    padded = np.pad(whole, ((0, 0), (0, 0), (0, added[0]), (0, added[1])))
    wanted = padded[:, :, pads[0] : padded.shape[2] - pads[2], pads[1] : padded.shape[3] - pads[3]]
    spread = spread_of(attributes, shape, wanted.shape, kernel[2:])
    assert np.array_equal(reference.spread_out(x, channels_first(w, group), spread, group), wanted)


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID", "output_shape"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 3), (2, 3), (3, 1)])
def test_padding_may_follow_from_the_size_of_the_result(auto, kernel, stride):
    how = {"output_shape": [4 * stride + 1, 5 * stride]} if auto == "output_shape" else {"auto_pad": auto}
    agrees(float_network((1, 3, 4, 5), (3, 6, kernel, kernel), {"strides": [stride] * 2, **how}), array(1, 3, 4, 5))


def test_what_follows_is_computed_in_the_same_kernels():
    nodes = [
        node("Tile", ["x", "repeats"], ["wide"]), node("Sigmoid", ["wide"], ["other"]),
        node("ConvTranspose", ["x", "w"], ["c"], strides=[2, 2]), node("Relu", ["c"], ["r"]),
        node("Add", ["r", "other"], ["y"]),
    ]  # fmt: skip
    model = model_of(nodes, (2, 4, 4, 5), w=array(4, 8, 2, 2), repeats=np.array([1, 2, 2, 2]))
    agrees(model, array(2, 4, 4, 5))
    called = [step.label for step in compiler.compile_graph(model, HOST).steps if step.family == "conv"]
    assert len(called) == 4 and all("+" in label for label in called)


def test_byte_weights_alone_stay_bytes():
    made, constants = weight("w", 4, 6, 3, 3, axis=1)
    model = model_of([*made, node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], name="up")], (1, 4, 5, 5),
                     **constants)  # fmt: skip
    agrees(model, array(1, 4, 5, 5))
    np.testing.assert_allclose(
        reference.run(model, array(1, 4, 5, 5))[0], expected(model, array(1, 4, 5, 5))[0], rtol=1e-4, atol=1e-5
    )
    assert compiler.check(model, HOST).weight_bytes < 4 * 6 * 9 + 200


@pytest.mark.parametrize("kernel", [(6, 4, 3, 3), (6, 1, 3, 3)])
def test_unsigned_weights_with_a_zero_point(kernel):
    group = 6 if kernel[1] == 1 else 1
    constants = {"wi": np.random.default_rng(2).integers(0, 256, kernel).astype(np.uint8), "ws": np.float32(0.01),
                 "wz": np.uint8(90)}  # fmt: skip
    nodes = [*quantized("x", "a"), node("DequantizeLinear", ["wi", "ws", "wz"], ["w"]),
             node("ConvTranspose", ["a", "w"], ["y"], group=group, strides=[2, 2], name="up")]  # fmt: skip
    model, x = model_of(nodes, (1, 6, 4, 5), **QUANT, **constants), array(1, 6, 4, 5)
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert np.array_equal(got, wanted)
    np.testing.assert_allclose(got, expected(model, x)[0], rtol=1e-4, atol=1e-4)


#: Dense with every kind of phase, phases without taps, and depthwise.
CHOSEN = [
    ((2, 5, 4, 7), (5, 13, 3, 3), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}),
    ((1, 9, 3, 5), (9, 6, 2, 1), {"strides": [3, 4], "output_padding": [1, 2]}),
    ((2, 19, 5, 6), (19, 1, 4, 4), {"strides": [2, 2], "pads": [1] * 4, "group": 19}),
]


@pytest.mark.parametrize("board", ["host", "rpi3", "rpi4", "rpi5", "arm64-i8mm", "zynq7020-ps"])
def test_chosen_shapes_on_every_architecture(board):
    target = resolve(targets.load(board))
    for drawn in CHOSEN:
        x = 3 * array(*drawn[0])
        model = byte_network(*drawn)
        assert np.array_equal(run_on(compiler.compile_graph(model, target), x), reference.run(model, x)[0])
    model = float_network(*CHOSEN[0])
    got = run_on(compiler.compile_graph(model, target), array(*CHOSEN[0][0]))
    np.testing.assert_allclose(got, expected(model, array(*CHOSEN[0][0]))[0], rtol=1e-5, atol=1e-5)
