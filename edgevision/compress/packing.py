"""Weights of 4 bits stored as INT4, two to a byte, which ONNX has from opset 21."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index, copy_of, finished
from edgevision.errors import Unsupported

#: The first opset with INT4, and the first file format that can hold it.
OPSET, IR_VERSION = 21, 10
BITS = 4


def packed(model: onnx.ModelProto, layers: Collection[str]) -> onnx.ModelProto:
    """Return `model` with the quantised weights of `layers`, from -8 to 7, as INT4; the same values.

    Raises:
        Unsupported: the graph has an operator that opset 21 reads differently.
    """
    if not layers:
        return model
    model = copy_of(model)
    index = Index.of(model.graph)
    narrow = {}
    for node in model.graph.node:
        if node.name in layers:
            dequantize = index.producer[node.input[WEIGHT_SLOTS[node.op_type]]]
            for name in (dequantize.input[0], dequantize.input[2]):
                narrow[name] = numpy_helper.from_array(stored(index.array(name), BITS), name)
    kept = [narrow.get(tensor.name, tensor) for tensor in model.graph.initializer]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return at_opset(model)


def stored(steps: np.ndarray, bits: int) -> np.ndarray:
    """Weight steps in the type they are stored in: INT4 up to 4 bits, else int8."""
    return steps.astype(helper.tensor_dtype_to_np_dtype(TensorProto.INT4) if bits <= BITS else np.int8)


def at_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model`, changed in place, in an opset and a file format that have INT4.

    Raises:
        Unsupported: the graph has an operator that opset 21 reads differently.
    """
    changed = [node.name for node in model.graph.node if node.op_type == "GroupNormalization"]
    if changed:
        raise Unsupported(
            f"opset {OPSET}, the first with INT4, gives GroupNormalization another meaning", where=changed[0],
            fix="use a recipe of 8 bits",
        )  # fmt: skip
    for item in model.opset_import:
        if item.domain == "":
            item.version = max(item.version, OPSET)
    model.ir_version = max(model.ir_version, IR_VERSION)
    return finished(model)
