"""The factors of a factorized convolution in a graph, float or with channel factors in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgevision.graph.ir import Node

DOMAIN, CONV, INTEGER = "edgevision", "FactorizedConv", "IntFactorizedConv"


@dataclass(frozen=True)
class Factors:
    """What a layer computes with (`zoo.factorized`); of an integer one the row factors hold every scale.

    Attributes:
        channel: (C_out, R, C_in), float32 or int8.
        rows, columns: (C_out, R, k), float32.
        bias: (C_out), float32.
        zero: zero point of the bytes read.
    """

    channel: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    bias: np.ndarray
    zero: int = 0

    @property
    def integer(self) -> bool:
        """Whether the channel factors are bytes."""
        return self.channel.dtype == np.int8

    def macs(self, x: tuple[int, ...], y: tuple[int, ...]) -> int:
        """Multiply-accumulates from images of shape `x` to those of shape `y`, (N, C, H, W) both."""
        products = self.channel.shape[0] * self.channel.shape[1]
        pointwise = x[2] * x[3] * self.channel.shape[2]
        return x[0] * products * (pointwise + y[2] * (x[3] * self.rows.shape[2] + y[3] * self.columns.shape[2]))


def factors_of(node: Node, constants: Mapping[str, np.ndarray]) -> Factors | None:
    """The factors of a call of `edgevision::FactorizedConv`, or of its integer form; None where they do not fit."""
    if node.op == INTEGER:
        given = node.attributes
        return Factors(given["channel"], given["rows"], given["columns"], given["bias"], int(given["x_zero"]))
    if node.op != CONV or len(node.inputs) != 5:
        return None
    found = [constants.get(name) for name in node.inputs[1:]]
    outputs = int(node.get("group", 0))
    if any(array is None or array.dtype != np.float32 for array in found) or outputs < 1:
        return None
    channel, rows, columns, bias = (array for array in found if array is not None)
    products = channel.shape[0]
    if products % outputs or rows.shape[0] != products or columns.shape[:2] != (outputs, products // outputs):
        return None
    if bias.shape != (outputs,):
        return None
    a, b, d = (array.reshape(outputs, products // outputs, -1) for array in (channel, rows, columns))
    return Factors(a, b, d, bias)
