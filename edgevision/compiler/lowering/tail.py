"""The elementwise operators that follow a node and can be computed before its result leaves the registers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from edgevision.compiler.kernels.chain import Apply, Chain, Index, Operand, Store
from edgevision.compiler.lowering.builder import Builder, operand_of
from edgevision.compiler.lowering.values import Value
from edgevision.graph import numerics
from edgevision.graph.functions import function_of
from edgevision.graph.ir import Node
from edgevision.graph.qdq import Quant

#: Steps below which rounding to int32 cannot overflow (`Store.bounded`).
MOST_STEPS = 2.0**30
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min"}


@dataclass
class Tail:
    """A chain under construction for the result of one kernel.

    Attributes:
        tensor: the tensor the chain ends in.
        base: parameters of the kernel before the chain's own.
        storages: the chain's extra inputs.
        labels: names of the nodes computed, first to last.
    """

    builder: Builder
    tensor: str
    base: int = 0
    operations: list[Apply] = field(default_factory=list)
    storages: list[int] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    quant: Quant | None = None

    def extend(self) -> Tail:
        """Absorb the followers that can be computed in place, up to and including a quantiser."""
        shape = self.builder.graph.shape(self.tensor)
        while self.quant is None:
            reader = self.builder.sole_reader(self.tensor)
            if reader is None or not self._absorb(reader, shape):
                break
        return self

    def begin(self, node: Node, shape: tuple[int, ...]) -> bool:
        """Absorb `node` itself; for kernels that start with a loaded value."""
        return self._absorb(node, shape)

    def extra(self, storage: int) -> int:
        """Parameter index of an extra input."""
        self.storages.append(storage)
        return self.base + len(self.storages) - 1

    def chain(self, store_pitch: int, offset: int = 0) -> Chain:
        """The finished chain, writing rows of `store_pitch` elements."""
        if self.quant is None:
            return Chain(tuple(self.operations), Store(pitch=store_pitch, offset=offset), exact=self.builder.exact)
        return self._byte_chain(self.quant, store_pitch, offset)

    def _byte_chain(self, quant: Quant, pitch: int, offset: int) -> Chain:
        operations = list(self.operations)
        if not quant.per_tensor:
            factor = self.extra(self.builder.constant(numerics.reciprocal(quant.scale)))
            operations.append(Apply("mul", Operand(factor, "channel")))
        store = self.byte_store(quant, 0, 255, pitch, offset, multiplied=quant.per_tensor)
        return Chain(tuple(operations), store, exact=True)

    def byte_store(
        self, quant: Quant, low: int, high: int, pitch: int, offset: int = 0, *, multiplied: bool = False,
        most: float = math.inf, gelu: numerics.GeluSteps | None = None,
    ) -> Store:  # fmt: skip
        """A store of bytes of `quant`, its parameters added to the extra inputs.

        Args:
            most: steps the value cannot exceed, where a bound is known.
            gelu: how the GELU ahead of the bytes is taken.
        """
        limits = self.extra(self.builder.limits_constant(quant, low, high))
        points = None if quant.per_tensor else self.extra(self.builder.constant(quant.zero_point))
        words = None
        if gelu is not None:
            found = [gelu.bound, gelu.factor, gelu.left, gelu.fraction, gelu.offset(quant.zero)]
            words = self.extra(self.builder.constant(np.array(found, np.int16)))
        return Store("uint8", limits, multiplied, points, pitch, offset, bounded=most < MOST_STEPS, gelu=words)

    @property
    def dtype(self) -> str:
        """Type of the stored result."""
        return "float32" if self.quant is None else "uint8"

    def described(self) -> str:
        """The nodes of the chain, for reports."""
        return " + ".join(self.labels)

    def shapes(self) -> tuple[tuple[int, str], ...]:
        """(elements, dtype) of the extra inputs."""
        return tuple((self.builder.storages[s].elements, self.builder.storages[s].dtype) for s in self.storages)

    # -- absorbing --------------------------------------------------------------------------------------------------

    def _absorb(self, node: Node, shape: tuple[int, ...]) -> bool:
        before = (len(self.operations), len(self.storages))
        if self.builder.graph.shape(node.outputs[0]) != shape or not self._operation(node, shape):
            del self.operations[before[0] :]
            del self.storages[before[1] :]
            return False
        self.builder.absorbed.add(id(node))
        self.labels.append(node.name)
        self.tensor = node.outputs[0]
        return True

    def _operation(self, node: Node, shape: tuple[int, ...]) -> bool:
        if node.op == "Quantize":
            self.quant = node.attributes["quant"]
            return True
        functions = unary_functions(node, self.builder.graph.constants)
        if functions is not None:
            self.operations += functions
            return True
        if node.op in BINARY and len(node.inputs) == 2 and node.inputs[0] != node.inputs[1]:
            mine = 0 if node.inputs[0] == self.tensor else 1
            return self._binary(BINARY[node.op], node.inputs[1 - mine], reverse=mine == 1, shape=shape)
        return False

    def _binary(self, name: str, other: str, *, reverse: bool, shape: tuple[int, ...]) -> bool:
        array = self.builder.graph.constants.get(other)
        if array is not None and array.size == 1:
            self.operations.append(Apply(name, constant=float(array.reshape(())), reverse=reverse))
            return True
        if array is not None:
            return self._constant_operand(name, array, reverse=reverse, shape=shape)
        if not self.builder.exists(other):
            return False
        index = broadcast_index(self.builder.graph.shape(other), shape)
        if index is None:
            return False
        value = self.builder.rows(other, tabled=index == "tensor")
        if value.quant is not None and not value.quant.per_tensor:
            value = self.builder.float_rows(other)
        if value.quant is None and value.dtype != "float32":
            return False
        parameter = self.extra(value.storage)
        quant = None if value.quant is None else self.extra(self.builder.quant_constant(value.quant))
        table = None if value.table is None else self.extra(value.table)
        self.operations.append(Apply(name, operand_of(value, index, parameter, quant, table), reverse=reverse))
        return True

    def _constant_operand(self, name: str, array: np.ndarray, *, reverse: bool, shape: tuple[int, ...]) -> bool:
        index = broadcast_index((1,) * (len(shape) - array.ndim) + array.shape, shape, batch_one=True)
        if index not in ("channel", "tensor") or array.dtype != np.float32:
            return False
        if index == "tensor" and len(shape) == 4:
            array = np.broadcast_to(array, shape).transpose(0, 2, 3, 1)
        storage = self.builder.constant(array)
        pitch = 0 if index == "channel" else self.builder.extent(self.tensor).channels
        operand = Operand(self.extra(storage), index, pitch)
        self.operations.append(Apply(name, operand, reverse=reverse))
        return True


def unary_functions(node: Node, constants: dict[str, np.ndarray]) -> list[Apply] | None:
    """The chain operations of a unary operator, or None when it has none."""
    function = function_of(node)
    if function is not None:
        return [Apply(function)]
    if node.op == "Clip":
        bounds = [constants.get(name) if name else None for name in [*node.inputs[1:3], "", ""][:2]]
        if any(name and bound is None for name, bound in zip(node.inputs[1:3], bounds, strict=False)):
            return None
        found = []
        if bounds[1] is not None:
            found.append(Apply("min", constant=float(bounds[1])))
        if bounds[0] is not None:
            found.append(Apply("max", constant=float(bounds[0])))
        return found
    return None


def broadcast_index(other: tuple[int, ...], shape: tuple[int, ...], *, batch_one: bool = False) -> Index | None:
    """How `other` is indexed when it is broadcast to `shape`; None when no kernel index fits.

    >>> broadcast_index((1, 48, 1, 1), (1, 48, 56, 56)), broadcast_index((1, 1, 56, 56), (1, 48, 56, 56))
    ('image', 'pixel')
    >>> broadcast_index((1, 1, 192), (1, 197, 192), batch_one=True)
    'channel'
    """
    if other == shape:
        return "tensor"
    if len(other) != len(shape):
        return None
    channel_axis = 1 if len(shape) == 4 else len(shape) - 1
    rest = [(o, s) for axis, (o, s) in enumerate(zip(other, shape, strict=True)) if axis not in (0, channel_axis)]
    if other[channel_axis] == shape[channel_axis] and all(o == 1 for o, _ in rest):
        if other[0] == 1 and (batch_one or shape[0] == 1):
            return "channel" if batch_one else "image"
        return "image" if other[0] == shape[0] else None
    if other[channel_axis] == 1 and other[0] == shape[0] and all(o == s for o, s in rest):
        return "pixel"
    return None


def result(builder: Builder, tail: Tail, storage: int) -> None:
    """Record where the tail's tensor went."""
    channels = builder.extent(tail.tensor).channels
    builder.put(tail.tensor, Value(storage, tail.dtype, "rows", channels))


def label(node: Node, tail: Tail) -> str:
    """The nodes one call computes, for reports."""
    return " + ".join([node.name, *tail.labels])
