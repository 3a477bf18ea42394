"""From a QDQ graph to explicit integer operators: every scale and zero point becomes an operator's own parameter.

All quantised activations are unsigned bytes here; int8 ones are shifted by 128 with their zero point, which changes no
value. What is integer is decided in this one place, for the compiler and for the numpy reference alike
(quant/NUMERICS.md sections 4 to 8). The operators:

=================  ==========================================================================================
IntConv, IntGemm   bytes x int8 weights + int32 bias; `scale` per channel; to bytes, or to float where `out` is None;
                   `gelu` says how a GELU ahead of the bytes is taken
IntConvTranspose   the same; `spread` is its geometry, its weight is ordered as that of a convolution
IntFactorizedConv  bytes x int8 channel factors, both thin filters in float32, whose row factors hold the scales; to
                   float
IntSquareDeform    bytes and dilations x int8 weights of a depthwise layer; as IntConv
IntAdd, IntMul     two byte tensors to bytes; IntAdd also subtracts
IntRescale         bytes to bytes of another scale, clamped; or times and plus constants of each channel
IntLookup          bytes through a table of 256 bytes
IntPool            global average of bytes, to bytes or float
IntAveragePool     average of the bytes in a window, to bytes
IntResize          bilinear interpolation of bytes, to bytes
IntMatMul          product of two byte tensors over their last two axes; to bytes, or to float where `out` is None
Quantize           float to bytes
Dequantize         bytes to float
=================  ==========================================================================================

Data movement (Split, Reshape, MaxPool, Concat of equal scales, ...) keeps its ONNX name and runs on the bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgevision.errors import Unsupported
from edgevision.graph import borders, byteline, byterules, linear, numerics, squarerule
from edgevision.graph.affine import as_product_and_sum
from edgevision.graph.binarylayers import binary_layers
from edgevision.graph.bytefunction import byte_function
from edgevision.graph.bytesteps import Line
from edgevision.graph.dilations import DOMAIN as FUSED
from edgevision.graph.dilations import byte_dilations
from edgevision.graph.factorizedrule import on_factorized
from edgevision.graph.ir import Graph, Node
from edgevision.graph.placement import moves, placed
from edgevision.graph.rewriting import Rewriting

#: Types a constant may be dequantised from.
_STORED = (np.uint8, np.int8, np.int32)


def integerize(graph: Graph) -> Graph:
    """Return `graph` with every quantised operator explicit.

    Raises:
        Unsupported: a quantiser the integer arithmetic cannot express; all of them are named.
    """
    return _Integerizer(placed(as_product_and_sum(byte_dilations(binary_layers(graph))))).run()


class _Integerizer:
    def __init__(self, graph: Graph) -> None:
        self._state = Rewriting(graph)
        self._rules: dict[str, Callable[[Rewriting, Node], bool]] = {**linear.RULES, **byterules.RULES}
        self._fused = {"SquareDeform": squarerule.on_square}

    def run(self) -> Graph:
        state = self._state
        borders.take_inputs(state)
        for node in state.graph.nodes:
            if id(node) not in state.done:
                self._convert(node)
        borders.give_outputs(state)
        if state.qdq.reasons:
            raise Unsupported(
                "the graph has quantisers that integer arithmetic cannot express",
                fix="quantise with one of the shipped recipes, or per tensor with uniform zero points; leave the "
                "operators named above out of the quantisation",
                reasons=state.qdq.reasons,
            )
        return state.finished()

    def _convert(self, node: Node) -> None:
        state = self._state
        rule = self._rules.get(node.op)
        reads_bytes = any(name in state.qdq.quant for name in node.inputs)
        if node.domain not in ("", "ai.onnx"):
            fused = self._fused.get(node.op) if node.domain == FUSED else on_factorized
            if fused is None or not fused(state, node):
                state.nodes.append(node)
        elif node.op == "QuantizeLinear":
            self._quantize(node)
        elif node.op == "DequantizeLinear":
            self._dequantize(node)
        elif (moves(node) and node.inputs[0] in state.qdq.quant) or self._joins_pieces(node):
            self._move(node)
        elif reads_bytes or rule is None or not rule(state, node):
            if reads_bytes:
                state.refuse(node, f"{node.op} reads bytes, expected a DequantizeLinear ahead of it")
            state.nodes.append(node)

    def _joins_pieces(self, node: Node) -> bool:
        """Whether a Concat joins bytes that all mean the same: pieces of one tensor, or branches with one quantiser."""
        quants = [self._state.qdq.quant.get(name) for name in node.inputs] if node.op == "Concat" else [None]
        first = quants[0]
        return first is not None and all(quant is not None and quant.equals(first) for quant in quants)

    def _move(self, node: Node) -> None:
        state = self._state
        state.nodes.append(node)
        quant = state.qdq.quant[node.inputs[0]]
        if not quant.per_tensor and node.op not in ("MaxPool", "Identity"):
            state.refuse(node, f"{node.op} of a tensor with one scale per channel")
        for output in node.outputs:
            if output:
                state.as_bytes(output, quant)

    def _quantize(self, node: Node) -> None:
        state = self._state
        quant = state.qdq.quantizer(node)
        if quant is None:
            return
        if node.inputs[0] in state.graph.constants or state.types[node.inputs[0]].dtype != "float32":
            state.refuse(node, "expected a float32 activation to quantise, got another type or a constant")
        if not (quant.per_tensor and (self._byte_function(node) or byteline.on_line(state, node))):
            state.emit("Quantize", node, [node.inputs[0]], node.outputs[0], quant=quant)
        state.as_bytes(node.outputs[0], quant)

    def _byte_function(self, node: Node) -> bool:
        """Whether what this quantises is a function of one byte tensor: then it is computed from the bytes."""
        state = self._state
        out = state.qdq.quantizer(node)

        def begins(name: str) -> bool:
            found = state.qdq.source(name)
            return found is not None and found[1].per_tensor

        function = byte_function(node.inputs[0], state.producers, state.constants, begins)
        if function is None or function.source is None or out is None:
            return False
        found = state.qdq.source(function.source)
        if found is None or state.shape(function.source) != state.shape(node.inputs[0]):
            return False
        tensor, quant = found
        output = node.outputs[0]
        if function.clamp is not None:
            bounds = np.clip(np.array(function.clamp), -(2.0**60), 2.0**60).astype(np.float32)
            low, high = (int(b) for b in numerics.quantize(bounds, out.step, out.zero))
            if quant.equals(out) and (low, high) == (0, 255):
                state.standard("Identity", node, [tensor], output)
                return True
            line = Line.of(byterules.ratio(quant.scale, out)[None], (quant.zero,), out.zero)
            state.emit("IntRescale", node, [tensor], output, steps=line, out=out, low=low, high=high)
            return True
        with np.errstate(all="ignore"):
            values = function.value((np.arange(256, dtype=np.float64) - quant.zero) * np.float64(quant.scale))
            if np.isnan(values).any():
                return False
            table = numerics.lookup_table(function.value, quant.step, quant.zero, out.step, out.zero)
        if np.array_equal(table, np.arange(256)):
            # As a factor between two quantisers whose scales differ by it: only the meaning of the bytes changes.
            state.standard("Identity", node, [tensor], output)
            return True
        state.emit("IntLookup", node, [tensor], output, table=table, out=out)
        state.nodes[-1].name = " + ".join(dict.fromkeys(function.operators))
        return True

    def _dequantize(self, node: Node) -> None:
        state = self._state
        source = node.inputs[0]
        if int(node.get("block_size", 0)):
            state.refuse(node, "blocked quantisation; expected one scale, or one per channel")
        elif source in state.qdq.quant:
            quant, own = state.qdq.quant[source], state.qdq.quantizer(node)
            if own is not None and not own.equals(quant):
                state.refuse(node, "scale or zero point differ from the quantiser's")
            state.emit("Dequantize", node, [source], node.outputs[0], quant=quant)
        elif source in state.graph.constants:
            constant = state.graph.constants[source]
            if constant.dtype not in _STORED:
                state.refuse(node, f"expected a constant of int8, uint8 or int32, got {constant.dtype}")
            elif not state.qdq.expandable(node):
                state.refuse(node, "expected a constant scale, one or one along an axis")
            else:
                state.constants[node.outputs[0]] = state.qdq.expanded(node)
        else:
            state.refuse(node, "dequantises a tensor no quantiser made")
