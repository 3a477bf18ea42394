"""Layers of one-bit weights and activations, compiled: the bits of the numpy reference, on every core."""

import numpy as np
import onnxruntime
import pytest
from helpers import binaries
from helpers.execution import run_on
from helpers.walking import HOST, walk
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgevision import compiler, target
from edgevision.errors import Unsupported
from edgevision.graph import binary, reference
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


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("between", [(), ("Gelu",), ("Add", "Gelu"), ("Mul", "Relu", "Add"), ("HardSwish",)])
@pytest.mark.parametrize(("depth", "hidden"), [(70, 41), (64, 152)])
def test_signs_are_decided_by_counts_where_nothing_else_is_read(name, between, depth, hidden):
    model, x = binaries.network(1, 9, depth, hidden, between=between, batch=2)
    (got,) = walk(model, x, target=resolve(target.load(name)))
    np.testing.assert_array_equal(got, reference.run(model, x)[0])
    steps = [step.label for step in compiler.compile_graph(model, HOST).steps]
    assert any(label.startswith("fc1") and label.endswith("signs") for label in steps) or "Relu" in between


def test_a_gelu_far_below_zero_is_a_zero_whose_sign_is_positive():
    model, x = binaries.network(2, 5, 64, 32)
    for tensor in model.graph.initializer:
        if tensor.name in ("s0", "b0"):
            tensor.CopyFrom(numpy_helper.from_array(np.full(32, 2.0, np.float32), tensor.name))
    (got,) = walk(model, x)
    np.testing.assert_array_equal(got, reference.run(model, x)[0])


def attention_case(seed, batch, heads, tokens, width, masking):
    q, k, v = (binaries.values(seed + i, (batch, heads, tokens, width)) for i in range(3))
    if masking is None:
        return q, k, v, None
    bias = np.random.default_rng(seed).standard_normal((1, heads, tokens, tokens)).astype(np.float32)
    if masking != "bias":
        bias[:, :, : tokens // 2, tokens // 2 :] = -100 if masking == "-100" else -np.inf
        bias[:, :, -1] = -100
    return q, k, v, bias


def check_attention(q, k, v, bias, run):
    scale = q.shape[3] ** -0.5
    got = run(binaries.attention(q, k, v, bias, scale))
    np.testing.assert_array_equal(got, binary.attention(q, k, v, bias, scale=scale))


@given(
    st.integers(0, 999), st.integers(1, 2), st.integers(1, 3), st.integers(1, 70), st.integers(1, 70),
    st.sampled_from([None, "bias", "-100", "-inf"]),
)  # fmt: skip
@settings(max_examples=10, deadline=None)
def test_attention_of_any_shape(seed, batch, heads, tokens, width, masking):
    q, k, v, bias = attention_case(seed, batch, heads, tokens, width, masking)
    check_attention(q, k, v, bias, lambda model: walk(model, q, k, v)[0])


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("masking", [None, "-inf"])
@pytest.mark.parametrize(("tokens", "width"), [(49, 32), (66, 75), (5, 8)])
def test_attention_on_cores_of_this_machine(name, masking, tokens, width):
    q, k, v, bias = attention_case(1, 2, 2, tokens, width, masking)
    check_attention(q, k, v, bias, lambda model: walk(model, q, k, v, target=resolve(target.load(name)))[0])


def test_heads_that_do_not_fill_their_tasks_leave_the_rest_of_memory_alone():
    """18 heads for at most 16 tasks: two each for nine, and nothing for more."""
    q, k, v, bias = attention_case(1, 6, 3, 16, 20, "bias")
    check_attention(q, k, v, bias, lambda model: walk(model, q, k, v)[0])


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(("tokens", "width", "masking"), [(35, 20, None), (50, 32, "-100")])
def test_attention_on_every_architecture(name, tokens, width, masking):
    q, k, v, bias = attention_case(1, 1, 2, tokens, width, masking)
    model = binaries.attention(q, k, v, bias, width**-0.5)
    del model.graph.input[:]
    x = np.concatenate([q, k, v])
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape))
    model.graph.node.insert(0, helper.make_node("Split", ["x"], ["q", "k", "v"], axis=0, num_outputs=3))
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    np.testing.assert_array_equal(got, binary.attention(q, k, v, bias, scale=width**-0.5))


@pytest.mark.parametrize("name", BOARDS)
def test_signs_decided_by_counts_on_every_architecture(name):
    model, x = binaries.network(3, 7, 70, 41)
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    np.testing.assert_array_equal(got, reference.run(model, x)[0])


BLOCKS = [(1, 21, 2, 64, False), (2, 35, 3, 32, True)]


def attention_block(batch, tokens, heads, width, biased):
    """A block whose queries have masked keys, and one query nothing else."""
    bias = attention_case(1, batch, heads, tokens, width, "-inf")[3] if biased else None
    return binaries.attention_block(4, batch, tokens, heads, width, bias)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("block", [*BLOCKS, (1, 9, 2, 20, False)])
def test_an_attention_between_linear_layers_has_the_bits_of_the_reference(name, block):
    model, x = attention_block(*block)
    (got,) = walk(model, x, target=resolve(target.load(name)))
    np.testing.assert_array_equal(got, reference.run(model, x)[0])


@pytest.mark.parametrize("name", BOARDS)
def test_an_attention_between_linear_layers_on_every_architecture(name):
    model, x = attention_block(1, 35, 2, 32, True)
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    np.testing.assert_array_equal(got, reference.run(model, x)[0])


def test_between_linear_layers_an_attention_reads_and_writes_bits():
    program = compiler.compile_graph(attention_block(*BLOCKS[0])[0], HOST)
    assert [step.family for step in program.steps] == ["layer_norm", "xnor", "binary_attention", "xnor"]
    attention = program.steps[2].tensors
    kinds = {program.tensors[index].dtype for index in (*attention[:3], attention[-1])}
    assert kinds == {"uint32"}
    # Heads that do not begin at words are floats.
    narrow = compiler.compile_graph(attention_block(1, 9, 2, 20, False)[0], HOST)
    assert "sign_pack" in {step.family for step in narrow.steps}


@pytest.mark.parametrize(("op", "shape"), [("BinaryWeightLinear", (2, 9, 45)), ("BinaryWeightConv", (1, 45, 4, 3))])
def test_layers_of_one_bit_weights_alone(op, shape):
    x, (packed, scale, bias) = binaries.values(3, shape), binaries.weights(4, 45, 21)
    scale[0] = 0
    (got,) = walk(binaries.layer(op, x, packed, scale, bias, 45), x)
    np.testing.assert_allclose(got, binaries.expected(op, x, packed, scale, bias, 45), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", [*binary.SIGNED_LAYERS, *binary.WEIGHT_LAYERS])
def test_layers_between_quantisers_have_the_bits_of_the_reference_and_are_integer(op):
    x = binaries.values(5, (1, 45, 4, 3) if op.endswith("Conv") else (1, 9, 45))
    model = binaries.on_bytes(op, x, *binaries.weights(6, 45, 21), 45)
    (got,) = walk(model, x)
    np.testing.assert_array_equal(got, reference.run(model, x)[0])
    assert compiler.check(model, HOST).float_mac_share == 0
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    steps = np.rint(np.abs(got - wanted) / 0.25)
    assert steps.max() <= 1 and (steps > 0).mean() < 0.05


@pytest.mark.parametrize("op", [*binary.SIGNED_LAYERS, *binary.WEIGHT_LAYERS])
@pytest.mark.parametrize(("depth", "planes"), [(128, 1), (126, 2)])
def test_weights_are_bits_in_the_file(op, depth, planes):
    x = binaries.values(5, (1, depth, 4, 3) if op.endswith("Conv") else (1, 9, depth))
    channels = 160
    program = compiler.compile_graph(binaries.on_bytes(op, x, *binaries.weights(6, depth, channels), depth), HOST)
    signed = op in binary.SIGNED_LAYERS
    # Integer products without a whole group of K need to know where nothing is; signs never do.
    bits = channels * depth / 8 * (1 if signed else planes)
    # Scale and bias of each channel, and a few lines of 64 bytes for quantisers and padding.
    assert bits <= len(program.constants) <= bits + 8 * channels + 64 * 12
    assert program.prepared == (0 if signed else 1)


@pytest.mark.parametrize("name", ["host", *BOARDS])
def test_bits_become_bytes_when_a_program_is_opened(name):
    x, weights = binaries.values(5, (1, 3, 45)), binaries.weights(6, 45, 21)
    weights[1][2] = 0
    model = binaries.on_bytes("BinaryWeightLinear", x, *weights, 45)
    program = compiler.compile_graph(model, resolve(target.load(name)))
    assert program.prepared == 1
    np.testing.assert_array_equal(run_on(program, x), reference.run(model, x)[0])


def test_every_layer_that_does_not_fit_is_named_with_its_reason():
    x, (packed, scale, bias) = binaries.values(1, (1, 4, 20)), binaries.weights(2, 20, 6)
    scale[3] = np.nan
    model = binaries.layer("BinaryLinear", x, packed[:, :2], scale, bias, 20)
    with pytest.raises(Unsupported, match=r"(?s)'layer': expected packed weights uint8 \(6, 3\).*scale is not finite"):
        compiler.check(model, HOST)
