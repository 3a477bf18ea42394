"""Graphs as other exporters write them, opset 13 to 22: they enter, compile, and compute what onnxruntime computes."""

import numpy as np
import onnxruntime
import pytest
from helpers.walking import walk
from onnx import TensorProto, helper, numpy_helper

from edgevision.data.preprocess import Preprocessing
from edgevision.graph.export import export
from edgevision.zoo.model import InputSpec, Model, Provenance

OPSETS = range(13, 23)


class Writer:
    """An ONNX graph being written for one opset."""

    def __init__(self, opset, shape):
        self.opset, self.shape = opset, shape
        self.nodes, self.initialisers = [], []
        self.rng = np.random.default_rng(0)

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}.{i}" for i in range(outputs)]
        inputs = [self.array(i) if isinstance(i, np.ndarray | float | list) else i for i in inputs]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def array(self, value, dtype=None):
        """An initializer; whole numbers are int64 unless said otherwise."""
        value = np.asarray(value, dtype or (np.float32 if np.asarray(value).dtype.kind == "f" else np.int64))
        self.initialisers.append(numpy_helper.from_array(value, f"c{len(self.initialisers)}"))
        return self.initialisers[-1].name

    def constant(self, value):
        """A Constant node, as torch's exporter writes numbers."""
        return self.node("Constant", value=numpy_helper.from_array(np.asarray(value)))

    def random(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32)

    def mean(self, x, axes, keepdims=1):
        """ReduceMean with its axes where the opset has them."""
        if self.opset < 18:
            return self.node("ReduceMean", x, axes=axes, keepdims=keepdims)
        return self.node("ReduceMean", x, axes, keepdims=keepdims)

    def model(self, output):
        graph = helper.make_graph(
            self.nodes, "theirs", [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], self.initialisers,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        # Exporters write the shapes of results they have seen, whatever can be inferred.
        (result,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": np.zeros(self.shape, "f4")})
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, TensorProto.FLOAT, result.shape))
        return model


def tokens(w, x="x"):
    """(1, 8, 6, 6) to (1, 36, 8), its shape computed by nodes."""
    flat = w.node("Reshape", x, [0, 8, -1])
    return w.node("Transpose", flat, perm=[0, 2, 1])


def image(w, x):
    """(1, 36, n) back to an image, and to ten numbers."""
    y = w.node("Transpose", x, perm=[0, 2, 1])
    return w.node("Flatten", w.mean(y, [2]))


def shape_chain(w):
    x = w.node("Relu", "x")
    shape = w.node("Shape", x)
    batch, channels = (w.node("Gather", shape, w.constant(np.int64(i)), axis=0) for i in (0, 1))
    parts = [w.node("Unsqueeze", part, [0]) for part in (batch, channels)]
    shape = w.node("Concat", *parts, w.constant(np.array([-1], np.int64)), axis=0)
    return w.node("Reshape", x, shape)


def shape_arithmetic(w):
    size = w.node("Gather", w.node("Shape", "x"), w.constant(np.int64(2)))
    half = w.node("Cast", w.node("Floor", w.node("Div", w.node("Cast", size, to=1), w.constant(np.float32(2)))), to=7)
    ends = w.node("Unsqueeze", half, [0])
    return w.node("Relu", w.node("Slice", "x", [0], ends, [2]))


def layer_norm(w, *, reciprocal=False, square="Pow"):
    x = tokens(w)
    away = w.node("Sub", x, w.mean(x, [-1]))
    power = w.node("Pow", away, w.constant(np.float32(2))) if square == "Pow" else w.node("Mul", away, away)
    root = w.node("Sqrt", w.node("Add", w.mean(power, [-1]), w.constant(np.float32(1e-5))))
    y = w.node("Mul", away, w.node("Reciprocal", root)) if reciprocal else w.node("Div", away, root)
    return image(w, w.node("Add", w.node("Mul", y, w.random(8)), w.random(8)))


def gelu_erf(w, order="x first"):
    x = w.node("Conv", "x", w.random(8, 8, 1, 1))
    e = w.node("Erf", w.node("Div", x, w.constant(np.float32(2**0.5))))
    one = w.node("Add", e, w.constant(np.float32(1)))
    half = w.constant(np.float32(0.5))
    if order == "x first":
        return w.node("Mul", w.node("Mul", x, one), half)
    if order == "half first":
        return w.node("Mul", x, w.node("Mul", half, one))
    return w.node("Mul", w.node("Mul", x, half), one)


def gelu_tanh(w):
    x = w.node("Conv", "x", w.random(8, 8, 1, 1))
    cube = w.node("Mul", w.node("Pow", x, w.constant(np.float32(3))), w.constant(np.float32(0.044715)))
    t = w.node("Tanh", w.node("Mul", w.node("Add", x, cube), w.constant(np.float32((2 / np.pi) ** 0.5))))
    half = w.node("Mul", x, w.constant(np.float32(0.5)))
    return w.node("Mul", half, w.node("Add", t, w.constant(np.float32(1))))


def hard_swish(w):
    shifted = w.node("Add", "x", w.constant(np.float32(3)))
    clipped = w.node("Clip", shifted, w.constant(np.float32(0)), w.constant(np.float32(6)))
    return w.node("Div", w.node("Mul", "x", clipped), w.constant(np.float32(6)))


def padded(w):
    x = w.node("Pad", "x", [0, 0, 1, 2, 0, 0, 1, 0])
    x = w.node("Conv", x, w.random(6, 8, 3, 3), strides=[2, 1])
    return w.node("Pad", x, [0, 0, 0, 1, 0, 0, 1, 0], 0.5, mode="constant")


def split(w):
    if w.opset < 18:
        a, b, c = w.node("Split", "x", [3, 3, 2], outputs=3, axis=1)
    else:
        a, b, c = w.node("Split", "x", outputs=3, axis=1, num_outputs=3)
    return w.node("Concat", c, b, a, axis=1)


def squeezes(w):
    x = w.node("Unsqueeze", "x", [1, 5])
    x = w.node("Squeeze", w.node("Relu", x), [5])
    return w.node("Squeeze", x, [1])


def gathers(w):
    x = tokens(w)
    first = w.node("Gather", x, w.constant(np.int64(0)), axis=1)
    rest = w.node("Gather", x, w.constant(np.array([2, -1], np.int64)), axis=1)
    return w.node("Add", first, w.mean(rest, [1], keepdims=0))


def expanded_token(w):
    x = tokens(w)
    token = w.node("Expand", w.random(1, 1, 8), w.constant(np.array([1, 1, 8], np.int64)))
    return image(w, w.node("Concat", token, x, axis=1))


def where(w):
    positive = w.node("Greater", "x", w.constant(np.float32(0.2)))
    return w.node("Where", positive, "x", w.constant(np.float32(-1)))


def attention(w):
    x = tokens(w)
    q, k, v = (w.node("MatMul", x, w.random(8, 8)) for _ in range(3))
    scores = w.node("Div", w.node("MatMul", q, w.node("Transpose", k, perm=[0, 2, 1])), w.constant(np.float32(8**0.5)))
    return image(w, w.node("MatMul", w.node("Softmax", scores, axis=-1), v))


def resize(mode, transform, scales=None, **attributes):
    def build(w):
        inputs = ["x", "", scales] if scales else ["x", "", "", [1, 8, 9, 14]]
        y = w.node("Resize", *inputs, mode=mode, coordinate_transformation_mode=transform, **attributes)
        return w.node("Relu", y)

    return build


def norm(op, *shapes, since=13, **attributes):
    def build(w):
        constants = [np.abs(w.random(*shape)) + np.float32(0.1) for shape in shapes]
        return w.node("Relu", w.node(op, "x", *constants, **attributes))

    build.since = since
    return build


def unary(op, since=13, **attributes):
    def build(w):
        return w.node(op, w.node("Conv", "x", w.random(8, 8, 1, 1)), **attributes)

    build.since = since
    return build


def layer_norm_operator(w):
    return image(w, w.node("LayerNormalization", tokens(w), w.random(8), w.random(8), axis=-1))


layer_norm_operator.since = 17


CASES = {
    "shape, gather, concat, reshape": shape_chain,
    "arithmetic on a shape": shape_arithmetic,
    "layer norm in nine operators": layer_norm,
    "layer norm with a reciprocal": lambda w: layer_norm(w, reciprocal=True),
    "layer norm with a product": lambda w: layer_norm(w, square="Mul"),
    "LayerNormalization": layer_norm_operator,
    "erf GELU, x first": gelu_erf,
    "erf GELU, half first": lambda w: gelu_erf(w, "half first"),
    "erf GELU, half of x": lambda w: gelu_erf(w, "half of x"),
    "tanh GELU": gelu_tanh,
    "Gelu": unary("Gelu", since=20),
    "Gelu tanh": unary("Gelu", since=20, approximate="tanh"),
    "hard swish in four operators": hard_swish,
    "HardSwish": unary("HardSwish", since=14),
    "LeakyRelu": unary("LeakyRelu", alpha=0.2),
    "PRelu": lambda w: w.node("PRelu", w.node("Relu", "x"), w.random(8, 1, 1)),
    "clip without bounds": lambda w: w.node("Clip", w.node("Clip", "x"), "", w.constant(np.float32(0.5))),
    "batch norm after a sum": lambda w: norm("BatchNormalization", (8,), (8,), (8,), (8,))(w),
    "InstanceNormalization": norm("InstanceNormalization", (8,), (8,)),
    "GroupNormalization": norm("GroupNormalization", (8,), (8,), since=21, num_groups=2),
    "split in equal parts": split,
    "squeezes": squeezes,
    "pads ahead of a convolution": padded,
    "average that counts padding": lambda w: w.node(
        "AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], count_include_pad=1
    ),
    "gathers": gathers,
    "an expanded token": expanded_token,
    "where": where,
    "attention": attention,
    "softmax over channels": lambda w: w.node("Softmax", "x", axis=1),
    "einsum": lambda w: w.node("Einsum", tokens(w), w.random(8, 5), equation="bij,jk->bik"),
    "mean over channels": lambda w: w.mean("x", [1]),
    "mean over the image": lambda w: w.mean("x", [2, 3], keepdims=0),
    "slice with a step": lambda w: w.node("Slice", "x", [0, 5], [6, -7], [2, 3], [2, -2]),
    "nearest by scales": resize("nearest", "asymmetric", [1.0, 1.0, 2.0, 2.0], nearest_mode="floor"),
    "nearest by sizes": resize("nearest", "half_pixel"),
    "linear by scales": resize("linear", "half_pixel", [1.0, 1.0, 2.0, 1.5]),
    "linear by sizes": resize("linear", "pytorch_half_pixel"),
    "linear with corners": resize("linear", "align_corners"),
    "cubic": resize("cubic", "half_pixel", cubic_coeff_a=-0.75),
}
PARAMETERS = [(case, opset) for case in sorted(CASES) for opset in OPSETS if opset >= getattr(CASES[case], "since", 13)]


def entered(case, opset):
    writer = Writer(opset, (1, 8, 6, 6))
    model = writer.model(CASES[case](writer))
    spec = InputSpec("x", writer.shape)
    return model, export(Model("theirs", spec, Preprocessing(6, 6), Provenance("x.onnx"), onnx=model)).graph


@pytest.mark.parametrize(("case", "opset"), PARAMETERS)
def test_every_spelling_enters_and_computes_the_same(case, opset):
    model, graph = entered(case, opset)
    x = np.random.default_rng(7).standard_normal((1, 8, 6, 6)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    (got,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    if opset in (13, 18, 22) or opset == getattr(CASES[case], "since", 13):  # the rest is the same graph
        np.testing.assert_allclose(walk(graph, x)[0], expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("opset", [13, 17, 22])
@pytest.mark.parametrize(("case", "op"), [
    ("layer norm in nine operators", "LayerNormalization"), ("layer norm with a reciprocal", "LayerNormalization"),
    ("layer norm with a product", "LayerNormalization"), ("erf GELU, x first", "Gelu"),
    ("erf GELU, half first", "Gelu"), ("erf GELU, half of x", "Gelu"),
])  # fmt: skip
def test_what_was_spelled_out_is_one_operator_again(case, op, opset):
    _, graph = entered(case, opset)
    ops = [node.op_type for node in graph.graph.node]
    assert ops.count(op) == 1
    assert not {"Erf", "Sqrt", "Sub", "Div", "Pow"} & set(ops)


@pytest.mark.parametrize("opset", [13, 20, 22])
@pytest.mark.parametrize("case", ["shape, gather, concat, reshape", "arithmetic on a shape"])
def test_nothing_is_computed_from_shapes_at_run_time(case, opset):
    _, graph = entered(case, opset)
    assert not {"Shape", "Gather", "Concat", "Unsqueeze", "Cast", "Div"} & {node.op_type for node in graph.graph.node}


def test_a_deviation_that_is_no_layer_norm_is_left_alone():
    writer = Writer(18, (1, 8, 6, 6))
    away = writer.node("Sub", "x", writer.mean("x", [1]))
    root = writer.node("Sqrt", writer.node("Add", writer.mean(writer.node("Mul", away, away), [1]), 1e-5))
    model = writer.model(writer.node("Div", away, root))
    spec = InputSpec("x", writer.shape)
    graph = export(Model("theirs", spec, Preprocessing(6, 6), Provenance("x.onnx"), onnx=model)).graph
    assert "LayerNormalization" not in [node.op_type for node in graph.graph.node]


def test_half_an_error_function_is_no_gelu():
    writer = Writer(20, (1, 8, 6, 6))
    erf = writer.node("Erf", writer.node("Div", "x", writer.constant(np.float32(3))))
    product = writer.node("Mul", "x", writer.node("Add", erf, writer.constant(np.float32(1))))
    model = writer.model(writer.node("Mul", product, writer.constant(np.float32(0.5))))
    spec = InputSpec("x", writer.shape)
    graph = export(Model("theirs", spec, Preprocessing(6, 6), Provenance("x.onnx"), onnx=model)).graph
    assert "Gelu" not in [node.op_type for node in graph.graph.node]
