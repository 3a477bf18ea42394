"""GELU on the 16-bit steps of a linear layer: every core's words have the bits of the reference."""

import numpy as np
import pytest
from helpers.execution import run_on
from helpers.graphs import array, expected, model_of, node, quantized, weight
from helpers.walking import HOST, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision import compiler
from edgevision import target as targets
from edgevision.graph import ir, reference
from edgevision.graph.integer import integerize
from edgevision.machine import resolve


def network(rows, depth, channels, scale, zero=9, kind="MatMul"):
    """Bytes, a linear layer, GELU, bytes."""
    constants = {"s": np.float32(0.03), "z": np.uint8(100), "s2": np.float32(scale), "z2": np.uint8(zero)}
    after = [node("Gelu", ["h"], ["g"]), node("QuantizeLinear", ["g", "s2", "z2"], ["q"]),
             node("DequantizeLinear", ["q", "s2", "z2"], ["y"])]  # fmt: skip
    if kind == "MatMul":
        made, values = weight("w", depth, channels, axis=1)
        layer, shape = [node("MatMul", ["a", "w"], ["h"], name="fc")], (rows, depth)
    else:
        group = channels if kind == "depthwise" else 1
        made, values = weight("w", channels, 1 if group > 1 else depth, 3, 3, axis=0)
        layer = [node("Conv", ["a", "w"], ["h"], name="c", pads=[1] * 4, group=group)]
        shape = (1, channels if group > 1 else depth, 5, rows)
    return model_of([*quantized("x", "a"), *made, *layer, *after], shape, **constants, **values), shape


def agrees(model, x, scale):
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert np.array_equal(got, wanted)
    # The runtime rounds a float GELU; here it is a quarter of a step away at most.
    assert np.abs(got - expected(model, x)[0]).max() < 1.001 * scale
    layers = [n for n in integerize(ir.read(model)).nodes if n.op in ("IntGemm", "IntConv")]
    assert layers and all(layer.attributes["gelu"] is not None for layer in layers)


@given(st.integers(1, 30), st.integers(1, 40), st.integers(2, 70), st.sampled_from([0.002, 0.01, 0.031, 0.4]),
       st.integers(0, 255), st.integers(1, 40))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_products_of_any_shape(rows, depth, channels, scale, zero, reach):
    model, shape = network(rows, depth, channels, scale, zero)
    agrees(model, reach * array(*shape), scale)


@pytest.mark.parametrize("kind", ["dense", "depthwise"])
@pytest.mark.parametrize(("columns", "channels"), [(7, 64), (6, 19), (11, 32)])
def test_convolutions(kind, columns, channels):
    model, shape = network(columns, 8, channels, 0.02, kind=kind)
    agrees(model, 2 * array(*shape), 0.02)


def test_steps_too_small_for_words_stay_float_in_between():
    model, shape = network(5, 16, 32, 0.0005)
    (got,), (wanted,) = walk(model, array(*shape)), reference.run(model, array(*shape))
    assert np.array_equal(got, wanted)
    assert "Gelu" in [n.op for n in integerize(ir.read(model)).nodes]


@pytest.mark.parametrize("board", ["rpi3", "rpi4", "rpi5", "arm64-i8mm", "zynq7020-ps"])
@pytest.mark.parametrize(("rows", "channels", "kind"), [(13, 48, "MatMul"), (9, 21, "MatMul"), (7, 32, "depthwise")])
def test_chosen_shapes_on_every_architecture(board, rows, channels, kind):
    target = resolve(targets.load(board))
    model, shape = network(rows, 24, channels, 0.02, kind=kind)
    x = 3 * array(*shape)
    got = run_on(compiler.compile_graph(model, target), x)
    assert np.array_equal(got, reference.run(model, x)[0].reshape(got.shape))


def test_all_the_words_there_are():
    # One input channel of 255 steps and channels of every size reach both ends of sixteen bits.
    model, shape = network(300, 4, 64, 0.004)
    agrees(model, 60 * array(*shape), 0.004)
    assert compiler.check(model, HOST).float_mac_share == 0
