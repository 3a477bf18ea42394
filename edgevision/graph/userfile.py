"""A user's own ONNX file on its way in: checked, brought to our opset, shapes fixed, batch norms folded."""

from __future__ import annotations

import onnx
from onnx import version_converter

from edgevision.compress.onnxgraph import copy_of, finished
from edgevision.errors import Unsupported, UsageError
from edgevision.graph.fold import fold_batch_norms, fold_constants
from edgevision.graph.naming import name_all
from edgevision.graph.simplify import pool_means
from edgevision.zoo.model import InputSpec

OPSET = 20
#: Later opsets than this have not been read by anybody here.
NEWEST_OPSET = 23


def admitted(model: onnx.ModelProto, spec: InputSpec) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return a copy of `model` that later stages can rely on, and notes on what was changed.

    Raises:
        UsageError: the file is not valid ONNX, or its input is not the one of `spec`.
        Unsupported: operators of unknown domains, control flow, more than one input or output, opset out of reach.
    """
    notes: list[str] = []
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise UsageError(f"the file is not valid ONNX: {_first(error)}", where=model.graph.name or "model") from error
    _refuse(model)
    model = copy_of(model)
    _fix_input(model, spec)
    opset = _opset(model)
    if opset < OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:  # the converter raises RuntimeError and its own ConvertError
            raise Unsupported(
                f"the file has opset {opset} and cannot be converted to {OPSET}: {_first(error)}",
                where=model.graph.name,
                fix=f"export the network again with opset {OPSET}",
            ) from error
        notes.append(f"opset {opset} converted to {OPSET}")
    name_all(model.graph)
    folded = fold_constants(model.graph)
    model = _inferred(model)
    norms = fold_batch_norms(model.graph)
    pooled = pool_means(model.graph)
    notes += [f"{count} {what}" for count, what in ((folded, "constants folded"), (norms, "batch norms folded"),
                                                    (pooled, "means written as pooling")) if count]  # fmt: skip
    return _inferred(model), tuple(notes)


def _opset(model: onnx.ModelProto) -> int:
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)


def _refuse(model: onnx.ModelProto) -> None:
    """Raise with every reason at once why this graph cannot come in."""
    reasons = []
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        reasons.append(f"expected one input, got {len(inputs)}: {', '.join(inputs)}")
    if len(graph.output) != 1:
        reasons.append(f"expected one output, got {len(graph.output)}: {', '.join(v.name for v in graph.output)}")
    if not 1 <= _opset(model) <= NEWEST_OPSET:
        reasons.append(f"expected opset 1 to {NEWEST_OPSET}, got {_opset(model)}")
    known = {(function.domain, function.name) for function in model.functions}
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") and (node.domain, node.op_type) not in known:
            reasons.append(f"node '{node.name}': operator {node.domain}::{node.op_type} is not standard ONNX")
        elif any(item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for item in node.attribute):
            reasons.append(f"node '{node.name}': {node.op_type} is control flow; the plan has a fixed order of steps")
    if reasons:
        raise Unsupported("the ONNX file cannot be used", where=graph.name or "model", reasons=reasons)


def _fix_input(model: onnx.ModelProto, spec: InputSpec) -> None:
    """Set the input's shape to (1, ...) of `spec`; every other recorded shape is dropped and inferred again."""
    weights = {tensor.name for tensor in model.graph.initializer}
    value = next(v for v in model.graph.input if v.name not in weights)
    kept = [v for v in model.graph.input if v.name not in weights]
    del model.graph.input[:], model.graph.value_info[:]
    model.graph.input.extend(kept)
    shape = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
    wanted = (1, *spec.shape[1:])
    if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        raise Unsupported(f"expected a float32 input, got {kind}", where=value.name)
    if len(shape) != len(wanted) or any(a not in (None, b) for a, b in zip(shape[1:], wanted[1:], strict=False)):
        raise UsageError(
            f"the network takes an input of shape {tuple(shape)}, got {wanted}",
            where=value.name,
            fix="give the input size the network was made for",
        )
    if shape[0] not in (None, 1):
        raise Unsupported(
            f"expected batch 1 or a free batch, got a fixed batch of {shape[0]}",
            where=value.name,
            fix="export the network again with batch 1",
        )
    for model_input in model.graph.input:
        for dim, size in zip(model_input.type.tensor_type.shape.dim, wanted, strict=True):
            dim.dim_value = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return finished(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UsageError(f"the file's shapes do not fit together: {_first(error)}", where=model.graph.name) from error


def _first(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
