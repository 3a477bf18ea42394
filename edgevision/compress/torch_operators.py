"""ONNX operators in torch, on floats and on whole steps: what a QDQ graph is trained with.

A layer whose operands are both steps sums whole numbers, exact in float32 below 2^24, and scales once: the sums are
those of the integer kernels (quant/NUMERICS.md, sections 4 and 10).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgevision.compress.steps import Steps

Value = Tensor | Steps | None
Attributes = dict[str, Any]
Operator = Callable[[Sequence[Value], Attributes], list[Value]]


def real(value: Value) -> Tensor:
    """Floats of a value."""
    assert value is not None
    return value.real if isinstance(value, Steps) else value


def _conv(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    x, weight, bias = inputs[0], inputs[1], inputs[2] if len(inputs) > 2 else None
    groups = int(attributes.get("group", 1))
    both = isinstance(x, Steps) and isinstance(weight, Steps)
    data = x.values if both and isinstance(x, Steps) else real(x)
    kernel = weight.values if both and isinstance(weight, Steps) else real(weight)
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    if pads[:2] != pads[2:]:
        data, pads = F.pad(data, (pads[1], pads[3], pads[0], pads[2])), [0, 0]
    y = F.conv2d(
        data, kernel, None, attributes.get("strides", [1, 1]), pads[:2], attributes.get("dilations", [1, 1]), groups
    )
    if both and isinstance(x, Steps) and isinstance(weight, Steps):
        own = x.scale if x.scale.ndim == 0 else x.scale.repeat_interleave(len(kernel) // groups)
        y = y * (own * weight.scale).view(1, -1, 1, 1)
    return [y if bias is None else y + real(bias).view(1, -1, 1, 1)]


def _product(x: Value, weight: Value, *, transposed: bool = False) -> Tensor:
    def turned(value: Tensor) -> Tensor:
        return value.transpose(-1, -2) if transposed else value

    if not (isinstance(x, Steps) and isinstance(weight, Steps)) or x.scale.ndim:
        return real(x) @ turned(real(weight))
    # One scale, or one per output channel, which are the last axis of the result.
    return (x.values @ turned(weight.values)) * (x.scale * weight.scale)


def _gemm(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    y = _product(inputs[0], inputs[1], transposed=bool(attributes.get("transB", 0)))
    y = y * attributes.get("alpha", 1.0)
    return [y + attributes.get("beta", 1.0) * real(inputs[2]) if len(inputs) > 2 else y]


def _clip(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    low, high = (inputs[at] if len(inputs) > at else None for at in (1, 2))
    return [torch.clamp(real(inputs[0]), None if low is None else real(low), None if high is None else real(high))]


def _pool(inputs: Sequence[Value], attributes: Attributes, function: Callable[..., Tensor], **more: Any) -> list[Value]:
    kernel, pads = attributes["kernel_shape"], attributes.get("pads", [0, 0, 0, 0])
    strides = attributes.get("strides", [1] * len(kernel))
    x, how = inputs[0], {"ceil_mode": bool(attributes.get("ceil_mode", 0)), **more}
    if isinstance(x, Steps) and function is F.max_pool2d:
        return [x.moved(function(x.values, kernel, strides, pads[:2], **how))]
    return [function(real(x), kernel, strides, pads[:2], **how)]


def _average(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    return _pool(inputs, attributes, F.avg_pool2d, count_include_pad=bool(attributes.get("count_include_pad", 0)))


def _mean(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    axes = _whole(inputs[1]) if len(inputs) > 1 else attributes["axes"]
    return [real(inputs[0]).mean(list(axes), keepdim=bool(attributes.get("keepdims", 1)))]


def _layer_norm(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    x, gamma = real(inputs[0]), real(inputs[1])
    beta = real(inputs[2]) if len(inputs) > 2 else None
    return [F.layer_norm(x, gamma.shape, gamma, beta, attributes.get("epsilon", 1e-5))]


def _batch_norm(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    """As an affine map, with the statistics it was exported with."""
    x, gamma, beta, mean, variance = (real(value) for value in inputs)
    return [F.batch_norm(x, mean, variance, gamma, beta, eps=attributes.get("epsilon", 1e-5))]


def _conv_transpose(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    x, weight, groups = real(inputs[0]), real(inputs[1]), int(attributes.get("group", 1))
    pads, strides = attributes.get("pads", [0] * 4), attributes.get("strides", [1, 1])
    more, dilations = attributes.get("output_padding", [0, 0]), attributes.get("dilations", [1, 1])
    bias = real(inputs[2]) if len(inputs) > 2 else None
    return [F.conv_transpose2d(x, weight, bias, strides, pads[:2], more, groups, dilations)]


def _resize(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    """Nearest or linear, with the coordinates `trainable` lets through."""
    x, sizes = inputs[0], inputs[3] if len(inputs) > 3 else None
    moved = isinstance(x, Steps) and x.scale.ndim == 0 and attributes["mode"] == b"nearest"
    values = x.values if moved and isinstance(x, Steps) else real(x)
    size = _whole(sizes)[2:] if sizes is not None else [
        int(n * scale) for n, scale in zip(values.shape[2:], real(inputs[2]).tolist()[2:], strict=True)
    ]  # fmt: skip
    if attributes["mode"] == b"nearest":
        made = F.interpolate(values, size, mode="nearest")
        return [x.moved(made) if moved and isinstance(x, Steps) else made]
    return [F.interpolate(values, size, mode="bilinear", align_corners=False)]


def trainable(operator: str, attributes: Attributes) -> bool:
    """Whether an operator with these attributes can be trained through."""
    if operator == "Resize":
        how = (attributes.get("mode", b"nearest"), attributes.get("coordinate_transformation_mode", b"half_pixel"))
        floors = attributes.get("nearest_mode", b"round_prefer_floor") == b"floor"
        return how == (b"linear", b"half_pixel") or (how == (b"nearest", b"asymmetric") and floors)
    if operator == "ConvTranspose":
        pads = attributes.get("pads", [0] * 4)
        return pads[:2] == pads[2:] and attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    return operator in OPERATORS


def _moved(change: Callable[..., Tensor]) -> Operator:
    """An operator that moves values as they are, steps too where one scale counts for all."""

    def run(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
        x, more = inputs[0], [_whole(value) for value in inputs[1:]]
        if isinstance(x, Steps) and x.scale.ndim == 0:
            return [x.moved(change(x.values, attributes, *more))]
        return [change(real(x), attributes, *more)]

    return run


def _whole(value: Value) -> list[int]:
    return [] if value is None else [int(item) for item in real(value).reshape(-1).tolist()]


def _reshape(x: Tensor, attributes: Attributes, shape: list[int]) -> Tensor:
    sizes = [x.shape[at] if size == 0 else size for at, size in enumerate(shape)]
    # A batch of 1 that was written down stands for any.
    if sizes[0] == 1 and x.shape[0] > 1:
        sizes[0] = len(x)
    return x.reshape(sizes)


def _flatten(x: Tensor, attributes: Attributes) -> Tensor:
    return x.flatten(attributes.get("axis", 1))


def _transpose(x: Tensor, attributes: Attributes) -> Tensor:
    return x.permute(attributes.get("perm", list(reversed(range(x.ndim)))))


def _slice(x: Tensor, attributes: Attributes, starts: list[int], ends: list[int], *more: list[int]) -> Tensor:
    axes = more[0] if more else list(range(len(starts)))
    steps = more[1] if len(more) > 1 else [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = x[(slice(None),) * (axis % x.ndim) + (slice(start, min(end, x.shape[axis]), step),)]
    return x


def _squeeze(x: Tensor, attributes: Attributes, axes: list[int]) -> Tensor:
    return x.squeeze(tuple(axes))


def _unsqueeze(x: Tensor, attributes: Attributes, axes: list[int]) -> Tensor:
    for axis in sorted(axes):
        x = x.unsqueeze(axis)
    return x


def _split(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    x, axis = inputs[0], attributes.get("axis", 0)
    values = x.values if isinstance(x, Steps) and x.scale.ndim == 0 else real(x)
    size = values.shape[axis]
    pieces = _whole(inputs[1]) if len(inputs) > 1 else -(-size // attributes["num_outputs"])
    parts = values.split(pieces, axis)
    return [x.moved(part) if isinstance(x, Steps) and x.scale.ndim == 0 else part for part in parts]


def _concat(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    axis, first = attributes["axis"], inputs[0]
    if isinstance(first, Steps) and all(isinstance(x, Steps) and torch.equal(x.scale, first.scale) for x in inputs):
        return [first.moved(torch.cat([x.values for x in inputs if isinstance(x, Steps)], axis))]
    return [torch.cat([real(x) for x in inputs], axis)]


def _elementwise(function: Callable[..., Tensor]) -> Operator:
    return lambda inputs, attributes: [function(*(real(value) for value in inputs))]


def _gelu(inputs: Sequence[Value], attributes: Attributes) -> list[Value]:
    approximate = attributes.get("approximate", b"none")
    return [
        F.gelu(real(inputs[0]), approximate=approximate.decode() if isinstance(approximate, bytes) else approximate)
    ]


#: Every operator that can be trained through.
OPERATORS: dict[str, Operator] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Resize": _resize,
    "Gemm": _gemm,
    "MatMul": lambda inputs, attributes: [_product(inputs[0], inputs[1])],
    "Add": _elementwise(torch.add),
    "Sub": _elementwise(torch.sub),
    "Mul": _elementwise(torch.mul),
    "Div": _elementwise(torch.div),
    "Relu": _elementwise(F.relu),
    "Clip": _clip,
    "Sigmoid": _elementwise(torch.sigmoid),
    "Tanh": _elementwise(torch.tanh),
    "Erf": _elementwise(torch.erf),
    "Sqrt": _elementwise(torch.sqrt),
    "Gelu": _gelu,
    "HardSigmoid": lambda inputs, attributes: [
        (real(inputs[0]) * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)).clamp(0, 1)
    ],
    "HardSwish": _elementwise(F.hardswish),
    "Softmax": lambda inputs, attributes: [real(inputs[0]).softmax(attributes.get("axis", -1))],
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "GlobalAveragePool": lambda inputs, attributes: [real(inputs[0]).mean((2, 3), keepdim=True)],
    "AveragePool": _average,
    "ReduceMean": _mean,
    "MaxPool": lambda inputs, attributes: _pool(inputs, attributes, F.max_pool2d),
    "Reshape": _moved(_reshape),
    "Transpose": _moved(_transpose),
    "Flatten": _moved(_flatten),
    "Slice": _moved(_slice),
    "Squeeze": _moved(_squeeze),
    "Unsqueeze": _moved(_unsqueeze),
    "Split": _split,
    "Concat": _concat,
    "Identity": lambda inputs, attributes: [inputs[0]],
}
