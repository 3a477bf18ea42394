"""The rule for the sampling of deformable convolutions."""

from __future__ import annotations

from typing import Any

from edgevision.compiler.kernels import deform
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.values import Value
from edgevision.graph.ir import Node


def lower_sample(builder: Builder, node: Node) -> bool:
    """DeformSample (`graph.deformable`)."""
    values = [builder.float_rows(name) for name in node.inputs]
    channels = builder.extent(node.inputs[0]).channels
    spec = deform.Deform(
        node.attributes["window"], channels, node.attributes["group"], node.attributes["offset_group"],
        len(values) > 2, tuple(v.pitch for v in values), tuple(v.offset for v in values),
        tuple(builder.elements(v) for v in values),
    )  # fmt: skip
    extent = builder.extent(node.outputs[0])
    output = builder.new(extent.elements, "float32")
    builder.call("deform", deform.build, spec, [*(v.storage for v in values), output], node.name)
    builder.put(node.outputs[0], Value(output, "float32", "rows", extent.channels))
    return True


def rules() -> dict[str, Any]:
    """Operators of this file."""
    return {"DeformSample": lower_sample}
