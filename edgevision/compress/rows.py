"""What a weighted layer multiplies: one row of inputs for each output pixel, group by group (im2col)."""

from __future__ import annotations

import numpy as np
import onnx

from edgevision.compress.onnxgraph import attribute

#: Output pixels taken of an image; more of them say little new.
PIXELS = 256


def as_rows(node: onnx.NodeProto, kernel: tuple[int, ...], x: np.ndarray) -> np.ndarray:
    """Inputs (groups, rows, K) of a Conv on images, a Gemm or a MatMul for `x`, at most `PIXELS` rows an image.

    K is in the order of `matrix`. Pixels are taken at equal distances, so that some lie on the border.

    Args:
        kernel: height and width; unused where the layer is no convolution.
        x: (images, channels, height, width), or (..., K) of a linear layer.
    """
    if node.op_type != "Conv":
        flat = x.reshape(len(x), -1, x.shape[-1])
        return flat[:, _spread(flat.shape[1])].reshape(1, -1, x.shape[-1])
    groups = attribute(node, "group", 1)
    (top, left, bottom, right), stride = attribute(node, "pads", [0] * 4), attribute(node, "strides", [1, 1])
    dilation = attribute(node, "dilations", [1, 1])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    height, width = ((padded.shape[2 + i] - reach[i]) // stride[i] + 1 for i in (0, 1))
    taken = _spread(height * width)
    first, second = taken // width * stride[0], taken % width * stride[1]
    found = np.stack(
        [
            padded[:, :, first + i * dilation[0], second + j * dilation[1]]
            for i in range(kernel[0])
            for j in range(kernel[1])
        ],
        axis=-1,
    )
    images, channels, pixels, taps = found.shape
    split = found.reshape(images, groups, channels // groups, pixels, taps).transpose(1, 0, 3, 2, 4)
    return split.reshape(groups, images * pixels, channels // groups * taps)


def matrix(node: onnx.NodeProto, weight: np.ndarray) -> np.ndarray:
    """Weights as (groups, channels of a group, K)."""
    if node.op_type == "Conv":
        groups = attribute(node, "group", 1)
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    return (weight if attribute(node, "transB", 0) else weight.T)[None]


def unmatrix(node: onnx.NodeProto, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undo `matrix`; `shape` is that of the weight."""
    if node.op_type == "Conv":
        return values.reshape(shape)
    return values[0] if attribute(node, "transB", 0) else values[0].T


def pixels_of(node: onnx.NodeProto, output: tuple[int, ...]) -> int:
    """Rows that `as_rows` takes of an image whose result is `output`."""
    count = int(np.prod(output[2:])) if node.op_type == "Conv" else int(np.prod(output[:-1]))
    return min(PIXELS, count)


def _spread(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, PIXELS)).round().astype(np.int64))
