"""Names a person can read: every node is called after the module it came from.

The exporter numbers its nodes in the order it meets them, so one more layer renames all that follow. The path of
the module in the network does not change, is what a state_dict uses, and is what `--keep-fp` takes.
"""

from __future__ import annotations

import ast
import re
from collections import Counter

import onnx

from edgevision.compress.factorized_graph import is_factorized
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, rename_tensors

_CONTAINER = ("Sequential", "ModuleList", "ModuleDict")


def name_by_module(graph: onnx.GraphProto) -> None:
    """Rename nodes and the tensors they make after the torch modules in the exporter's metadata; in place.

    A layer is called by its path ("network.0.0.attn.qkv"), which its weight knows even when a batch norm was folded
    into it; an operation inside a module by path and operation ("network.0.0.add"); the second of its kind in one
    module gets ".1". A node without metadata, made by an optimisation, is called after the node it reads from. The
    metadata, which holds source paths, is dropped.
    """
    fixed = {value.name for value in (*graph.input, *graph.output)}
    taken = Counter(tensor.name for tensor in graph.initializer)
    made: dict[str, str] = {}
    tensors: dict[str, str] = {}
    for node in graph.node:
        base = _owner(node) or _module_name(node) or _after_producer(node, made)
        name = base if not taken[base] else f"{base}.{taken[base]}"
        taken[base] += 1
        node.name = name
        del node.metadata_props[:]
        node.doc_string = ""
        for index, output in enumerate(node.output):
            made[output] = name
            if output not in fixed:
                tensors[output] = name if len(node.output) == 1 else f"{name}.{index}"
    rename_tensors(graph, tensors)


def _owner(node: onnx.NodeProto) -> str | None:
    """The module whose weight the node multiplies by."""
    slot = WEIGHT_SLOTS.get(node.op_type, len(node.input))
    weight = node.input[slot] if slot < len(node.input) else ""
    if node.domain and len(node.input) > 1 and node.input[1].endswith(".packed"):
        return node.input[1].removesuffix(".packed")
    return weight.removesuffix(".weight") if weight.endswith(".weight") else None


def _module_name(node: onnx.NodeProto) -> str | None:
    facts = {item.key: item.value for item in node.metadata_props}
    scopes = _listed(facts.get("pkg.torch.onnx.name_scopes"))
    classes = _listed(facts.get("pkg.torch.onnx.class_hierarchy"))
    if len(scopes) < 2 or len(classes) < 2:
        return None
    path, operation = scopes[-2], re.sub(r"_\d+$", "", scopes[-1])
    parent = classes[-2]
    is_layer = (parent.startswith("torch.nn.modules.") and not parent.endswith(_CONTAINER)) or is_factorized(node)
    if path and (is_layer or operation == "_symbolic"):
        return path
    return f"{path}.{operation}" if path else operation


def _listed(text: str | None) -> list[str]:
    """The exporter writes its lists as Python literals."""
    try:
        value = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):
        return []
    return [str(item) for item in value] if isinstance(value, list) else []


def _after_producer(node: onnx.NodeProto, made: dict[str, str]) -> str:
    source = next((made[name] for name in node.input if name in made), "")
    return f"{source}.{node.op_type.lower()}" if source else node.op_type.lower()


def name_all(graph: onnx.GraphProto) -> None:
    """Give every nameless node of a user's graph a unique name after its first output; keep the names it has."""
    taken: Counter[str] = Counter()
    for node in graph.node:
        base = node.name or node.output[0] or node.op_type.lower()
        node.name = base if not taken[base] else f"{base}.{taken[base]}"
        taken[base] += 1
