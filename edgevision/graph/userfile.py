"""A user's own ONNX file on its way in: checked, brought to our opset, shapes fixed, batch norms folded."""

from __future__ import annotations

import onnx
from onnx import version_converter

from edgevision.compress.onnxgraph import copy_of, finished
from edgevision.errors import Unsupported, UsageError
from edgevision.graph.fold import fold_batch_norms, fold_constants
from edgevision.graph.formats import refuse_operator_format
from edgevision.graph.gelus import fuse_gelus
from edgevision.graph.group_norms import spell_group_norms
from edgevision.graph.naming import name_all
from edgevision.graph.norms import fuse_layer_norms
from edgevision.graph.simplify import flatten_reshapes, pool_means
from edgevision.zoo.model import InputSpec

OPSET = 20
#: Later opsets than this have not been read by anybody here.
NEWEST_OPSET = 23


def admitted(model: onnx.ModelProto, spec: InputSpec) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return a copy of `model` that later stages can rely on, and notes on what was changed.

    Raises:
        UsageError: the file is not valid ONNX.
        Unsupported: operators of unknown domains, control flow, inputs or outputs other than the one image of `spec`
            and one result, or an opset out of reach; all reasons at once.
    """
    notes: list[str] = []
    refuse_operator_format(model)
    _refuse(model, spec)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise UsageError(f"the file is not valid ONNX: {_first(error)}", where=model.graph.name or "model") from error
    model = copy_of(model)
    _drop_weight_inputs(model.graph)
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
    model, folded = _folded(spell_group_norms(model))
    layer_norms, gelus = fuse_layer_norms(model.graph), fuse_gelus(model.graph)
    norms = fold_batch_norms(model.graph)
    pooled = pool_means(model.graph)
    flatten_reshapes(model.graph)
    counted = (
        (folded, "constants folded"),
        (layer_norms, "layer norms put together"),
        (gelus, "GELUs put together"),
        (norms, "batch norms folded"),
        (pooled, "means written as pooling"),
    )
    notes += [f"{count} {what}" for count, what in counted if count]
    return _inferred(model), tuple(notes)


def _folded(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """Fold constants until nothing more is constant: a folded shape makes the next one known."""
    total = 0
    while True:
        model = _inferred(model)
        folded = fold_constants(model.graph)
        total += folded
        if not folded:
            return _inferred(model), total


def _opset(model: onnx.ModelProto) -> int:
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)


def _refuse(model: onnx.ModelProto, spec: InputSpec) -> None:
    """Raise with every reason at once why this graph cannot come in."""
    reasons = []
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    shapes = [tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in inputs]
    if [value.name for value in inputs] != [spec.name] or shapes != [spec.shape]:
        got = ", ".join(f"{value.name}{shape}" for value, shape in zip(inputs, shapes, strict=True))
        reasons.append(f"expected one input {spec.name}{spec.shape}, got {got or 'none'}")
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


def _drop_weight_inputs(graph: onnx.GraphProto) -> None:
    """Old files list every weight as an input too; the one input left is the image."""
    weights = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return finished(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UsageError(f"the file's shapes do not fit together: {_first(error)}", where=model.graph.name) from error


def _first(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
