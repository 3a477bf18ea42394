"""What a layer costs in each width: bytes, or time measured on bundles, or time modelled from the work it does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx

from edgevision.compress.layers import quantised_layers, quantised_operators
from edgevision.compress.measure import measure

FLOAT = 32
Objective = Literal["bytes", "latency"]

#: Of the model: an integer multiply-accumulate takes a quarter of a float one (README, "Against other engines"), and a
#: byte that is moved as long as a float multiply-accumulate.
INTEGER_MAC, MOVED_BYTE = 0.25, 1.0


@dataclass(frozen=True)
class StepTimes:
    """Times of layers in microseconds by width, measured on bundles; `source` names where they were taken."""

    source: str
    times: Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Costs:
    """Costs of layers by width.

    Attributes:
        basis: what the figures are and where they come from, for people.
        of: layer to width to cost; an operator without weights has 8 bits and float.
    """

    basis: str
    of: Mapping[str, Mapping[int, float]]


def costs(graph: onnx.ModelProto, objective: Objective, measured: StepTimes | None = None) -> Costs:
    """Costs of the quantised operators of `graph`.

    Bytes are those of the weights; an operator without weights that is put into float costs the bytes its result grows
    by. Times are measured where the float and the 8-bit network were profiled, else modelled; 4-bit layers that were
    not measured take as long as 8-bit ones. To a time a thousandth of the modelled one is added, so that of equals
    the layer with fewer bytes is taken.

    Args:
        graph: a canonical QDQ graph with weights of 8 bits and all shapes known.
    """
    weights = {layer.name: layer for layer in measure(graph).layers}
    layers, elements = set(quantised_layers(graph.graph)), _elements(graph)
    modelled: dict[str, dict[int, float]] = {}
    stored: dict[str, dict[int, float]] = {}
    for name in quantised_operators(graph.graph):
        made = elements.get(name, 0)
        if name in layers:
            layer = weights[name]
            count = layer.parameters
            stored[name] = {4: count / 2, 8: float(count), FLOAT: 4.0 * count}
        else:
            stored[name] = {8: 0.0, FLOAT: 3.0 * made}
        macs = weights[name].macs if name in weights else 0
        moved = {bits: size + made * (4 if bits == FLOAT else 1) for bits, size in stored[name].items()}
        modelled[name] = {
            bits: macs * (1.0 if bits == FLOAT else INTEGER_MAC) + MOVED_BYTE * size for bits, size in moved.items()
        }
    if objective == "bytes":
        return Costs("bytes of weights as stored", stored)
    if measured is None or not measured.times.get(8) or not measured.times.get(FLOAT):
        return Costs("modelled from multiply-accumulates and bytes: no profile has both fp32 and w8a8", modelled)
    largest = max((max(widths.values()) for widths in modelled.values()), default=1.0) or 1.0
    scale = max(max(times.values(), default=0.0) for times in measured.times.values()) / largest
    timed = {
        name: {bits: _time(measured, name, bits) + 1e-3 * scale * modelled[name][bits] for bits in widths}
        for name, widths in modelled.items()
    }
    return Costs(f"microseconds measured, {measured.source}", timed)


def _time(measured: StepTimes, name: str, bits: int) -> float:
    """Microseconds; 0 of an operator that is part of another's step, and of widths not measured the next wider one."""
    widths = [width for width in (bits, 8) if width in measured.times and name in measured.times[width]]
    return measured.times[widths[0]][name] if widths else 0.0


def _elements(graph: onnx.ModelProto) -> dict[str, int]:
    """Elements of what each node makes."""
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.graph.value_info}
    return {node.name: math.prod(shapes.get(node.output[0], [0])) for node in graph.graph.node}
