"""Layers of a canonical QDQ graph put back into float, for good or at the flick of a switch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.bias_correction import corrected_bias
from edgevision.compress.layers import MOVES, refuse_unknown, weight_of
from edgevision.compress.onnxgraph import Index, copy_of, dequantised, finished, prune, redirect, sort_nodes

#: Input of a switchable graph: one bool per layer, true leaves it in float.
SWITCH = "edgevision.switch"


class _Twins:
    """Float twins of dequantised tensors: what they were before they were quantised."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._index = Index.of(graph)
        self._made: dict[str, str] = {}

    def of(self, name: str) -> str | None:
        """Name of the float tensor that DequantizeLinear output `name` approximates; None when it is none."""
        dequantize = self._index.made_by(name, "DequantizeLinear")
        return None if dequantize is None else self._before(dequantize.input[0])

    def _before(self, integers: str) -> str | None:
        """The float tensor behind `integers`, with data movements on the way repeated in float."""
        if integers in self._made:
            return self._made[integers]
        node = self._index.producer.get(integers)
        if node is None:
            return None
        if node.op_type == "QuantizeLinear":
            return node.input[0]
        # Of a data movement the first input is moved, of a Concat all are.
        moved = list(node.input) if node.op_type == "Concat" else list(node.input[: node.op_type in MOVES])
        sources = [self._before(name) for name in moved]
        if not sources or None in sources:
            return None
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name = f"{node.name}.float"
        for slot, source in enumerate(sources):
            twin.input[slot] = str(source)
        del twin.output[:]
        twin.output.extend(f"{name}.float" for name in node.output)
        self._graph.node.append(twin)
        self._made.update(zip(node.output, twin.output, strict=True))
        return self._made[integers]


def left_in_float(quantised: onnx.ModelProto, original: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return `quantised` with the layers `names` computed in float.

    Each reads the float tensor ahead of its quantiser, and has the weight and bias of `original`. All other layers and
    all scales stay as they are: nothing is calibrated again.

    Args:
        quantised: a canonical QDQ graph.
        original: the float graph it was made from.
        names: nodes of both.

    Raises:
        UsageError: an unknown name.
    """
    refuse_unknown(quantised.graph, names)
    model = copy_of(quantised)
    graph = model.graph
    twins = _Twins(graph)
    nodes = {node.name: node for node in graph.node}
    for name in names:
        node = nodes[name]
        for slot, tensor in enumerate(node.input):
            node.input[slot] = twins.of(tensor) or tensor
        for slot, array in _own_constants(name, original).items():
            graph.initializer.append(numpy_helper.from_array(array, f"{name}.float.{slot}"))
            node.input[slot] = f"{name}.float.{slot}"
        for holder, slot, before in _uncorrected(graph, name, original):
            if before is None:
                del holder.input[slot]
            else:
                graph.initializer.append(numpy_helper.from_array(before, f"{name}.float.bias"))
                holder.input[slot] = f"{name}.float.bias"
    sort_nodes(graph)
    prune(graph)
    return finished(model)


def switchable(quantised: onnx.ModelProto, original: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return `quantised` with a second input `SWITCH`, bool of shape (len(names),): true leaves that layer in float.

    One session then answers for every layer; building one graph and session for each takes longer than running them.
    """
    refuse_unknown(quantised.graph, names)
    model = copy_of(quantised)
    graph = model.graph
    twins = _Twins(graph)
    nodes = {node.name: node for node in graph.node}
    graph.input.append(helper.make_tensor_value_info(SWITCH, onnx.TensorProto.BOOL, [len(names)]))
    for position, name in enumerate(names):
        node, on = nodes[name], f"{SWITCH}.{position}"
        graph.initializer.append(numpy_helper.from_array(np.asarray(position, np.int64), f"{on}.index"))
        graph.node.append(helper.make_node("Gather", [SWITCH, f"{on}.index"], [on], name=on))
        own = _own_constants(name, original)
        for slot, tensor in enumerate(list(node.input)):
            choice = twins.of(tensor)
            if slot in own:
                choice = f"{name}.float.{slot}"
                graph.initializer.append(numpy_helper.from_array(own[slot], choice))
            if choice is None:
                continue
            chosen = f"{on}.{slot}"
            graph.node.append(helper.make_node("Where", [on, choice, tensor], [chosen], name=chosen))
            node.input[slot] = chosen
        for holder, slot, before in _uncorrected(graph, name, original):
            corrected, choice, chosen = holder.input[slot], f"{name}.float.bias", f"{on}.bias"
            if before is None:
                before = np.zeros_like(Index.of(graph).array(corrected))
            graph.initializer.append(numpy_helper.from_array(before, choice))
            graph.node.append(helper.make_node("Where", [on, choice, corrected], [chosen], name=chosen))
            holder.input[slot] = chosen
    _dequantise_weights(graph)
    sort_nodes(graph)
    prune(graph)
    return finished(model)


def _dequantise_weights(graph: onnx.GraphProto) -> None:
    """Do now what a session would do on every run: it folds no DequantizeLinear."""
    index = Index.of(graph)
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in index.constants:
            value = dequantised(index, node.output[0])
            graph.initializer.append(numpy_helper.from_array(value, f"{node.output[0]}.value"))
            redirect(graph.node, node.output[0], f"{node.output[0]}.value")


def _uncorrected(
    graph: onnx.GraphProto, name: str, original: onnx.ModelProto
) -> list[tuple[onnx.NodeProto, int, np.ndarray | None]]:
    """Where bias correction of layer `name` still acts: node, input slot, and the bias before; None where none was."""
    index = Index.of(original.graph)
    before = {node.name: node for node in original.graph.node}
    found: list[tuple[onnx.NodeProto, int, np.ndarray | None]] = []
    for node in graph.node:
        for slot, tensor in enumerate(node.input):
            if tensor == corrected_bias(name) and node.op_type != "Where":
                twin = before[node.name]
                found.append((node, slot, index.array(twin.input[slot]) if slot < len(twin.input) else None))
    return found


def _own_constants(name: str, original: onnx.ModelProto) -> dict[int, np.ndarray]:
    """Weight and bias of node `name` in the float graph, by input slot."""
    index = Index.of(original.graph)
    node = next(node for node in original.graph.node if node.name == name)
    if weight_of(node, index) is None:
        return {}
    return {slot: index.array(tensor) for slot, tensor in enumerate(node.input) if tensor in index.constants}
