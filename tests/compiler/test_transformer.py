"""Attention, layer norm, softmax and what moves elements between them, against onnxruntime and the reference."""

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.attention import attention_nodes, quantised
from helpers.execution import run_on
from helpers.walking import HOST, walk
from onnx import TensorProto, helper, numpy_helper

from edgevision import compiler, machine, target
from edgevision.graph import ir, movement, reference

node = helper.make_node


def model_of(nodes, shape, output, **constants):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def expected(model, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def agrees(model, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (got,) = walk(model, x)
    wanted = expected(model, x)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-6)


def families(model):
    return [step.family for step in compiler.compile_graph(model, HOST).steps]


def attention(windows, heads, tokens, depth, **how):
    """Attention over x (windows, tokens, 3 * heads * depth), as a network."""
    nodes, constants = attention_nodes(windows, heads, tokens, depth, **how)
    shape = (windows, tokens, 3 * heads * depth)
    return model_of(nodes, shape, "y", **constants), shape


@pytest.mark.parametrize(
    ("windows", "heads", "tokens", "depth", "added"),
    [
        (1, 3, 197, 64, ()),
        (1, 1, 5, 16, ()),
        (4, 3, 49, 32, ((1, 3, 49, 49), (4, 1, 49, 49))),
        (2, 5, 17, 48, ((17, 17),)),
        (2, 2, 33, 32, ((2, 1, 1, 33),)),
        (1, 2, 9, 19, ()),
    ],
)
@pytest.mark.parametrize("scale_on", ["q", "scores"])
def test_attention_agrees_with_onnxruntime_in_one_step(windows, heads, tokens, depth, added, scale_on):
    model, shape = attention(windows, heads, tokens, depth, added=added, scale_on=scale_on)
    agrees(model, shape)
    assert "attention" in families(model)


INTEGER = [
    (1, 3, 37, 64, (), (128, 0, 128)),
    (1, 2, 50, 20, (), (121, 0, 3)),
    (2, 1, 5, 1, (), (3, 200, 1)),
    (2, 3, 49, 32, ((1, 3, 49, 49), (2, 1, 49, 49)), (140, 7, 90)),
]


@pytest.mark.parametrize(("windows", "heads", "tokens", "depth", "added", "zeros"), INTEGER)
@pytest.mark.parametrize("name", ["host", "x86-64-avx2"])
def test_byte_attention_has_the_bits_of_the_integer_reference(windows, heads, tokens, depth, added, zeros, name):
    model, shape = attention(windows, heads, tokens, depth, added=added, integer=True, zeros=zeros)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    made = HOST if name == "host" else target.load(name)
    program = compiler.compile_graph(model, made)
    assert "attention" in [step.family for step in program.steps]
    assert all(step.integer for step in program.steps if step.macs)
    got = walk(model, x, target=made)[0]
    assert np.array_equal(got, reference.run(model, x)[0])
    assert np.abs(got - expected(model, x)).max() <= 0.02 * 1.01


@pytest.mark.parametrize("name", ["rpi4", "rpi5", "arm64-i8mm", "zynq7020-ps"])
def test_byte_attention_has_the_same_bits_on_arm(name):
    model, shape = attention(1, 2, 21, 20, integer=True, zeros=(121, 3, 77))
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    program = compiler.compile_graph(model, machine.resolve(target.load(name)))
    assert np.array_equal(run_on(program, x), reference.run(model, x)[0])


@pytest.mark.parametrize("shape", [(3, 5, 7, 17), (2, 33, 8)])
@pytest.mark.parametrize("order", ["rows", "columns"])
def test_products_outside_attention_agree_with_onnxruntime_and_the_integer_reference(shape, order):
    x = np.random.default_rng(6).standard_normal(shape).astype(np.float32)
    for integer in (False, True):
        model = product(shape, order, integer=integer)
        if integer:
            assert np.array_equal(walk(model, x)[0], reference.run(model, x)[0])
        else:
            np.testing.assert_allclose(walk(model, x)[0], expected(model, x), rtol=1e-5, atol=1e-5)
        assert "matmul" in families(model)


@pytest.mark.parametrize("name", ["rpi4", "rpi5", "arm64-i8mm", "zynq7020-ps"])
def test_byte_products_outside_attention_have_the_same_bits_on_arm(name):
    shape = (2, 5, 7, 19)
    x = np.random.default_rng(6).standard_normal(shape).astype(np.float32)
    for order in ("rows", "columns"):
        model = product(shape, order, integer=True)
        program = compiler.compile_graph(model, machine.resolve(target.load(name)))
        assert np.array_equal(run_on(program, x), reference.run(model, x)[0])


def product(shape, order, *, integer):
    """x times its own transpose; with "rows" only the first columns of the left operand, so that depth is 3."""
    perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    ends = {"b": np.array([3]), "zero": np.array([0]), "axis": np.array([len(shape) - 1])}
    cut = (
        [node("Slice", ["x", "zero", "b", "axis"], ["few"])] if order == "rows" else [node("Identity", ["x"], ["few"])]
    )
    move = [node("Transpose", ["few"], ["right"], perm=perm)]
    made, constants = quantised("x", "a", 0.03, 119) if integer else ([node("Relu", ["x"], ["a"])], {})
    also, more = quantised("right", "r", 0.02, 140) if integer else ([node("Identity", ["right"], ["r"])], {})
    left = [node("Slice", ["a", "zero", "b", "axis"], ["l"])] if order == "rows" else [node("Identity", ["a"], ["l"])]
    last = [node("MatMul", ["l", "r"], ["y"], name="product")]
    return model_of([*cut, *move, *made, *also, *left, *last], shape, "y", **constants, **more, **ends)


@pytest.mark.parametrize("shape", [(1, 7, 192), (2, 9, 37), (1, 4, 4, 24), (1, 1, 5)])
def test_layer_norm_agrees_with_onnxruntime(shape):
    rng = np.random.default_rng(2)
    gamma, beta = rng.standard_normal((2, shape[-1])).astype(np.float32)
    nodes = [
        node("LayerNormalization", ["x", "gamma", "beta"], ["n"], axis=-1, epsilon=1e-6),
        node("Relu", ["n"], ["y"]),
    ]
    model = model_of(nodes, shape, "y", gamma=gamma, beta=beta)
    agrees(model, shape)
    assert set(families(model)) == {"layer_norm"}


@pytest.mark.parametrize("shape", [(1, 7, 197), (1, 3, 9, 37), (2, 1000), (3, 5, 1), (2, 9, 17)])
def test_softmax_over_the_last_axis_agrees_with_onnxruntime(shape):
    model = model_of([node("Softmax", ["x"], ["y"], axis=-1)], shape, "y")
    agrees(model, shape)
    assert set(families(model)) == {"softmax"}


def roll(source, name, shift, axis, extent):
    cut = shift % extent
    constants = {
        f"{name}.{k}": np.array([v]) for k, v in {"cut": extent - cut, "zero": 0, "end": extent, "axis": axis}.items()
    }
    c = {k: f"{name}.{k}" for k in ("cut", "zero", "end", "axis")}
    nodes = [
        node("Slice", [source, c["cut"], c["end"], c["axis"]], [f"{name}.a"]),
        node("Slice", [source, c["zero"], c["cut"], c["axis"]], [f"{name}.b"]),
        node("Concat", [f"{name}.a", f"{name}.b"], [name], axis=axis),
    ]
    return nodes, constants


def test_a_shifted_window_is_read_row_by_row_and_nothing_is_copied():
    first, c1 = roll("n", "r1", -2, 1, 8)
    second, c2 = roll("r1", "r2", -2, 2, 8)
    rng = np.random.default_rng(3)
    nodes = [
        node("LayerNormalization", ["x", "gamma"], ["n"], axis=-1), *first, *second,
        node("Reshape", ["r2", "six"], ["s"]), node("Transpose", ["s"], ["t"], perm=[0, 1, 3, 2, 4, 5]),
        node("Reshape", ["t", "windows"], ["w"]), node("MatMul", ["w", "weight"], ["y"]),
    ]  # fmt: skip
    model = model_of(
        nodes, (1, 8, 8, 24), "y", **c1, **c2, gamma=np.ones(24, np.float32), six=np.array([1, 2, 4, 2, 4, 24]),
        windows=np.array([4, 16, 24]), weight=rng.standard_normal((24, 40)).astype(np.float32),
    )  # fmt: skip
    agrees(model, (1, 8, 8, 24))
    assert families(model) == ["layer_norm", "gemm"]


MOVES = {
    "transpose": ([node("Transpose", ["x"], ["y"], perm=[2, 0, 3, 1])], {}),
    "reshape of an image": ([node("Relu", ["x"], ["a"]), node("Reshape", ["a", "s"], ["y"])], {"s": np.array([6, -1])}),
    "backward slice": (
        [node("Slice", ["x", "b", "e", "a", "t"], ["y"])],
        {"b": np.array([-1]), "e": np.array([-(2**31)]), "a": np.array([3]), "t": np.array([-2])},
    ),
    "gather": ([node("Gather", ["x", "i"], ["y"], axis=2)], {"i": np.array([[3, 0], [-1, 2]])}),
    "depth to space": ([node("DepthToSpace", ["x"], ["y"], blocksize=2)], {}),
    "space to depth": ([node("SpaceToDepth", ["x"], ["y"], blocksize=2)], {}),
    "expand": ([node("Slice", ["x", "z", "o", "o"], ["a"]), node("Expand", ["a", "s"], ["y"])],
               {"z": np.array([0]), "o": np.array([1]), "s": np.array([2, 8, 4, 6])}),
    "shuffle": (
        [node("Reshape", ["x", "s"], ["a"]), node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
         node("Reshape", ["b", "r"], ["y"])],
        {"s": np.array([2, 2, 4, 4, 6]), "r": np.array([2, 8, 4, 6])},
    ),
    "concat of rows": ([node("Relu", ["x"], ["a"]), node("Concat", ["x", "a"], ["y"], axis=0)], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(MOVES))
@pytest.mark.parametrize("after", [None, "Conv"])
def test_movement_agrees_with_onnxruntime(case, after):
    nodes, constants = MOVES[case]
    shape = (1, 8, 4, 6) if case == "concat of rows" and after is None else (2, 8, 4, 6)
    model = model_of(nodes, shape, "y", **constants)
    made = model.graph.output[0].type.tensor_type.shape.dim
    if after and len(made) == 4:
        weight = np.random.default_rng(4).standard_normal((5, made[1].dim_value, 1, 1)).astype(np.float32)
        model = model_of([*nodes, node("Conv", ["y", "w"], ["conv"])], shape, "conv", w=weight, **constants)
    agrees(model, shape)


def test_loops_describe_what_the_addresses_say():
    rng = np.random.default_rng(5)
    for _ in range(50):
        rank = int(rng.integers(1, 5))
        shape, perm = rng.integers(1, 6, rank), rng.permutation(rank)
        addresses = np.arange(int(np.prod(shape))).reshape(shape).transpose(perm).reshape(-1)
        table, loops = movement.loops(addresses)
        rebuilt = table
        for extent, stride in loops:
            rebuilt = (rebuilt[:, None] + stride * np.arange(extent)).reshape(-1)
        assert table.size == 1
        assert np.array_equal(rebuilt, addresses)


def test_a_network_is_read_as_it_was_after_its_tokens_are_found():
    model, _ = attention(4, 3, 49, 32, added=((1, 3, 49, 49),))
    graph = ir.read(model)
    before = [n.op for n in graph.nodes]
    compiler.as_tokens(graph)
    assert before.count("MatMul") == [n.op for n in graph.nodes].count("MatMul")
