"""Bytes at the border of a quantised graph: inputs that come quantised, and results that leave so.

Inside all bytes are unsigned, so int8 ones are shifted by 128 where they come in and go out.
"""

from __future__ import annotations

import numpy as np

from edgevision.graph.ir import Node, TensorType
from edgevision.graph.rewriting import Rewriting

_WIDE = "int32"


def take_inputs(state: Rewriting) -> None:
    """Make every input of bytes readable by the DequantizeLinear behind it."""
    readers = state.graph.readers()
    for name in state.graph.inputs:
        dtype = state.types[name].dtype
        first = next((node for node in readers.get(name, []) if node.op == "DequantizeLinear"), None)
        if dtype not in ("uint8", "int8") or first is None:
            continue
        quant = state.qdq.quantizer(first)
        if quant is None:
            continue
        if dtype == "uint8":
            state.qdq.quant[name] = quant
            continue
        shifted = f"{name}.unsigned"
        _shift(state, first, name, shifted, 128, "uint8")
        state.qdq.quant[shifted] = quant
        # What its quantisers say is still said of int8.
        state.graph.types[shifted] = state.graph.types[name]
        for node in readers[name]:
            node.inputs[:] = [shifted if tensor == name else tensor for tensor in node.inputs]


def give_outputs(state: Rewriting) -> None:
    """Shift results that leave as int8 back."""
    for name in state.graph.outputs:
        if name not in state.qdq.quant or state.graph.types[name].dtype != "int8":
            continue
        inside = f"{name}.unsigned"
        maker = next(node for node in state.nodes if name in node.outputs)
        for node in state.nodes:
            node.inputs[:] = [inside if tensor == name else tensor for tensor in node.inputs]
        maker.outputs[:] = [inside if tensor == name else tensor for tensor in maker.outputs]
        state.types[inside] = TensorType(state.types[name].shape, "uint8")
        _shift(state, maker, inside, name, -128, "int8")


def _shift(state: Rewriting, node: Node, source: str, target: str, by: int, dtype: str) -> None:
    """`target` = `source` + `by` in another type of bytes."""
    from onnx import helper

    shape = state.shape(source)
    wide = state.new(f"{target}.wide", shape, _WIDE)
    moved = state.new(f"{target}.shifted", shape, _WIDE)
    number = state.constant(f"{target}.shift", np.array(by, np.int32))
    state.standard("Cast", node, [source], wide, to=helper.np_dtype_to_tensor_dtype(np.dtype(_WIDE)))
    state.standard("Add", node, [wide, number], moved)
    state.standard("Cast", node, [moved], target, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    state.types[target] = TensorType(shape, dtype)
