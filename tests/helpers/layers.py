"""Single layers drawn at random, in float and between quantisers, and networks of many of them side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from helpers.attention import attention_nodes
from helpers.graphs import node, quantized
from hypothesis import assume
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Draw = Callable[..., Any]
#: Sizes around the vector of every core: 4, 8 and 16 floats, 16 to 64 bytes.
CHANNELS = st.one_of(st.integers(1, 37), st.sampled_from([1, 3, 17, 33, 65, 70]))
FUNCTIONS = ["Relu", "Sigmoid", "HardSwish", "Tanh", "Gelu"]


@dataclass(frozen=True)
class Layer:
    """Nodes from `x` to `y`, and the shape of x."""

    shape: tuple[int, ...]
    nodes: Sequence[Any]
    constants: dict[str, np.ndarray] = field(repr=False)

    def __repr__(self) -> str:
        """The operators with their attributes, and every shape: what it takes to make the layer again."""
        words = [f"x {self.shape}"]
        for n in self.nodes:
            attributes = {a.name: helper.get_attribute_value(a) for a in n.attribute}
            shapes = [self.constants[name].shape for name in n.input if name in self.constants]
            words.append(f"{n.op_type} {attributes or ''} {shapes or ''}".strip())
        small = {k: v.tolist() for k, v in self.constants.items() if v.size <= 6}
        return " | ".join(words) + f" | {small}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis prints; by itself it would print every node."""
        printer.text(repr(self))


def together(layers: Sequence[Layer]) -> onnx.ModelProto:
    """One network of all layers, each with an input and an output of its own, so that they are compiled at once."""
    nodes, inputs, outputs, constants = [], [], [], []
    for index, layer in enumerate(layers):

        def own(name: str, prefix: str = f"{index}.") -> str:
            return name and prefix + name

        for position, made in enumerate(layer.nodes):
            copied = onnx.NodeProto()
            copied.CopyFrom(made)
            copied.name = own(f"{made.op_type}{position}")
            copied.input[:], copied.output[:] = [own(n) for n in made.input], [own(n) for n in made.output]
            nodes.append(copied)
        inputs.append(helper.make_tensor_value_info(own("x"), TensorProto.FLOAT, layer.shape))
        outputs.append(helper.make_tensor_value_info(own("y"), TensorProto.FLOAT, None))
        constants += [numpy_helper.from_array(np.asarray(v), own(k)) for k, v in layer.constants.items()]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def images(layers: Sequence[Layer]) -> list[np.ndarray]:
    """An input for each layer; bytes are centred on their zero points by the scales that were drawn."""
    rng = np.random.default_rng(len(layers))
    return [rng.standard_normal(layer.shape).astype(np.float32) for layer in layers]


def points(draw: Draw, name: str, scale: float) -> dict[str, np.ndarray]:
    """Scale and zero point of a quantiser."""
    low, dtype = draw(st.sampled_from([(0, np.uint8), (0, np.uint8), (-128, np.int8)]))
    factor = draw(st.sampled_from([0.7, 1.0, 1.3]))
    return {f"{name}.s": np.float32(scale * factor), f"{name}.z": dtype(draw(st.integers(low, low + 255)))}


def enclosed(
    draw: Draw, shape: Sequence[int], nodes: Sequence[Any], constants: dict[str, Any], integer: bool, step: float = 0.03
) -> Layer:
    """A layer of the nodes from `a` to `b`, between quantisers when `integer`; `step` is the scale of the result."""
    shape = tuple(shape)
    if not integer:
        ends = {"a": "x", "b": "y"}
        renamed = []
        for made in nodes:
            copied = onnx.NodeProto()
            copied.CopyFrom(made)
            copied.input[:] = [ends.get(n, n) for n in made.input]
            copied.output[:] = [ends.get(n, n) for n in made.output]
            renamed.append(copied)
        return Layer(shape, renamed, constants)
    constants = {**constants, **points(draw, "in", 0.03), **points(draw, "out", step)}
    nodes = [*quantized("x", "a", "in.s", "in.z"), *nodes, *quantized("b", "y", "out.s", "out.z")]
    return Layer(shape, nodes, constants)


def weighted(draw: Draw, shape: Sequence[int], integer: bool, axis: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """The weight `w`: floats, or bytes with a scale for each output channel or one for all, and the nodes it takes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if not integer:
        return [], {"w": rng.standard_normal(shape).astype(np.float32)}
    # From -8 to 7 they are stored two to a byte.
    low, high = draw(st.sampled_from([(-127, 127), (-8, 7), (-128, 127)]))
    count = shape[axis] if draw(st.booleans()) else 1
    constants = {
        "w.i": rng.integers(low, high + 1, shape).astype(np.int8),
        "w.s": rng.uniform(0.005, 0.015, count).astype(np.float32),
        "w.z": np.zeros(count, np.int8),
    }
    if count == 1:
        constants = {k: v if k == "w.i" else v.reshape(()) for k, v in constants.items()}
    return [node("DequantizeLinear", [*constants], ["w"], **({"axis": axis} if count > 1 else {}))], constants


def followed(draw: Draw, source: str, constants: dict[str, Any], shape: Sequence[int], integer: bool) -> list[Any]:
    """What may follow a layer from `source` to `b`: nothing, a function, or a constant added."""
    kind = draw(st.sampled_from(["nothing", "Relu", "Clip", *([] if integer else ["Sigmoid", "Gelu", "add", "mul"])]))
    if kind == "nothing":
        return [node("Identity", [source], ["b"])]
    if kind == "Clip":
        constants.update(low=np.float32(-0.5), high=np.float32(draw(st.sampled_from([0.75, 6.0]))))
        return [node("Clip", [source, "low", "high"], ["b"])]
    if kind in ("add", "mul"):
        constants["other"] = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
        return [node(kind.capitalize(), [source, "other"], ["b"])]
    return [node(kind, [source], ["b"])]


def window(draw: Draw, largest: int, strides: int) -> tuple[list[int], tuple[int, int], dict[str, Any]]:
    """Height and width of an image, kernel, and attributes that leave at least one output."""
    size = [draw(st.integers(1, 12)), draw(st.integers(1, 17))]
    kernel = (draw(st.integers(1, largest)), draw(st.integers(1, largest)))
    if draw(st.booleans()):
        kernel = (kernel[0], kernel[0])
    pads = [draw(st.integers(0, (kernel[axis % 2]) - 1)) for axis in range(4)]
    dilations = [draw(st.sampled_from([1, 1, 1, 2]))] * 2
    for axis in (0, 1):
        least = (kernel[axis] - 1) * dilations[axis] + 1 - pads[axis] - pads[axis + 2]
        size[axis] = max(size[axis], least)
    stride = [draw(st.integers(1, strides)), draw(st.integers(1, strides))]
    return size, kernel, {"pads": pads, "strides": stride, "dilations": dilations}


@st.composite
def convolutions(draw: Draw, integer: bool) -> Layer:
    """Conv with any kernel, border, stride and dilation; pointwise and grouped ones among them."""
    size, kernel, attributes = window(draw, draw(st.sampled_from([1, 3, 3, 5])), 3)
    group = draw(st.sampled_from([1, 1, 1, 2, 3]))
    depth, channels = draw(CHANNELS), draw(CHANNELS)
    if group > 1:
        depth, channels = min(depth, 9), min(channels, 9)
    return _conv(draw, size, kernel, attributes, (group * channels, depth, *kernel), group, integer)


@st.composite
def depthwise(draw: Draw, integer: bool) -> Layer:
    """Conv of each channel by itself, kernels to 7 x 7, strides to 4, and one to two outputs for each channel."""
    size, kernel, attributes = window(draw, draw(st.sampled_from([3, 5, 7])), 4)
    channels, multiplier = draw(CHANNELS), draw(st.sampled_from([1, 1, 1, 2]))
    assume(channels > 1)
    return _conv(draw, size, kernel, attributes, (multiplier * channels, 1, *kernel), channels, integer)


def _conv(
    draw: Draw, size: Sequence[int], kernel: Sequence[int], attributes: dict[str, Any], weight: Sequence[int],
    group: int, integer: bool,
) -> Layer:  # fmt: skip
    made, constants = weighted(draw, weight, integer)
    if draw(st.booleans()):
        constants["bias"] = np.random.default_rng(3).standard_normal(weight[0]).astype(np.float32)
    names = ["a", "w", *(["bias"] if "bias" in constants else [])]
    layer = node("Conv", names, ["c"], group=group, **attributes)
    after = followed(draw, "c", constants, (1, weight[0], 1, 1), integer)
    step = 0.02 * float(np.sqrt(np.prod(weight[1:])))
    shape = (draw(st.integers(1, 2)), group * weight[1], *size)
    return enclosed(draw, shape, [*made, layer, *after], constants, integer, step)


@st.composite
def linear(draw: Draw, integer: bool) -> Layer:
    """MatMul with a weight, or Gemm; one column and one row among them."""
    depth, channels = draw(st.integers(1, 150)), draw(CHANNELS)
    transposed = draw(st.booleans())
    shape = (draw(st.integers(1, 40)), depth)
    if transposed:
        made, constants = weighted(draw, (channels, depth), integer, axis=0)
        constants["bias"] = np.random.default_rng(3).standard_normal(channels).astype(np.float32)
        layer = node("Gemm", ["a", "w", "bias"], ["c"], transB=1)
    else:
        made, constants = weighted(draw, (depth, channels), integer, axis=1)
        shape = (draw(st.integers(1, 3)), *shape)
        layer = node("MatMul", ["a", "w"], ["c"])
    after = followed(draw, "c", constants, (channels,), integer)
    return enclosed(draw, shape, [*made, layer, *after], constants, integer, 0.02 * float(np.sqrt(depth)))


@st.composite
def attentions(draw: Draw, integer: bool) -> Layer:
    """Scaled dot-product attention of one tensor with itself, with biases of several shapes on the scores."""
    windows, heads = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    tokens, depth = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    kinds = [(1, heads, tokens, tokens), (windows, 1, tokens, tokens), (tokens, tokens), (windows, 1, 1, tokens)]
    added = tuple(draw(st.lists(st.sampled_from(kinds), max_size=2)))
    zeros = tuple(draw(st.integers(0, 255)) for _ in range(3))
    nodes, constants = attention_nodes(
        windows, heads, tokens, depth, added=added, integer=integer, zeros=zeros,
        scale_on=draw(st.sampled_from(["q", "scores"])),
    )  # fmt: skip
    return Layer((windows, tokens, 3 * heads * depth), nodes, constants)


@st.composite
def products(draw: Draw, integer: bool) -> Layer:
    """MatMul of two tensors that are both computed: slices of one, the right one turned or not."""
    rows, depth, columns = (draw(st.integers(1, 40)) for _ in range(3))
    batch = draw(st.sampled_from([(1,), (3,), (2, 3), (1, 5)]))
    turned = draw(st.booleans())
    right = (columns, depth) if turned else (depth, columns)
    height, width = max(rows, right[0]), max(depth, right[1])
    rank = len(batch) + 2
    constants = {"zero": np.array([0, 0]), "axes": np.array([rank - 2, rank - 1]), "left": np.array([rows, depth]),
                 "right": np.array(right)}  # fmt: skip
    perm = [*range(rank - 2), rank - 1, rank - 2]
    nodes = [
        node("Slice", ["a", "zero", "left", "axes"], ["l"]), node("Slice", ["a", "zero", "right", "axes"], ["r"]),
        *([node("Transpose", ["r"], ["t"], perm=perm)] if turned else []),
        node("MatMul", ["l", "t" if turned else "r"], ["b"]),
    ]  # fmt: skip
    return enclosed(draw, (*batch, height, width), nodes, constants, integer, 0.04 * float(np.sqrt(depth)))


@st.composite
def rowwise(draw: Draw, integer: bool) -> Layer:
    """LayerNormalization with or without its parameters, or Softmax, over the last axis."""
    channels = draw(st.one_of(CHANNELS, st.sampled_from([197, 256])))
    shape = (*draw(st.sampled_from([(1,), (7,), (2, 9), (3, 1)])), channels)
    if draw(st.booleans()):
        return enclosed(draw, shape, [node("Softmax", ["a"], ["b"], axis=-1)], {}, integer, 1 / 256)
    rng = np.random.default_rng(5)
    constants: dict[str, Any] = {"gamma": rng.standard_normal(channels).astype(np.float32)}
    if draw(st.booleans()):
        constants["beta"] = rng.standard_normal(channels).astype(np.float32)
    epsilon = draw(st.sampled_from([1e-6, 1e-5, 1e-3]))
    layer = node("LayerNormalization", ["a", *constants], ["c"], axis=-1, epsilon=epsilon)
    return enclosed(draw, shape, [layer, *followed(draw, "c", constants, (channels,), integer)], constants, integer)


@st.composite
def pools(draw: Draw, integer: bool) -> Layer:
    """MaxPool, AveragePool and GlobalAveragePool."""
    size, kernel, attributes = window(draw, 4, 3)
    shape = (draw(st.integers(1, 2)), draw(CHANNELS), *size)
    kind = draw(st.sampled_from(["MaxPool", "AveragePool", "GlobalAveragePool"]))
    if kind == "GlobalAveragePool":
        return enclosed(draw, shape, [node(kind, ["a"], ["b"])], {}, integer)
    if kind == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    # A window may lie in the padding altogether, and what it is worth there is not defined.
    assume(all(pad < k for pad, k in zip(attributes["pads"], (*kernel, *kernel), strict=True)))
    assume(max(attributes["dilations"]) == 1)
    return enclosed(draw, shape, [node(kind, ["a"], ["b"], kernel_shape=kernel, **attributes)], {}, integer)


@st.composite
def chains(draw: Draw, integer: bool) -> Layer:
    """Up to four elementwise operators, with constants and computed tensors of every broadcast shape."""
    image = draw(st.booleans())
    size = (draw(st.integers(1, 9)), draw(st.integers(1, 9))) if image else (draw(st.integers(1, 30)),)
    batch, channels = draw(st.integers(1, 2)), draw(CHANNELS)
    shape = (batch, channels, *size) if image else (batch, *size, channels)
    others = [(), shape, (1, channels, *(1 for _ in size)) if image else (channels,)]
    constants: dict[str, Any] = {}
    nodes, last = [], "a"
    for index in range(draw(st.integers(1, 4))):
        name = f"t{index}"
        # A mean of floats has no order of its own, so between bytes it has no bits to compare.
        kind = draw(st.sampled_from([*FUNCTIONS, "Add", "Sub", "Mul", "Max", "again", *([] if integer else ["mean"])]))
        if kind in FUNCTIONS:
            nodes.append(node(kind, [last], [name]))
        elif kind == "again":
            nodes.append(node(draw(st.sampled_from(["Add", "Mul"])), [last, "a"], [name]))
        elif kind == "mean" and image:
            nodes += [node("GlobalAveragePool", [last], [f"m{index}"]), node("Mul", [last, f"m{index}"], [name])]
        else:
            constants[f"k{index}"] = np.random.default_rng(index).standard_normal(draw(st.sampled_from(others)))
            pair = [last, f"k{index}"] if draw(st.booleans()) else [f"k{index}", last]
            nodes.append(node("Add" if kind == "mean" else kind, pair, [name]))
        last = name
    nodes.append(node("Identity", [last], ["b"]))
    constants = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    return enclosed(draw, shape, nodes, constants, integer)


@st.composite
def resizes(draw: Draw, integer: bool) -> Layer:
    """Resize of images, linear and nearest, larger and smaller."""
    shape = (draw(st.integers(1, 2)), draw(CHANNELS), draw(st.integers(1, 8)), draw(st.integers(1, 8)))
    size = (draw(st.integers(1, 13)), draw(st.integers(1, 13)))
    layer = node("Resize", ["a", "", "", "size"], ["b"], mode=draw(st.sampled_from(["linear", "nearest"])),
                 coordinate_transformation_mode=draw(st.sampled_from(["half_pixel", "asymmetric", "align_corners"])),
                 nearest_mode="floor")  # fmt: skip
    return enclosed(draw, shape, [layer], {"size": np.array([*shape[:2], *size])}, integer)


@st.composite
def byte_operations(draw: Draw) -> Layer:
    """Tables, and sums, products and joins of two tensors with quantisers of their own."""
    shape = (draw(st.integers(1, 2)), draw(CHANNELS), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    kind = draw(st.sampled_from([*FUNCTIONS, "Add", "Sub", "Mul", "Concat"]))
    if kind in FUNCTIONS:
        return enclosed(draw, shape, [node(kind, ["a"], ["b"])], {}, True)
    constants = points(draw, "other", 0.02)
    made = [node("Tanh", ["a"], ["h"]), *quantized("h", "other", "other.s", "other.z")]
    if draw(st.booleans()) and kind == "Mul":
        made = [node("GlobalAveragePool", ["a"], ["h"]), *quantized("h", "other", "other.s", "other.z")]
    pair = ["a", "other"] if draw(st.booleans()) else ["other", "a"]
    layer = node(kind, pair, ["b"], **({"axis": 1} if kind == "Concat" else {}))
    return enclosed(draw, shape, [*made, layer], constants, True)


@st.composite
def moves(draw: Draw, integer: bool) -> Layer:
    """Transpose, and a Slice of what it made."""
    rank = draw(st.integers(2, 4))
    shape = tuple(draw(st.integers(1, 19)) if rank < 4 else draw(st.integers(1, 9)) for _ in range(rank))
    perm = draw(st.permutations(range(rank)))
    axis = draw(st.integers(0, rank - 1))
    end = draw(st.integers(1, shape[perm[axis]]))
    constants = {"from": np.array([draw(st.integers(0, end - 1))]), "to": np.array([end]), "axis": np.array([axis])}
    nodes = [node("Transpose", ["a"], ["t"], perm=perm), node("Slice", ["t", "from", "to", "axis"], ["b"])]
    return enclosed(draw, shape, nodes, constants, integer)


_FAMILIES: dict[str, Callable[[bool], st.SearchStrategy[Layer]]] = {
    "convolution": convolutions, "depthwise": depthwise, "linear": linear, "attention": attentions,
    "product": products, "rowwise": rowwise, "pool": pools, "chain": chains, "resize": resizes, "move": moves,
}  # fmt: skip
#: Layers of each kernel family, by name.
FLOAT_FAMILIES = {name: made(False) for name, made in _FAMILIES.items()}
BYTE_FAMILIES = {name: made(True) for name, made in _FAMILIES.items()} | {"bytes": byte_operations()}
