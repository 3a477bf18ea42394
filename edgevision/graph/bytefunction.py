"""Elementwise arithmetic of one byte tensor and constants, from a dequantiser to a quantiser, as a table of 256 bytes.

However many operators an exporter spells a function with (erf, division and addition for GELU, a clip and two products
for hard swish), between two quantisers it is a function of one byte (quant/NUMERICS.md section 7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import erf as _erf
from typing import Any

import numpy as np

from edgevision.graph.ir import Node

Array = np.ndarray
_SQRT_2 = np.sqrt(2.0)
_TANH_GELU = np.sqrt(2.0 / np.pi)


def erf(x: Array) -> Array:
    """Error function in binary64."""
    return np.array([_erf(float(v)) for v in np.ravel(x)]).reshape(np.shape(x))


def _gelu(x: Array, approximate: Any = b"none") -> Array:
    if approximate in (b"tanh", "tanh"):
        return 0.5 * x * (1.0 + np.tanh(_TANH_GELU * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + erf(x / _SQRT_2))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0.0, x)


#: One-input operators in binary64; keyword arguments are ONNX attributes, with ONNX's defaults.
UNARY: dict[str, Callable[..., Array]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Elu": lambda x, alpha=1.0: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
    "Erf": erf,
    "Exp": np.exp,
    "Floor": np.floor,
    "Gelu": _gelu,
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: np.clip(alpha * x + beta, 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Identity": lambda x: x,
    "LeakyRelu": lambda x, alpha=0.01: np.where(x < 0, alpha * x, x),
    "Log": np.log,
    "Mish": lambda x: x * np.tanh(_softplus(x)),
    "Neg": np.negative,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
    "ThresholdedRelu": lambda x, alpha=1.0: np.where(x > alpha, x, 0),
}
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "PRelu": lambda x, slope: np.where(x < 0, slope * x, x),
    "Pow": np.power,
    "Sub": np.subtract,
}


@dataclass(frozen=True)
class ByteFunction:
    """A function of one dequantised tensor.

    Attributes:
        source: the dequantised tensor it reads; None while it is a constant.
        value: from the source's values, binary64, to the function's.
        operators: names of its operators, in the order they are applied.
        clamp: (low, high) where the function is nothing but a clamp, infinite where there is no bound.
    """

    source: str | None
    value: Callable[[Array], Array]
    operators: tuple[str, ...] = ()
    clamp: tuple[float, float] | None = None


def byte_function(
    tensor: str, producers: Mapping[str, Node], constants: Mapping[str, Array], dequantised: Callable[[str], bool]
) -> ByteFunction | None:
    """`tensor` as a function of one dequantised tensor; None where it is more than that.

    Args:
        dequantised: whether a tensor is where the function may begin.
    """
    known: dict[str, ByteFunction | None] = {}

    def of(name: str) -> ByteFunction | None:
        if name not in known:
            known[name] = _of(name)
        return known[name]

    def _of(name: str) -> ByteFunction | None:
        if dequantised(name):
            return ByteFunction(name, lambda x: x, (), (-np.inf, np.inf))
        array = constants.get(name)
        if array is not None:
            scalar = array.size == 1 and array.dtype.kind in "fiu"
            return ByteFunction(None, lambda x: np.float64(array.reshape(()))) if scalar else None
        node = producers.get(name)
        if node is None or node.domain not in ("", "ai.onnx") or len(node.outputs) != 1:
            return None
        return _applied(node, [of(i) if i else None for i in node.inputs], constants)

    made = of(tensor)
    return made if made is not None and made.source is not None else None


def _applied(node: Node, inputs: list[ByteFunction | None], constants: Mapping[str, Array]) -> ByteFunction | None:
    """The operator `node` of functions already known."""
    if node.op == "Clip":
        return _clipped(node, inputs, constants)
    if not inputs or any(part is None for part in inputs):
        return None
    parts = [part for part in inputs if part is not None]
    sources = {part.source for part in parts if part.source is not None}
    if len(sources) != 1:
        return None
    operators = (*(name for part in parts for name in part.operators), node.name)
    first = parts[0]
    if node.op in UNARY and len(parts) == 1:
        function, attributes = UNARY[node.op], dict(node.attributes)
        clamp = None
        if node.op == "Relu" and first.clamp is not None:
            clamp = (max(first.clamp[0], 0.0), max(first.clamp[1], 0.0))
        return ByteFunction(first.source, lambda x: function(first.value(x), **attributes), operators, clamp)
    if node.op in BINARY and len(parts) == 2:
        second, combine = parts[1], BINARY[node.op]
        return ByteFunction(sources.pop(), lambda x: combine(first.value(x), second.value(x)), operators)
    return None


def _clipped(node: Node, inputs: list[ByteFunction | None], constants: Mapping[str, Array]) -> ByteFunction | None:
    first, limits = inputs[0], [-np.inf, np.inf]
    for position, name in enumerate(node.inputs[1:3]):
        if name and name not in constants:
            return None
        if name:
            limits[position] = float(constants[name].reshape(()))
    if first is None or first.source is None:
        return None
    low, high = limits
    clamp = None
    if first.clamp is not None:
        clamp = (min(max(first.clamp[0], low), high), min(max(first.clamp[1], low), high))
    return ByteFunction(
        first.source, lambda x: np.minimum(np.maximum(first.value(x), low), high), (*first.operators, node.name), clamp
    )
