"""What the quantisers of a QDQ graph say: which tensors are bytes, and what follows an operator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgevision.graph import numerics
from edgevision.graph.functions import function_of
from edgevision.graph.ir import Graph, Node
from edgevision.graph.numerics import GeluSteps


@dataclass(frozen=True)
class Quant:
    """Scale (float32) and zero point (int32) of a tensor of unsigned bytes; both 0-d, or 1-d along `axis`."""

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None = None

    @property
    def per_tensor(self) -> bool:
        """Whether one scale and one zero point serve the whole tensor."""
        return self.axis is None

    def equals(self, other: Quant) -> bool:
        """Whether both give every byte the same value."""
        return (
            self.axis == other.axis
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

    @property
    def step(self) -> float:
        """The one scale of a per-tensor quantisation."""
        return float(self.scale)

    @property
    def zero(self) -> int:
        """The one zero point of a per-tensor quantisation."""
        return int(self.zero_point)


@dataclass(frozen=True)
class Tail:
    """What turns an operator's result into bytes: the quantiser, and the clamp folded into it.

    Attributes:
        quant: of the bytes.
        low, high: limits of the byte after a ReLU or Clip has been folded in.
        output: the tensor that holds the bytes.
        absorbed: the nodes this stands for.
        gelu: how the GELU that comes first is taken; None without one.
    """

    quant: Quant
    low: int
    high: int
    output: str
    absorbed: tuple[Node, ...]
    gelu: GeluSteps | None = None


class QdqReader:
    """Reads the quantisers of one graph.

    Attributes:
        quant: quantisation of every tensor known to be bytes; filled as the graph is rewritten.
        reasons: what integer arithmetic cannot express, one line each.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = graph.readers()
        self._producers = graph.producers()
        self.quant: dict[str, Quant] = {}
        self.reasons: list[str] = []

    def source(self, tensor: str) -> tuple[str, Quant] | None:
        """The bytes behind a dequantised activation, and their quantisation."""
        node = self._producers.get(tensor)
        if node is None or node.op != "DequantizeLinear" or node.inputs[0] not in self.quant:
            return None
        return node.inputs[0], self.quant[node.inputs[0]]

    def scaled_source(self, tensor: str) -> tuple[str, Quant] | None:
        """As `source`, through a multiplication by positive constants, which only changes the scale."""
        node, factor = self._producers.get(tensor), 1.0
        while node is not None and node.op in ("Mul", "Div") and len(node.inputs) == 2:
            inner = node.inputs[0] if node.inputs[1] in self._graph.constants else node.inputs[1]
            constant = self.scalar_beside(node, inner)
            if constant is None or constant <= 0 or (node.op == "Div" and inner != node.inputs[0]):
                return None
            factor = factor * constant if node.op == "Mul" else factor / constant
            tensor, node = inner, self._producers.get(inner)
        found = self.source(tensor)
        if found is None or factor == 1.0:
            return found
        scale = (found[1].scale.astype(np.float64) * factor).astype(np.float32)
        return found[0], Quant(scale, found[1].zero_point, found[1].axis)

    def scalar_beside(self, node: Node, tensor: str) -> float | None:
        """The one-element constant a binary node combines `tensor` with; None when it is something else."""
        other = node.inputs[1] if node.inputs[0] == tensor else node.inputs[0]
        array = self._graph.constants.get(other)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def weight(self, tensor: str) -> tuple[np.ndarray, np.ndarray, int] | None:
        """Steps from zero (int16), scale and axis behind a dequantised 8-bit constant."""
        node = self._producers.get(tensor)
        if node is None or node.op != "DequantizeLinear" or not self.expandable(node):
            return None
        weight = self._graph.constants[node.inputs[0]]
        scale = self._graph.constants[node.inputs[1]].astype(np.float32)
        if weight.dtype not in (np.int8, np.uint8) or not _usable(scale):
            return None
        steps = weight.astype(np.int16) - self._zero_along(node, weight).astype(np.int16)
        return steps, scale, int(node.get("axis", 1)) % max(1, weight.ndim)

    def expanded(self, node: Node) -> np.ndarray:
        """The float32 value of an `expandable` DequantizeLinear."""
        stored = self._graph.constants[node.inputs[0]]
        scale = _along(self._graph.constants[node.inputs[1]].astype(np.float32), node, stored.ndim)
        steps = stored.astype(np.int64) - self._zero_along(node, stored).astype(np.int64)
        return steps.astype(np.float32) * scale

    def exact_bias(self, tensor: str, steps: np.ndarray) -> np.ndarray | None:
        """The int32 behind a dequantised bias whose scale is that of its layer's accumulator; None else.

        Args:
            steps: scale of the accumulator, binary64, one per channel.
        """
        node = self._producers.get(tensor)
        if node is None or node.op != "DequantizeLinear" or not self.expandable(node):
            return None
        stored, scale = self._graph.constants[node.inputs[0]], self._graph.constants[node.inputs[1]]
        if stored.dtype != np.int32 or stored.ndim != 1 or np.any(self._zero_along(node, stored)):
            return None
        close = np.allclose(scale.reshape(-1).astype(np.float64), steps, rtol=1e-6, atol=0)
        return stored.astype(np.int64) if close and stored.size in (1, steps.size) else None

    def _zero_along(self, node: Node, stored: np.ndarray) -> np.ndarray:
        """Zero point of a DequantizeLinear of a constant, shaped to broadcast against it."""
        if len(node.inputs) < 3 or not node.inputs[2]:
            return np.zeros((), stored.dtype)
        return _along(self._graph.constants[node.inputs[2]], node, stored.ndim)

    def expandable(self, node: Node) -> bool:
        """Whether a DequantizeLinear reads constants alone, and has one scale or one along an axis."""
        constants = self._graph.constants
        if not all(name in constants for name in node.inputs if name) or constants[node.inputs[1]].ndim > 1:
            return False
        stored, scale = constants[node.inputs[0]], constants[node.inputs[1]]
        axis = int(node.get("axis", 1))
        fits = -stored.ndim <= axis < stored.ndim and scale.size == stored.shape[axis]
        return scale.size == 1 or fits

    def sole_reader(self, tensor: str) -> Node | None:
        """The one node that reads a tensor; None when several do or the graph returns it."""
        readers = self._readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self._graph.outputs else None

    def quantizer(self, node: Node) -> Quant | None:
        """Scale and zero point of a (De)QuantizeLinear as unsigned bytes; None, with a reason, when it is not 8-bit."""
        scale = self._graph.constants.get(node.inputs[1])
        if scale is None:
            self._refuse(node, "the scale is not a constant")
            return None
        if scale.dtype != np.float32 or not _usable(scale):
            self._refuse(node, "expected finite float32 scales above zero, got others")
            return None
        stored = node.outputs[0] if node.op == "QuantizeLinear" else node.inputs[0]
        zero: np.ndarray | None = np.zeros((), self._graph.types[stored].dtype)
        if len(node.inputs) > 2 and node.inputs[2]:
            zero = self._graph.constants.get(node.inputs[2])
        if zero is None or zero.dtype not in (np.uint8, np.int8):
            came = "no constant" if zero is None else str(zero.dtype)
            self._refuse(node, f"expected an 8-bit constant zero point, got {came}")
            return None
        points = zero.astype(np.int32) + np.int32(128 if zero.dtype == np.int8 else 0)
        if scale.size == 1 and points.size == 1:
            return Quant(scale.reshape(()), points.reshape(()))
        shape = self._graph.shape(node.inputs[0])
        channels = 1 if len(shape) == 4 else len(shape) - 1
        axis = int(node.get("axis", 1))
        if scale.ndim > 1 or axis % len(shape) != channels:
            self._refuse(node, f"expected one scale, or one per channel (axis {channels}), got axis {axis}")
            return None
        count = max(scale.size, points.size)
        return Quant(
            np.broadcast_to(scale.reshape(-1), (count,)).copy(),
            np.broadcast_to(points.reshape(-1), (count,)).copy(),
            channels,
        )

    def _refuse(self, node: Node, why: str) -> None:
        reason = f"{node.name}: {why}"
        if reason not in self.reasons:
            self.reasons.append(reason)

    def gelu_tail(self, tensor: str) -> Tail | None:
        """The quantiser that alone reads the GELU of `tensor`, which nothing else reads; None when there is none.

        None too for one scale per channel, and for steps too small for section 12: those stay float in between.
        """
        reader = self.sole_reader(tensor)
        if reader is None or function_of(reader) != "gelu":
            return None
        after = self.sole_reader(reader.outputs[0])
        quant = self.quantizer(after) if after is not None and after.op == "QuantizeLinear" else None
        steps = numerics.GeluSteps.of(quant.step) if quant is not None and quant.per_tensor else None
        if after is None or quant is None or steps is None:
            return None
        return Tail(quant, 0, 255, after.outputs[0], (reader, after), steps)

    def tail(self, tensor: str) -> Tail | None:
        """The quantiser that alone reads `tensor`, directly or through one ReLU or Clip; None when there is none."""
        reader = self.sole_reader(tensor)
        bounds: tuple[float, float] | None = None
        absorbed: list[Node] = []
        if reader is not None and reader.op in ("Relu", "Clip"):
            bounds = self._clip_bounds(reader)
            if bounds is not None:
                absorbed.append(reader)
                reader = self.sole_reader(reader.outputs[0])
        if reader is None or reader.op != "QuantizeLinear":
            return None
        quant = self.quantizer(reader)
        if quant is None or (bounds is not None and not quant.per_tensor):
            return None
        low, high = 0, 255
        if bounds is not None:
            low, high = (int(b) for b in numerics.quantize(np.array(bounds, np.float32), quant.step, quant.zero))
        return Tail(quant, low, high, reader.outputs[0], (*absorbed, reader))

    def _clip_bounds(self, node: Node) -> tuple[float, float] | None:
        if node.op == "Relu":
            return 0.0, float(2.0**60)
        limits = [-(2.0**60), 2.0**60]
        for index, name in enumerate(node.inputs[1:3]):
            if name:
                if name not in self._graph.constants:
                    return None
                limits[index] = float(self._graph.constants[name])
        return float(limits[0]), float(limits[1])


def _along(array: np.ndarray, node: Node, ndim: int) -> np.ndarray:
    """Scales or zero points of a DequantizeLinear, shaped to broadcast against what it reads."""
    if array.size == 1:
        return array.reshape(())
    shape = [1] * ndim
    shape[int(node.get("axis", 1)) % ndim] = -1
    return array.reshape(shape)


def _usable(scale: np.ndarray) -> bool:
    return bool(np.all(np.isfinite(scale)) and np.all(scale > 0))
