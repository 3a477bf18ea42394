"""The plan of a quantisation: which method on which layers and why, from the graph and the recipe, before any image."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from edgevision.compress.equalize import pairs
from edgevision.compress.layers import weight_of, weighted_layers
from edgevision.compress.onnxgraph import Index
from edgevision.compress.smooth import smoothable
from edgevision.compress.wide import wide_sums
from edgevision.compress.widths import is_depthwise, weight_bits
from edgevision.recipe import Equalize, Quantize, QuantizeWeights, Smooth, Step

_RANGES = {
    "min_max": "the extremes over all calibration images: nothing is clipped",
    "percentile": "all but the outermost values, which would leave the common ones few steps",
    "mse": "those of least squared error, by histogram",
    "kl": "those whose distribution diverges least, by histogram",
}


def strategy(graph: onnx.GraphProto, steps: Sequence[Step], keep_fp: Collection[str] = ()) -> list[str]:
    """One line for each decision, in the order of the steps."""
    lines: list[str] = []
    for step in steps:
        if isinstance(step, Equalize):
            found = pairs(graph)
            taken = [pair for pair in found if step.clips == "relu" or not pair.clips]
            lines.append(f"equalise {len(taken)} of {len(found)} pairs of convolutions, so that one scale fits all "
                         "their channels; exact, no images")  # fmt: skip
            if len(taken) < len(found):
                lines.append(f"leave {len(found) - len(taken)} pairs around a Clip alone: it would clip elsewhere")
            elif any(pair.clips for pair in taken):
                lines.append("make the Clips between them ReLUs first: that changes the network where they clipped")
        elif isinstance(step, Smooth):
            lines.append(f"smooth {len(smoothable(graph))} layer norms into the linear layers behind them: a few "
                         "channels are far larger than the others; exact")  # fmt: skip
        elif isinstance(step, QuantizeWeights):
            lines.append(f"{len(weighted_layers(graph))} weights of 8 bits; arithmetic stays float, no images")
        elif isinstance(step, Quantize):
            lines += _quantisation(graph, step, keep_fp)
    return lines


def _quantisation(graph: onnx.GraphProto, step: Quantize, keep_fp: Collection[str]) -> list[str]:
    index = Index.of(graph)
    layers = [node for node in graph.node if weight_of(node, index) is not None and node.name not in keep_fp]
    narrow = weight_bits(graph, step, keep_fp)
    scales = "output channel" if step.weights == "symmetric_per_channel" else "layer"
    lines = [f"{len(layers) - len(narrow)} weights of 8 bits, rounded to the nearest step, a scale for each {scales}"]
    if narrow:
        lines.append(f"{len(narrow)} weights of {step.weight_bits} bits, one layer after another such that its output "
                     "stays: rounding to the nearest would lose too much")  # fmt: skip
        wide = [node for node in layers if node.name not in narrow and is_depthwise(node, index)]
        if wide:
            lines.append(f"{len(wide)} depthwise weights keep 8 bits: few bytes, and few products to share an error")
        kept = [node.name for node in (layers[0], layers[-1]) if node.name not in narrow]
        if kept:
            lines.append(f"{' and '.join(kept)} keep 8 bits: what they lose nothing makes up for")
    lines.append(f"activations of 8 bits, {step.activations}; ranges are {_RANGES[step.ranges]}")
    softmax = sum(node.op_type == "Softmax" for node in graph.node)
    if softmax:
        lines.append(f"{softmax} softmax outputs in fixed steps of 1/256: their range is known")
    wide_adds = wide_sums(graph)
    if wide_adds:
        lines.append(f"{len(wide_adds)} sums stay float: residual streams of layer norms and masked scores are wide")
    if step.bias_correction:
        lines.append("biases make up for the mean error of their weights")
    if keep_fp:
        lines.append(f"left in float as asked: {', '.join(keep_fp)}")
    return lines
