"""The integer reference: a graph of explicit integer operators run in numpy, slow and obvious.

It follows quant/NUMERICS.md through `graph.numerics`; the compiled program must give the same bytes. Float operators
outside section 5 are computed by onnx's own reference and carry no bit-exactness promise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from edgevision.compress.factorized_graph import as_convolutions
from edgevision.graph import binary, ir, numerics
from edgevision.graph.bytesteps import along
from edgevision.graph.factorized import factors_of
from edgevision.graph.functions import function_of
from edgevision.graph.geometry import window_of
from edgevision.graph.integer import integerize
from edgevision.graph.ir import Graph, Node
from edgevision.graph.qdq import Quant
from edgevision.graph.square import sampled
from edgevision.graph.transposed import Spread


def run(model: onnx.ModelProto, *inputs: np.ndarray) -> list[np.ndarray]:
    """Run a quantised ONNX model as NUMERICS.md defines it; returns every graph output.

    Args:
        inputs: one array for each graph input, in order.
    """
    # The reference of onnx takes no groups in a transposed convolution.
    plain, _ = as_convolutions(model, lambda shape: not shape.transposed, fused=True)
    graph = integerize(ir.read(plain))
    values = evaluate(graph, dict(zip(graph.inputs, inputs, strict=True)))
    return [values[name] for name in graph.outputs]


def evaluate(graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of every tensor of an integer graph for the given inputs."""
    values: dict[str, np.ndarray] = dict(feeds)

    def get(name: str) -> np.ndarray:
        return values[name] if name in values else graph.constants[name]

    for node in graph.nodes:
        handler = _HANDLERS.get(node.op)
        arguments = [get(name) for name in node.inputs if name]
        if handler is not None and node.domain in ("edgevision.integer", "edgevision.fused"):
            values[node.outputs[0]] = handler(node, *arguments)
        elif (function := function_of(node)) is not None and arguments[0].dtype == np.float32:
            values[node.outputs[0]] = numerics.FUNCTIONS[function](arguments[0])
        elif node.op == "Softmax" and int(node.get("axis", -1)) in (-1, arguments[0].ndim - 1):
            values[node.outputs[0]] = numerics.softmax(arguments[0])
        elif node.op == "LayerNormalization" and int(node.get("axis", -1)) in (-1, arguments[0].ndim - 1):
            values[node.outputs[0]] = _layer_norm(node, [get(name) if name else None for name in node.inputs])
        elif node.op == "MaxPool" and arguments[0].ndim == 4 and len(node.outputs) == 1:
            values[node.outputs[0]] = _max_pool(node, arguments[0], graph.shape(node.outputs[0]))
        else:
            part = ir.to_model(graph, [node], [n for n in dict.fromkeys(node.inputs) if n in values], node.outputs)
            made: Any = ReferenceEvaluator(part).run(None, {n: values[n] for n in node.inputs if n in values})
            values.update(zip(node.outputs, made, strict=True))
    return values


def _layer_norm(node: Node, arguments: list[np.ndarray | None]) -> np.ndarray:
    x, gamma, beta = [*arguments, None, None][:3]
    assert x is not None
    return numerics.layer_norm(x, gamma, beta, float(node.get("epsilon", 1e-5)))


def _max_pool(node: Node, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Maximum over the taps inside the frame; the output's `shape` says how many windows there are."""
    kernel = (int(node.attributes["kernel_shape"][0]), int(node.attributes["kernel_shape"][1]))
    window = window_of(node.attributes, x.shape, shape, kernel)
    lowest = 0 if x.dtype == np.uint8 else -np.inf
    result = np.full(shape, lowest, x.dtype)
    for row in range(window.out_height):
        for column in range(window.out_width):
            y0, x0 = row * window.stride[0] - window.top, column * window.stride[1] - window.left
            ys = [
                y0 + k * window.dilation[0] for k in range(kernel[0]) if 0 <= y0 + k * window.dilation[0] < x.shape[2]
            ]
            xs = [
                x0 + k * window.dilation[1] for k in range(kernel[1]) if 0 <= x0 + k * window.dilation[1] < x.shape[3]
            ]
            result[:, :, row, column] = x[:, :, ys][:, :, :, xs].max(axis=(2, 3), initial=lowest)
    return result


def _quantize(node: Node, x: np.ndarray) -> np.ndarray:
    quant: Quant = node.attributes["quant"]
    scale, zero = (along(a, x.ndim, quant.axis) for a in (quant.scale, quant.zero_point))
    return numerics.quantize(x, scale, zero)


def _dequantize(node: Node, q: np.ndarray) -> np.ndarray:
    quant: Quant = node.attributes["quant"]
    return numerics.dequantize(q, along(quant.scale, q.ndim, quant.axis), along(quant.zero_point, q.ndim, quant.axis))


def _finish(node: Node, accumulator: np.ndarray, axis: int) -> np.ndarray:
    """Bytes, or float where the operator leaves the integers (sections 4 and 8)."""
    out: Quant | None = node.get("out")
    scale = along(np.asarray(node.attributes["scale"], np.float32).reshape(-1), accumulator.ndim, axis)
    if out is None:
        return accumulator.astype(np.int32).astype(np.float32) * scale
    if node.get("gelu") is not None:
        low, high = int(node.attributes["low"]), int(node.attributes["high"])
        return numerics.requantize_gelu(accumulator, scale, node.attributes["gelu"], out.zero, low, high)
    zero = along(out.zero_point, accumulator.ndim, out.axis)
    return numerics.requantize(accumulator, scale, zero, int(node.attributes["low"]), int(node.attributes["high"]))


def _int_conv(node: Node, x: np.ndarray) -> np.ndarray:
    weight: np.ndarray = node.attributes["weight"]
    zero = along(np.asarray(node.attributes["x_zero"]), 4, 1)
    steps = x.astype(np.int64) - zero
    accumulator = convolve(steps, weight.astype(np.int64), node) + node.attributes["bias"].reshape(1, -1, 1, 1)
    return _finish(node, accumulator, 1)


def _square(node: Node, x: np.ndarray, dilation: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A float layer: no bit-exactness promise."""
    taps = sampled(x, dilation.astype(np.int64), int(node.attributes["stride"]))
    return np.asarray(np.einsum("tnchw,ct->nchw", taps, weight.reshape(-1, 9), dtype=np.float32))


def _int_square(node: Node, x: np.ndarray, dilation: np.ndarray) -> np.ndarray:
    steps = x.astype(np.int64) - along(np.asarray(node.attributes["x_zero"]), 4, 1)
    weight = node.attributes["weight"].astype(np.int64).reshape(-1, 9)
    taps = sampled(steps, dilation.astype(np.int64), int(node.attributes["stride"]))
    accumulator = np.einsum("tnchw,ct->nchw", taps, weight) + node.attributes["bias"].reshape(1, -1, 1, 1)
    return _finish(node, accumulator, 1)


def convolve(x: np.ndarray, weight: np.ndarray, node: Node) -> np.ndarray:
    """Integer convolution (N, C, H, W) x (O, C/g, kh, kw), out of frame is zero; exact in int64."""
    channels, _, kh, kw = weight.shape
    group = int(node.get("group", 1))
    out_shape = output_size(node, x.shape, (kh, kw))
    window = window_of(node.attributes, x.shape, (x.shape[0], channels, *out_shape), (kh, kw))
    reach = [(window.kernel[a] - 1) * window.dilation[a] + 1 for a in (0, 1)]
    below = max(0, (window.out_height - 1) * window.stride[0] + reach[0] - window.top - x.shape[2])
    right = max(0, (window.out_width - 1) * window.stride[1] + reach[1] - window.left - x.shape[3])
    padded = np.pad(x, ((0, 0), (0, 0), (window.top, below), (window.left, right)))
    result = np.zeros((x.shape[0], channels, window.out_height, window.out_width), np.int64)
    grouped = padded.reshape(x.shape[0], group, -1, *padded.shape[2:])
    kernels = weight.reshape(group, channels // group, -1, kh, kw)
    for ky in range(kh):
        for kx in range(kw):
            y0, x0 = ky * window.dilation[0], kx * window.dilation[1]
            rows = slice(y0, y0 + (window.out_height - 1) * window.stride[0] + 1, window.stride[0])
            columns = slice(x0, x0 + (window.out_width - 1) * window.stride[1] + 1, window.stride[1])
            # Bytes times bytes over any depth stay far below 2^53, so the float product is exact and fast.
            tap = np.einsum(
                "ngchw,goc->ngohw",
                grouped[..., rows, columns].astype(np.float64),
                kernels[..., ky, kx].astype(np.float64),
                optimize=True,
            )
            result += tap.reshape(result.shape).astype(np.int64)
    return result


def output_size(node: Node, x: tuple[int, ...], kernel: tuple[int, int]) -> tuple[int, int]:
    """Output height and width of a sliding operator."""
    strides, dilations = node.get("strides", (1, 1)), node.get("dilations", (1, 1))
    if node.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER"):
        return -(-x[2] // strides[0]), -(-x[3] // strides[1])
    pads = node.get("pads", (0, 0, 0, 0))
    sizes = [(x[2 + a] + pads[a] + pads[a + 2] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1 for a in (0, 1)]
    return sizes[0], sizes[1]


def _factorized(node: Node, x: np.ndarray, *constants: np.ndarray) -> np.ndarray:
    """Section 14; a float layer is computed the same way, without a promise of its bits."""
    factors = factors_of(node, dict(zip(node.inputs[1:], constants, strict=True)))
    assert factors is not None
    outputs, rank, _ = factors.channel.shape
    steps = x.astype(np.float64) - factors.zero
    # Sums of byte products are exact in binary64.
    products = np.einsum("nchw,orc->norhw", steps, factors.channel.astype(np.float64), optimize=True).astype(np.float32)
    (down, _), (_, right) = node.attributes["row_strides"], node.attributes["column_strides"]
    (top, _, bottom, _), (_, left, _, end) = node.attributes["row_pads"], node.attributes["column_pads"]
    padded = np.pad(products, ((0, 0),) * 3 + ((top, bottom), (left, end)))
    height = (padded.shape[3] - factors.rows.shape[2]) // down + 1
    width = (padded.shape[4] - factors.columns.shape[2]) // right + 1
    total = np.zeros((x.shape[0], outputs, height, width), np.float32) + factors.bias[:, None, None]
    for r in range(rank):
        taps = [factors.rows[:, r, i, None, None] * padded[:, :, r, i : i + (height - 1) * down + 1 : down]
                for i in range(factors.rows.shape[2])]  # fmt: skip
        lines = taps[0]
        for tap in taps[1:]:
            lines = lines + tap
        for j in range(factors.columns.shape[2]):
            tap = lines[..., j : j + (width - 1) * right + 1 : right]
            total = total + factors.columns[:, r, j, None, None] * tap
    return total


def _int_conv_transpose(node: Node, x: np.ndarray) -> np.ndarray:
    steps = x.astype(np.int64) - along(np.asarray(node.attributes["x_zero"]), 4, 1)
    weight, spread = node.attributes["weight"].astype(np.int64), node.attributes["spread"]
    accumulator = spread_out(steps, weight, spread, int(node.get("group", 1)))
    return _finish(node, accumulator + node.attributes["bias"].reshape(1, -1, 1, 1), 1)


def spread_out(x: np.ndarray, weight: np.ndarray, spread: Spread, group: int) -> np.ndarray:
    """Transposed convolution (N, C, H, W) x (O, C/g, kh, kw): every pixel adds its share to what its taps reach."""
    grouped = x.reshape(x.shape[0], group, -1, *x.shape[2:])
    kernels = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:])
    result = np.zeros((x.shape[0], weight.shape[0], *spread.out_size), np.result_type(x, weight))
    for ky, kx in np.ndindex(*spread.kernel):
        tap = np.einsum("ngchw,goc->ngohw", grouped, kernels[..., ky, kx]).reshape(*result.shape[:2], *x.shape[2:])
        for row, column in np.ndindex(*x.shape[2:]):
            to_y = row * spread.stride[0] + ky * spread.dilation[0] - spread.first[0]
            to_x = column * spread.stride[1] + kx * spread.dilation[1] - spread.first[1]
            if 0 <= to_y < spread.out_size[0] and 0 <= to_x < spread.out_size[1]:
                result[:, :, to_y, to_x] += tap[:, :, row, column]
    return result


def _int_gemm(node: Node, x: np.ndarray) -> np.ndarray:
    steps = x.astype(np.float64) - np.asarray(node.attributes["x_zero"])
    accumulator = np.rint(steps @ node.attributes["weight"].astype(np.float64).T).astype(np.int64)
    return _finish(node, accumulator + node.attributes["bias"], x.ndim - 1)


def _byte_steps(node: Node, *q: np.ndarray) -> np.ndarray:
    """Section 6: a line or a product of bytes."""
    ndim, axis = q[0].ndim, node.attributes["out"].axis
    if axis is None:
        axis = 1 if ndim == 4 else ndim - 1
    return node.attributes["steps"](*q, axis=axis, low=node.attributes["low"], high=node.attributes["high"])


def _int_matmul(node: Node, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    za, zb = node.attributes["zeros"]
    # Sums of byte products are exact in binary64.
    product = np.matmul(a.astype(np.float64) - za, b.astype(np.float64) - zb)
    return _finish(node, np.rint(product).astype(np.int64), a.ndim - 1)


def _int_lookup(node: Node, x: np.ndarray) -> np.ndarray:
    return node.attributes["table"][x]


def _int_average(node: Node, x: np.ndarray) -> np.ndarray:
    """Section 8: the sum of each window, times the factor of the number of taps it counts."""
    window, counted = node.attributes["window"], node.attributes["counted"]
    steps = x.astype(np.int32) - int(node.attributes["x_zero"])
    total = np.zeros((*x.shape[:2], window.out_height, window.out_width), np.int32)
    taps = np.zeros(total.shape[2:], np.int64)
    height, width = counted or x.shape[2:]
    for row in range(window.out_height):
        for column in range(window.out_width):
            ys = [row * window.stride[0] + k * window.dilation[0] - window.top for k in range(window.kernel[0])]
            xs = [column * window.stride[1] + k * window.dilation[1] - window.left for k in range(window.kernel[1])]
            counts = counted is not None
            taps[row, column] = sum(counts or a >= 0 for a in ys if a < height) * sum(
                counts or a >= 0 for a in xs if a < width
            )
            rows, columns = ([a for a in at if 0 <= a < size] for at, size in ((ys, x.shape[2]), (xs, x.shape[3])))
            total[:, :, row, column] = steps[:, :, rows][:, :, :, columns].sum(axis=(2, 3))
    scale, out = node.attributes["scale"][taps], node.attributes["out"]
    return numerics.requantize(total, scale, out.zero, int(node.attributes["low"]), int(node.attributes["high"]))


def _int_resize(node: Node, x: np.ndarray) -> np.ndarray:
    """Section 8: weighted sums of rows and columns in fixed point."""
    rows, columns = node.attributes["axes"]
    steps = x.astype(np.int32) - int(node.attributes["x_zero"])
    lines = sum(steps[:, :, rows.indices[:, t]] * rows.fixed[:, t].reshape(-1, 1) for t in range(rows.taps))
    total = sum(lines[..., columns.indices[:, t]] * columns.fixed[:, t] for t in range(columns.taps))
    return _finish(node, np.asarray(total), 1)


def _int_pool(node: Node, x: np.ndarray) -> np.ndarray:
    total = (x.astype(np.int64) - int(node.attributes["x_zero"])).sum(axis=(2, 3), keepdims=True)
    return _finish(node, total, 1)


def _byte_weight(node: Node, x: np.ndarray) -> np.ndarray:
    """A float layer with byte weights: ordinary float arithmetic, no bit-exactness promise."""
    weight = node.attributes["weight"].astype(np.float32)
    scale, bias = node.attributes["scale"], node.attributes["bias"]
    if node.op == "ByteWeightGemm":
        return (x @ weight.T) * scale + bias
    if node.op == "ByteWeightConvTranspose":
        made = spread_out(x, weight, node.attributes["spread"], int(node.attributes["group"]))
        return made * scale.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)
    kept = {k: v for k, v in node.attributes.items() if k not in ("weight", "scale", "bias")}
    helper = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **kept)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [helper],
            "conv",
            [onnx.helper.make_tensor_value_info(n, 1, None) for n in "xw"],
            [onnx.helper.make_tensor_value_info("y", 1, None)],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )
    (y,) = ReferenceEvaluator(model).run(None, {"x": x, "w": weight})
    return y * scale.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)


def _binary_layer(node: Node, x: np.ndarray, packed: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    run = binary.conv if node.op == "BinaryConv" else binary.linear
    return run(x, packed, scale, bias, int(node.get("K")))


def _binary_attention(
    node: Node, q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | None = None
) -> np.ndarray:
    return binary.attention(q, k, v, bias, scale=float(node.get("scale")), beta=float(node.get("beta", 0.25)))


_HANDLERS: dict[str, Any] = {
    "BinaryLinear": _binary_layer,
    "BinaryConv": _binary_layer,
    "BinaryAttention": _binary_attention,
    "Quantize": _quantize,
    "Dequantize": _dequantize,
    "IntConv": _int_conv,
    "IntConvTranspose": _int_conv_transpose,
    "IntGemm": _int_gemm,
    "IntSquareDeform": _int_square,
    "IntFactorizedConv": _factorized,
    "FactorizedConv": _factorized,
    "SquareDeform": _square,
    "IntAdd": _byte_steps,
    "IntMul": _byte_steps,
    "IntLookup": _int_lookup,
    "IntPool": _int_pool,
    "IntRescale": _byte_steps,
    "IntAveragePool": _int_average,
    "IntResize": _int_resize,
    "IntMatMul": _int_matmul,
    "ByteWeightConv": _byte_weight,
    "ByteWeightConvTranspose": _byte_weight,
    "ByteWeightGemm": _byte_weight,
}
