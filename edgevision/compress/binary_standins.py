"""Binary layers shown to NNCF as standard operators, and put back behind it.

NNCF drops the functions of a graph. What signs its inputs is shown as the body of its function, all of it left alone:
its operands have one bit already. A layer of one-bit weights alone is shown as the float layer it is equal to, so that
its activations get a quantiser like those of any other layer, and its sum is one of whole numbers; bits and scales stay
as they were, and its bias is corrected like any other. A bias of attention that is kept in parts is shown whole.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgevision.compress.onnxgraph import BINARY, BINARY_BIAS, WEIGHT_BINARY, Index, attribute, prune


def stand_in_binary(model: onnx.ModelProto) -> list[str]:
    """Replace every binary layer by standard operators, in place; return the nodes that must stay float."""
    bodies = {item.name: item for item in model.functions}
    index = Index.of(model.graph)
    nodes: list[onnx.NodeProto] = []
    floats: list[str] = []
    for node in model.graph.node:
        if node.op_type == BINARY_BIAS:
            model.graph.initializer.append(_whole_bias(node, model, index))
        elif node.op_type in WEIGHT_BINARY:
            nodes += _float_layer(model.graph, node, index)
        elif node.op_type in BINARY:
            body = _body(model.graph, node, bodies[node.op_type])
            floats += [one.name for one in body]
            nodes += body
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    prune(model.graph)
    return floats


def put_back_binary(quantised: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Undo `stand_in_binary` after quantisation, in place.

    Args:
        quantised: made from `original` with stand-ins.
        original: has the functions and the nodes.
    """
    binary = [node for node in original.graph.node if node.op_type in BINARY]
    if not binary:
        return
    constants = {tensor.name: tensor for tensor in original.graph.initializer}
    present = {tensor.name for tensor in quantised.graph.initializer}
    shown = {node.name: node for node in quantised.graph.node}
    biases = {node.output[0]: node for node in original.graph.node if node.op_type == BINARY_BIAS}
    back: dict[str, onnx.NodeProto] = {}
    gone: set[str] = set()
    bodies = {item.name: item for item in original.functions}
    for node in binary:
        own = onnx.NodeProto()
        own.CopyFrom(node)
        parts = _names(node, bodies[node.op_type])
        for slot, name in enumerate(node.input):
            if name in constants or name in biases:
                wanted = [name] if name in constants else biases[name].input
                quantised.graph.initializer.extend(constants[part] for part in wanted if part not in present)
                present.update(wanted)
                continue
            reader, place = _reader(node, slot, bodies[node.op_type])
            own.input[slot] = shown[reader].input[place]
        own.output[0] = shown[parts[-1]].output[0]
        back[parts[-1]] = own
        gone.update(parts)
    nodes = [back.get(node.name, node) for node in quantised.graph.node if node.name in back or node.name not in gone]
    kept = [tensor for tensor in quantised.graph.initializer if tensor.name not in biases]
    del quantised.graph.node[:], quantised.functions[:], quantised.graph.initializer[:]
    quantised.graph.node.extend([*biases.values(), *nodes])
    quantised.graph.initializer.extend(kept)
    quantised.functions.extend(original.functions)
    known = {item.domain for item in quantised.opset_import}
    quantised.opset_import.extend(item for item in original.opset_import if item.domain not in known)


def _names(node: onnx.NodeProto, function: onnx.FunctionProto) -> list[str]:
    """The nodes `node` is shown as; the last makes its output."""
    if node.op_type == "BinaryWeightConv":
        return [node.name]
    if node.op_type == "BinaryWeightLinear":
        return [node.name, f"{node.name}.sum"]
    return [f"{node.name}/{part.output[0]}" for part in function.node if part.op_type != "Constant"]


def _reader(node: onnx.NodeProto, slot: int, function: onnx.FunctionProto) -> tuple[str, int]:
    """Which of the nodes `node` is shown as reads input `slot`, and where."""
    if node.op_type in WEIGHT_BINARY:
        return node.name, 0
    wanted = function.input[slot]
    part = next(part for part in function.node if wanted in part.input)
    return f"{node.name}/{part.output[0]}", list(part.input).index(wanted)


def _body(graph: onnx.GraphProto, node: onnx.NodeProto, function: onnx.FunctionProto) -> list[onnx.NodeProto]:
    """The function written out, its constants as initializers."""
    names = dict(zip(function.input, node.input, strict=True))
    names |= dict(zip(function.output, node.output, strict=True))
    made = []
    for part in function.node:
        own = f"{node.name}/{part.output[0]}"
        names.setdefault(part.output[0], own)
        if part.op_type == "Constant":
            graph.initializer.append(numpy_helper.from_array(_constant(node, part), own))
            continue
        one = onnx.NodeProto()
        one.CopyFrom(part)
        one.name = own
        del one.input[:], one.output[:]
        one.input.extend(names[name] for name in part.input)
        one.output.extend(names[name] for name in part.output)
        made.append(one)
    return made


def _whole_bias(node: onnx.NodeProto, model: onnx.ModelProto, index: Index) -> onnx.TensorProto:
    """What the function of a bias in parts makes of them."""
    made = helper.make_value_info(node.output[0], onnx.TypeProto())
    graph = helper.make_graph([node], "bias", [], [made], [index.constants[name] for name in node.input])
    called = [item for item in model.functions if item.name == node.op_type]
    alone = helper.make_model(graph, opset_imports=model.opset_import, functions=called)
    value = next(iter(ReferenceEvaluator(alone).run(None, {})))
    return numpy_helper.from_array(np.asarray(value), node.output[0])


def _constant(node: onnx.NodeProto, part: onnx.NodeProto) -> np.ndarray:
    given = part.attribute[0]
    if not given.ref_attr_name:
        return numpy_helper.to_array(given.t)
    value = attribute(node, given.ref_attr_name, None)
    return np.asarray(value, np.float32 if given.type == onnx.AttributeProto.FLOAT else np.int64)


def _float_layer(graph: onnx.GraphProto, node: onnx.NodeProto, index: Index) -> list[onnx.NodeProto]:
    """A MatMul and its bias, or a pointwise Conv, of weights that are scale or -scale."""
    x, packed, scale, bias = node.input
    bits = np.unpackbits(index.array(packed), axis=1, count=attribute(node, "K", 0), bitorder="little")
    weight = (bits.astype(np.float32) * 2 - 1) * index.array(scale)[:, None]
    name = f"{node.name}.float"
    if node.op_type == "BinaryWeightConv":
        graph.initializer.append(numpy_helper.from_array(weight[:, :, None, None], name))
        return [helper.make_node("Conv", [x, name, bias], list(node.output), node.name, kernel_shape=[1, 1])]
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight.T), name))
    return [
        helper.make_node("MatMul", [x, name], [f"{node.name}.sums"], node.name),
        helper.make_node("Add", [f"{node.name}.sums", bias], list(node.output), f"{node.name}.sum"),
    ]
