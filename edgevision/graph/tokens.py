"""Four-dimensional tensors that are no images: those a network reads along their last axis become rows of tokens.

Kernels take a 4-d tensor for an image whose channels are axis 1. Layer norms, linear layers and softmaxes work along
the last axis whatever the rank, and the elementwise operators between them do not care: all such tensors (N, H, W, C)
are read as (N, H * W, C), with a Reshape where the region begins and ends. Nothing is computed differently.
"""

from __future__ import annotations

from edgevision.graph.ir import Graph, Node, TensorType

#: Operators whose result at a position depends on that position alone.
ELEMENTWISE = (
    "Add", "Sub", "Mul", "Div", "Max", "Min", "Relu", "Sigmoid", "Tanh", "Gelu", "Erf", "Exp", "HardSigmoid",
    "HardSwish", "Clip", "Quantize", "Dequantize", "IntAdd", "IntMul", "IntRescale", "IntLookup",
)  # fmt: skip
LINEAR = ("MatMul", "IntGemm", "ByteWeightGemm", "BinaryLinear")


def as_tokens(graph: Graph) -> None:
    """Rewrite `graph` in place.

    A region grows from every layer norm, softmax and linear layer through elementwise operators, and ends at each that
    reads an operand of another shape.
    """
    region, inside = _region(graph)
    if not region:
        return
    readers = graph.readers()
    wanted_plain = {t for t in region if t in graph.outputs or any(id(n) not in inside for n in readers.get(t, []))}
    for name in region:
        graph.types[_tokens(name)] = TensorType(_flat(graph.shape(name)), graph.types[name].dtype)
    nodes = [_reshape(name, _tokens(name)) for name in graph.inputs if name in region]
    for node in graph.nodes:
        nodes.append(node)
        made = [name for name in node.outputs if name in region]
        if id(node) in inside:
            node.inputs = [_operand(graph, name, region) for name in node.inputs]
            node.outputs = [_tokens(name) for name in node.outputs]
            nodes += [_reshape(_tokens(name), name) for name in made if name in wanted_plain]
        else:
            nodes += [_reshape(name, _tokens(name)) for name in made]
    graph.nodes = nodes


def _tokens(name: str) -> str:
    return f"{name}.tokens"


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[1] * shape[2], shape[3])


def _reshape(source: str, target: str) -> Node:
    return Node("Reshape", f"{source} -> {target}", [source], [target])


def _operand(graph: Graph, name: str, region: set[str]) -> str:
    """The name under which a node of the region reads `name`; 4-d constants get a flat twin."""
    if name in region:
        return _tokens(name)
    array = graph.constants.get(name)
    if array is None or array.ndim != 4:
        return name
    graph.constants[_tokens(name)] = array.reshape(_flat(array.shape))
    graph.types[_tokens(name)] = TensorType(_flat(array.shape), str(array.dtype))
    return _tokens(name)


def _region(graph: Graph) -> tuple[set[str], set[int]]:
    """The tensors to be read as tokens, and the nodes (by id) that will do so."""
    readers, producers = graph.readers(), graph.producers()
    region: set[str] = set()
    inside: set[int] = set()
    waiting = [node for node in graph.nodes if _is_seed(node, graph)]
    while waiting:
        node = waiting.pop()
        if id(node) in inside:
            continue
        inside.add(id(node))
        for name in [n for n in (*node.inputs, *node.outputs) if n and n not in graph.constants]:
            if len(graph.shape(name)) != 4 or name in region:
                continue
            region.add(name)
            around = [*readers.get(name, []), *([producers[name]] if name in producers else [])]
            waiting += [n for n in around if n.op in ELEMENTWISE and _follows(n, graph)]
    return region, inside


def _is_seed(node: Node, graph: Graph) -> bool:
    shape = graph.shape(node.outputs[0])
    if len(shape) != 4 or len([o for o in node.outputs if o]) != 1:
        return False
    if node.op in ("LayerNormalization", "Softmax"):
        return int(node.get("axis", -1)) in (-1, 3)
    weight = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return node.op in LINEAR and (node.op != "MatMul" or (weight is not None and weight.ndim == 2))


def _follows(node: Node, graph: Graph) -> bool:
    """Whether an elementwise node gives the same result on tokens."""
    shape = graph.shape(node.outputs[0])
    if len(shape) != 4 or not all(graph.shape(o) == shape for o in node.outputs if o):
        return False
    quant = node.get("quant") or node.get("out")
    if quant is not None and not quant.per_tensor:
        return False
    for name in node.inputs:
        if not name:
            continue
        array = graph.constants.get(name)
        if array is None and graph.shape(name) != shape:
            return False
        if array is not None and array.ndim == 4 and array.shape[1:3] not in ((1, 1), shape[1:3]):
            return False
    return True
