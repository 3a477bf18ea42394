"""Layers of one-bit weights and activations, compiled: the bits of the numpy reference, on every core."""

import numpy as np
import pytest
from helpers import binaries
from helpers.execution import run_on
from helpers.walking import HOST, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision import compiler, target
from edgevision.errors import Unsupported
from edgevision.machine import resolve

#: This machine stands in for the first three, and emulators for the others.
HERE = ["host", "x86-64-avx512", "x86-64-avx2"]
BOARDS = ["rpi4", "rpi3", "zynq7020-ps"]


@given(st.integers(0, 999), st.integers(1, 140), st.integers(1, 75), st.integers(1, 30), st.integers(1, 2))
@settings(max_examples=10, deadline=None)
def test_linear_layers_of_any_shape(seed, depth, channels, rows, batch):
    x = binaries.values(seed, (batch, rows, depth))
    weights = binaries.weights(seed, depth, channels)
    (got,) = walk(binaries.layer("BinaryLinear", x, *weights, depth), x)
    np.testing.assert_array_equal(got, binaries.expected("BinaryLinear", x, *weights, depth))


#: (operator, shape of x, channels): depths that are no multiple of 8, 32 or 64, more words than a byte can count.
CHOSEN = [
    ("BinaryLinear", (2, 13, 75), 41),
    ("BinaryLinear", (1, 3, 1100), 20),
    ("BinaryLinear", (1, 1, 5), 1),
    ("BinaryConv", (2, 48, 5, 3), 33),
]


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("case", CHOSEN)
def test_layers_on_cores_of_this_machine(name, case):
    op, shape, channels = case
    depth = shape[1] if op == "BinaryConv" else shape[-1]
    x, weights = binaries.values(1, shape), binaries.weights(2, depth, channels)
    (got,) = walk(binaries.layer(op, x, *weights, depth), x, target=resolve(target.load(name)))
    np.testing.assert_array_equal(got, binaries.expected(op, x, *weights, depth))


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("case", [CHOSEN[1], CHOSEN[3]])
def test_layers_on_every_architecture(name, case):
    op, shape, channels = case
    shape = (1, *shape[1:])
    depth = shape[1] if op == "BinaryConv" else shape[-1]
    x, weights = binaries.values(1, shape), binaries.weights(2, depth, channels)
    program = compiler.compile_graph(binaries.layer(op, x, *weights, depth), resolve(target.load(name)))
    np.testing.assert_array_equal(run_on(program, x), binaries.expected(op, x, *weights, depth))


@pytest.mark.parametrize(("op", "shape"), [("BinaryWeightLinear", (2, 9, 45)), ("BinaryWeightConv", (1, 45, 4, 3))])
def test_layers_of_one_bit_weights_alone(op, shape):
    x, (packed, scale, bias) = binaries.values(3, shape), binaries.weights(4, 45, 21)
    scale[0] = 0
    (got,) = walk(binaries.layer(op, x, packed, scale, bias, 45), x)
    np.testing.assert_allclose(got, binaries.expected(op, x, packed, scale, bias, 45), rtol=1e-5, atol=1e-5)


def test_every_layer_that_does_not_fit_is_named_with_its_reason():
    x, (packed, scale, bias) = binaries.values(1, (1, 4, 20)), binaries.weights(2, 20, 6)
    scale[3] = np.nan
    model = binaries.layer("BinaryLinear", x, packed[:, :2], scale, bias, 20)
    with pytest.raises(Unsupported, match=r"(?s)'layer': expected packed weights uint8 \(6, 3\).*scale is not finite"):
        compiler.check(model, HOST)
