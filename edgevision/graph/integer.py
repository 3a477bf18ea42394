"""From a QDQ graph to explicit integer operators: every scale and zero point becomes an operator's own parameter.

All quantised activations are unsigned bytes here; int8 ones are shifted by 128 with their zero point, which changes no
value. What is integer is decided in this one place, for the compiler and for the numpy reference alike
(quant/NUMERICS.md sections 4 to 8). The operators:

=================  ==========================================================================================
IntConv, IntGemm   bytes x int8 weights + int32 bias; `scale` per channel; to bytes, or to float where `out` is None
IntAdd, IntMul     two byte tensors to bytes
IntLookup          bytes through a table of 256 bytes
IntPool            global average of bytes, to bytes or float
IntMatMul          product of two byte tensors over their last two axes; to bytes, or to float where `out` is None
Quantize           float to bytes
Dequantize         bytes to float
=================  ==========================================================================================

Data movement (Split, Reshape, MaxPool, ...) keeps its ONNX name and runs on the bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgevision.errors import Unsupported
from edgevision.graph import numerics
from edgevision.graph.ir import Graph, Node, TensorType
from edgevision.graph.qdq import QdqReader, Quant, Tail

_SQRT_2 = np.sqrt(2.0)


def _erf64(x: np.ndarray) -> np.ndarray:
    from math import erf

    return np.array([erf(float(v)) for v in x.ravel()]).reshape(x.shape)


#: Functions a table of 256 bytes can stand for, with their binary64 definition.
TABLE_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "Gelu": lambda x: 0.5 * x * (1.0 + _erf64(x / _SQRT_2)),
    "Tanh": np.tanh,
    "Erf": _erf64,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Relu": lambda x: np.maximum(x, 0),
}

#: Operators that move bytes without looking at them.
MOVES = ("Split", "Reshape", "Transpose", "Flatten", "Slice", "Squeeze", "Unsqueeze", "MaxPool", "Identity")


def integerize(graph: Graph) -> Graph:
    """Return `graph` with every quantised operator explicit.

    Raises:
        Unsupported: a quantiser the integer arithmetic cannot express; all of them are named.
    """
    return _Integerizer(graph).run()


class _Integerizer:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._constants = dict(graph.constants)
        self._types = dict(graph.types)
        self._qdq = QdqReader(graph)
        self._done: set[int] = set()
        self._nodes: list[Node] = []

    def run(self) -> Graph:
        for node in self._graph.nodes:
            if id(node) not in self._done:
                self._convert(node)
        for name in self._graph.outputs:
            if name in self._qdq.quant and self._graph.types[name].dtype == "int8":
                self._qdq.reasons.append(f"output '{name}': expected float or uint8, got int8")
        if self._qdq.reasons:
            raise Unsupported(
                "the graph has quantisers that integer arithmetic cannot express",
                fix="quantise with one of the shipped recipes, or per tensor with uniform zero points",
                reasons=self._qdq.reasons,
            )
        made = Graph(
            self._nodes, self._constants, self._types, self._graph.inputs, self._graph.outputs, self._graph.opset
        )
        made.prune()
        return made

    def _tail(self, tensor: str) -> Tail | None:
        """The quantiser behind `tensor`, taken out of the graph."""
        tail = self._qdq.tail(tensor)
        if tail is not None:
            self._done.update(id(node) for node in tail.absorbed)
        return tail

    # -- emission ---------------------------------------------------------------------------------------------------

    def _emit(self, op: str, node: Node, inputs: list[str], output: str, **attributes: object) -> None:
        self._nodes.append(Node(op, node.name, inputs, [output], dict(attributes), "edgevision.integer"))

    def _bytes(self, tensor: str, quant: Quant) -> None:
        self._qdq.quant[tensor] = quant
        self._types[tensor] = TensorType(self._types[tensor].shape, "uint8")

    def _convert(self, node: Node) -> None:
        handler = getattr(self, f"_on_{node.op}", None)
        if node.domain not in ("", "ai.onnx"):
            self._nodes.append(node)
        elif (node.op in MOVES and node.inputs[0] in self._qdq.quant) or self._joins_pieces(node):
            self._move(node)
        elif (node.op in TABLE_FUNCTIONS and self._table(node)) or (handler is not None and handler(node)):
            return
        else:
            if any(name in self._qdq.quant for name in node.inputs):
                self._qdq.reasons.append(f"{node.name}: {node.op} reads bytes, expected a DequantizeLinear ahead of it")
            self._nodes.append(node)

    def _joins_pieces(self, node: Node) -> bool:
        """Whether a Concat puts pieces of one quantised tensor together, as a roll does."""
        quants = [self._qdq.quant.get(name) for name in node.inputs] if node.op == "Concat" else [None]
        return quants[0] is not None and all(quant is quants[0] for quant in quants)

    def _move(self, node: Node) -> None:
        self._nodes.append(node)
        quant = self._qdq.quant[node.inputs[0]]
        if node.op == "MaxPool" and len([o for o in node.outputs if o]) > 1:
            self._qdq.reasons.append(f"{node.name}: the indices of a MaxPool of bytes")
        if not quant.per_tensor and node.op not in ("MaxPool", "Identity"):
            self._qdq.reasons.append(f"{node.name}: {node.op} of a tensor with one scale per channel")
        for output in node.outputs:
            if output:
                self._bytes(output, quant)

    def _on_QuantizeLinear(self, node: Node) -> bool:  # noqa: N802 - named after the operator
        quant = self._qdq.quantizer(node)
        if quant is None:
            return True
        if node.inputs[0] in self._constants or self._types[node.inputs[0]].dtype != "float32":
            self._qdq.reasons.append(
                f"{node.name}: expected a float32 activation to quantise, got another type or a constant"
            )
        self._emit("Quantize", node, [node.inputs[0]], node.outputs[0], quant=quant)
        self._bytes(node.outputs[0], quant)
        return True

    def _on_DequantizeLinear(self, node: Node) -> bool:  # noqa: N802
        if node.inputs[0] in self._qdq.quant:
            quant, own = self._qdq.quant[node.inputs[0]], self._qdq.quantizer(node)
            if own is not None and not own.equals(quant):
                self._qdq.reasons.append(f"{node.name}: scale or zero point differ from the quantiser's")
            self._emit("Dequantize", node, [node.inputs[0]], node.outputs[0], quant=quant)
            return True
        if node.inputs[0] in self._graph.constants:
            if self._qdq.expandable(node):
                self._dequantized_constant(node)
            else:
                self._qdq.reasons.append(f"{node.name}: expected a constant scale, one or one along an axis")
            return True
        self._qdq.reasons.append(f"{node.name}: dequantises a tensor no quantiser made")
        return True

    def _dequantized_constant(self, node: Node) -> None:
        """Expand a constant for readers that stay float; a weight-only layer keeps its bytes."""
        weight = self._graph.constants[node.inputs[0]]
        scale = self._graph.constants[node.inputs[1]].astype(np.float32)
        given = len(node.inputs) > 2 and node.inputs[2]
        zero = self._graph.constants[node.inputs[2]] if given else np.zeros_like(scale, weight.dtype)
        if scale.size > 1:
            shape = [1] * weight.ndim
            shape[int(node.get("axis", 1)) % weight.ndim] = -1
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        self._constants[node.outputs[0]] = (weight.astype(np.int32) - zero.astype(np.int32)).astype(np.float32) * scale

    def _on_Conv(self, node: Node) -> bool:  # noqa: N802
        weight = self._qdq.weight(node.inputs[1])
        if weight is None or weight[0].ndim != 4 or not self._constant_bias(node):
            return False
        values, scale, axis = weight
        if axis != 0 and scale.size > 1:
            self._qdq.reasons.append(
                f"{node.name}: weights are quantised along axis {axis}, expected output channels (0)"
            )
            return True
        return self._linear(node, "IntConv", values, scale.reshape(-1), group=int(node.get("group", 1)))

    def _on_Gemm(self, node: Node) -> bool:  # noqa: N802
        weight = self._qdq.weight(node.inputs[1])
        plain = float(node.get("alpha", 1.0)) == 1.0 and float(node.get("beta", 1.0)) == 1.0 and not node.get("transA")
        if weight is None or not plain or not self._constant_bias(node):
            return False
        values, scale, axis = weight
        if scale.size > 1 and axis != (0 if node.get("transB") else 1):
            return False
        return self._linear(node, "IntGemm", values if node.get("transB") else values.T, scale.reshape(-1))

    def _on_MatMul(self, node: Node) -> bool:  # noqa: N802
        weight = self._qdq.weight(node.inputs[1])
        if weight is None:
            return self._product(node)
        if weight[0].ndim != 2:
            return False
        if weight[1].size > 1 and weight[2] != 1:
            return False
        return self._linear(node, "IntGemm", weight[0].T, weight[1].reshape(-1))

    def _product(self, node: Node) -> bool:
        """A MatMul of two activations, each behind a dequantiser and perhaps a constant factor."""
        a, b = (self._qdq.scaled_source(name) for name in node.inputs)
        shapes = [self._types[name].shape for name in node.inputs]
        if a is None or b is None or not (a[1].per_tensor and b[1].per_tensor):
            return False
        if min(len(shape) for shape in shapes) < 2 or shapes[0][:-2] != shapes[1][:-2]:
            return False
        product = a[1].scale.astype(np.float64) * b[1].scale.astype(np.float64)
        factor, output = self._factor_after(node.outputs[0])
        product, tail = product * factor, self._tail(output)
        out, low, high = (tail.quant, tail.low, tail.high) if tail else (None, 0, 255)
        if tail is not None and tail.quant.per_tensor:
            product, output = product / tail.quant.scale.astype(np.float64), tail.output
            self._bytes(output, tail.quant)
        elif tail is not None:
            self._qdq.reasons.append(f"{node.name}: a product of activations quantised per channel")
        self._emit(
            "IntMatMul", node, [a[0], b[0]], output, zeros=(a[1].zero, b[1].zero),
            scale=np.asarray(product).astype(np.float32), out=out, low=low, high=high,
        )  # fmt: skip
        return True

    def _factor_after(self, tensor: str) -> tuple[float, str]:
        """The constants a result is multiplied or divided by, and the tensor after that."""
        factor = 1.0
        while (reader := self._qdq.sole_reader(tensor)) is not None and reader.op in ("Mul", "Div"):
            constant = self._qdq.scalar_beside(reader, tensor)
            if constant is None or (reader.op == "Div" and reader.inputs[0] != tensor):
                break
            factor = factor * constant if reader.op == "Mul" else factor / constant
            self._done.add(id(reader))
            tensor = reader.outputs[0]
        return factor, tensor

    def _constant_bias(self, node: Node) -> bool:
        """Whether a layer has no bias, or a constant one with one value per channel or one in all."""
        if len(node.inputs) < 3 or not node.inputs[2]:
            return True
        bias = self._constants.get(node.inputs[2])
        return bias is not None and (bias.size == 1 or bias.size == bias.shape[-1])

    def _linear(self, node: Node, op: str, weight: np.ndarray, scale: np.ndarray, group: int = 1) -> bool:
        """IntConv or IntGemm, or a float layer with byte weights when the activations are float."""
        channels = weight.shape[0]
        scale = np.broadcast_to(scale, (channels,)).astype(np.float32)
        source = self._qdq.source(node.inputs[0])
        bias = self._constants[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else None
        output = node.outputs[0]
        if op == "IntGemm" and node.op == "MatMul":
            output, bias = self._bias_after(output)
        bias = np.zeros(1, np.float32) if bias is None else bias.reshape(-1).astype(np.float32)
        bias = np.broadcast_to(bias, (channels,))
        if source is None:
            attributes = dict(node.attributes, weight=np.ascontiguousarray(weight), scale=scale, bias=bias, group=group)
            self._emit(op.replace("Int", "ByteWeight"), node, [node.inputs[0]], output, **attributes)
            return True
        tensor, quant = source
        if not quant.per_tensor and not (group == channels and weight.shape[1] == 1):
            self._qdq.reasons.append(
                f"{node.name}: input has one scale per channel, which only depthwise layers can use"
            )
            return True
        steps = (quant.scale.astype(np.float64) * scale.astype(np.float64)).astype(np.float64)
        weight, steps, bias_q = _bounded_bias(weight, steps, bias)
        tail = self._tail(output)
        out, low, high = (tail.quant, tail.low, tail.high) if tail else (None, 0, 255)
        multiplier = steps.astype(np.float32)
        if tail is not None:
            multiplier = (steps / tail.quant.scale.astype(np.float64)).astype(np.float32)
            output = tail.output
            self._bytes(output, tail.quant)
        attributes = {k: v for k, v in node.attributes.items() if k not in ("alpha", "beta", "transA", "transB")}
        attributes.update(
            weight=np.ascontiguousarray(weight), bias=bias_q, scale=multiplier, x_zero=quant.zero_point, group=group,
            out=out, low=low, high=high,
        )  # fmt: skip
        self._emit(op, node, [tensor], output, **attributes)
        return True

    def _bias_after(self, tensor: str) -> tuple[str, np.ndarray | None]:
        """The constant added to a MatMul's result, as exporters write linear layers."""
        reader = self._qdq.sole_reader(tensor)
        if reader is None or reader.op != "Add":
            return tensor, None
        other = reader.inputs[1] if reader.inputs[0] == tensor else reader.inputs[0]
        value = self._graph.constants.get(other)
        if value is None or value.ndim != 1 or value.size != self._types[tensor].shape[-1]:
            return tensor, None
        self._done.add(id(reader))
        return reader.outputs[0], value

    def _on_Add(self, node: Node) -> bool:  # noqa: N802
        a, b = (self._qdq.source(name) for name in node.inputs)
        same = self._types[node.inputs[0]].shape == self._types[node.inputs[1]].shape
        if a is None or b is None or not same or not (a[1].per_tensor and b[1].per_tensor):
            return False
        tail = self._tail(node.outputs[0])
        if tail is None:
            return False
        out, low, high, output = tail.quant, tail.low, tail.high, tail.output
        steps = np.atleast_1d(out.scale)
        triples = [numerics.add_multipliers(a[1].step, b[1].step, float(s)) for s in steps]
        self._bytes(output, out)
        self._emit(
            "IntAdd", node, [a[0], b[0]], output, zeros=(a[1].zero, b[1].zero),
            multipliers=np.array([t[:2] for t in triples], np.int32).T.copy(),
            scale=np.array([2.0 ** -t[2] for t in triples], np.float32), out=out, low=low, high=high,
        )  # fmt: skip
        return True

    def _on_Mul(self, node: Node) -> bool:  # noqa: N802
        a, b = (self._qdq.source(name) for name in node.inputs)
        shape = self._types[node.outputs[0]].shape
        fit = all(_broadcasts(self._types[name].shape, shape) for name in node.inputs)
        if a is None or b is None or not fit or not (a[1].per_tensor and b[1].per_tensor):
            return False
        tail = self._tail(node.outputs[0])
        if tail is None:
            return False
        out, low, high, output = tail.quant, tail.low, tail.high, tail.output
        product = a[1].scale.astype(np.float64) * b[1].scale.astype(np.float64)
        self._bytes(output, out)
        self._emit(
            "IntMul", node, [a[0], b[0]], output, zeros=(a[1].zero, b[1].zero),
            scale=np.atleast_1d(product / out.scale.astype(np.float64)).astype(np.float32), out=out, low=low, high=high,
        )  # fmt: skip
        return True

    def _on_GlobalAveragePool(self, node: Node) -> bool:  # noqa: N802
        source = self._qdq.source(node.inputs[0])
        if source is None or not source[1].per_tensor or len(self._types[node.inputs[0]].shape) != 4:
            return False
        tensor, quant = source
        count = int(np.prod(self._types[node.inputs[0]].shape[2:]))
        tail = self._tail(node.outputs[0])
        output, scale = node.outputs[0], np.asarray(np.float64(quant.step) / count)
        out, low, high = (tail.quant, tail.low, tail.high) if tail else (None, 0, 255)
        if tail is not None:
            # The product is exact in binary64, so there is one rounding.
            output, scale = tail.output, np.float64(quant.step) / (count * tail.quant.scale.astype(np.float64))
            self._bytes(output, tail.quant)
        self._emit(
            "IntPool", node, [tensor], output, x_zero=quant.zero, out=out, low=low, high=high,
            scale=np.atleast_1d(scale.astype(np.float32)),
        )  # fmt: skip
        return True

    def _table(self, node: Node) -> bool:
        source = self._qdq.source(node.inputs[0])
        approximate = node.op == "Gelu" and node.get("approximate", b"none") != b"none"
        if source is None or not source[1].per_tensor or approximate:
            return False
        reader = self._qdq.sole_reader(node.outputs[0])
        if reader is None or reader.op != "QuantizeLinear":
            return False
        out = self._qdq.quantizer(reader)
        if out is None or not out.per_tensor:
            return False
        self._done.add(id(reader))
        table = numerics.lookup_table(TABLE_FUNCTIONS[node.op], source[1].step, source[1].zero, out.step, out.zero)
        self._bytes(reader.outputs[0], out)
        self._emit("IntLookup", node, [source[0]], reader.outputs[0], table=table, out=out)
        return True


def _broadcasts(other: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether integer kernels can read `other` as `shape`: alike, one value per image and channel, or per pixel."""
    if len(other) != len(shape) or other[:1] != shape[:1]:
        return False
    channel = 1 if len(shape) == 4 else len(shape) - 1
    rest = [(o, s) for axis, (o, s) in enumerate(zip(other, shape, strict=True)) if axis not in (0, channel)]
    if other[channel] == shape[channel]:
        return other == shape or all(o == 1 for o, _ in rest)
    return other[channel] == 1 and all(o == s for o, s in rest)


def _bounded_bias(weight: np.ndarray, steps: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantise the bias to int32; a channel whose bias would overflow gets coarser steps (NUMERICS.md section 4)."""
    quantised = numerics.quantize_bias(bias, steps)
    too_large = np.abs(quantised) >= 2**30
    if np.any(too_large):
        weight, steps = weight.copy(), steps.copy()
        for channel in np.flatnonzero(too_large):
            factor = 2.0 ** np.ceil(np.log2(abs(float(quantised[channel])) / 2**30))
            weight[channel] = np.rint(weight[channel] / factor).astype(np.int8)
            steps[channel] *= factor
        quantised = numerics.quantize_bias(bias, steps)
    return weight, steps, quantised.astype(np.int32)
