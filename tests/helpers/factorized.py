"""Factorized layers for tests: drawn, and computed one way after the other in torch's own convolutions."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from edgevision.compress.factorized_graph import CONV, CONV_TRANSPOSE, declare
from edgevision.compress.onnxgraph import finished
from edgevision.zoo.factorized import FactorizedConv2d, FactorizedConvTranspose2d


def one_way_after_another(layer: FactorizedConv2d | FactorizedConvTranspose2d, x: Tensor) -> Tensor:
    """The sum over the products of a 1x1, a k x 1 and a 1 x k convolution: the format's definition."""
    (down, right), (top, left), outputs = layer.stride, layer.padding, layer.out_channels
    total = x.new_zeros(()) if layer.bias is None else layer.bias.view(-1, 1, 1)
    for r in range(layer.rank):
        channels = F.conv2d(x, layer.channel[:, r, :, None, None])
        rows, columns = layer.filters[0][:, r, None, :, None], layer.filters[1][:, r, None, None, :]
        if layer.transposed:
            bottom, end = layer.output_padding
            y = F.conv_transpose2d(channels, rows, None, (down, 1), (top, 0), (bottom, 0), outputs)
            total = total + F.conv_transpose2d(y, columns, None, (1, right), (0, left), (0, end), outputs)
        else:
            y = F.conv2d(channels, rows, None, (down, 1), (top, 0), groups=outputs)
            total = total + F.conv2d(y, columns, None, (1, right), (0, left), groups=outputs)
    return total


def graph_of(
    seed: int, *, channels: tuple[int, int], kernel: tuple[int, int], size: tuple[int, int], rank: int,
    stride: tuple[int, int] = (1, 1), padding: tuple[int, int] = (0, 0), transposed: bool = False,
) -> onnx.ModelProto:  # fmt: skip
    """One call "layer" of the function, from "x" to "y"."""
    rng, (inputs, outputs), (height, width) = np.random.default_rng(seed), channels, kernel
    products = outputs * rank
    last = (products, 1, 1, width) if transposed else (outputs, rank, 1, width)
    shapes = {"a": (products, inputs, 1, 1), "b": (products, 1, height, 1), "d": last, "bias": (outputs,)}
    (down, right), (top, left) = stride, padding
    attributes = {"row_strides": [down, 1], "column_strides": [1, right], "row_pads": [top, 0, top, 0],
                  "column_pads": [0, left, 0, left], "products": products, "group": outputs}  # fmt: skip
    if transposed:
        attributes |= {"row_output_padding": [0, 0], "column_output_padding": [0, 0]}
        result = tuple((n - 1) * s - 2 * p + k for n, s, p, k in zip(size, stride, padding, kernel, strict=True))
    else:
        result = tuple((n + 2 * p - k) // s + 1 for n, s, p, k in zip(size, stride, padding, kernel, strict=True))
    call = helper.make_node(CONV_TRANSPOSE if transposed else CONV, ["x", *shapes], ["y"], name="layer",
                            domain="edgevision", **attributes)  # fmt: skip
    made = helper.make_model(
        helper.make_graph(
            [call], "g", [helper.make_tensor_value_info("x", 1, (1, inputs, *size))],
            [helper.make_tensor_value_info("y", 1, (1, outputs, *result))],
            [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
             for name, shape in shapes.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=10,
    )  # fmt: skip
    declare(made)
    return finished(made)
