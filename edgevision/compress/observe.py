"""What calibration images do inside a network, gathered in one pass and in memory that does not grow with their number.

The float graph gets reductions as further outputs, so that a tensor leaves it as two numbers; only where a histogram
is asked for does the whole tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgevision.compress.histogram import Histogram
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, copy_of, finished, rebatched
from edgevision.compress.session import batched, session
from edgevision.errors import UsageError

#: Images run together: few, because whole tensors leave the graph for histograms.
BATCH = 4


@dataclass
class Observed:
    """What was seen.

    Attributes:
        low, high: extremes of each tensor over all images, 0-d or one for each index of its axis.
        histograms: of the tensors that were to have one.
        shifts: mean over images and pixels of what a difference of weights takes from a layer's output, (channels,).
        images: how many were seen.
    """

    low: dict[str, np.ndarray] = field(default_factory=dict)
    high: dict[str, np.ndarray] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    shifts: dict[str, np.ndarray] = field(default_factory=dict)
    images: int = 0


def observe(
    model: onnx.ModelProto,
    tensors: Mapping[str, int | None],
    images: Iterable[Mapping[str, np.ndarray]],
    *,
    histograms: Iterable[str] = (),
    differences: Mapping[str, np.ndarray] | None = None,
) -> Observed:
    """Run `images` through `model` and gather extremes, histograms and mean errors.

    Args:
        model: a float graph of batch 1.
        tensors: each with the axis that has extremes of its own for every index, or None for one pair for all.
        images: one image at a time by the name of the input, as `calibration.Calibration` yields them.
        histograms: tensors, among `tensors`, to have a histogram.
        differences: by layer, float weight less quantised weight.

    Raises:
        UsageError: a tensor takes a value that is no number, or there are no images.
    """
    whole, differences = list(histograms), dict(differences or {})
    graphs = [_watched(model, tensors, whole, differences)]
    if batched(model, BATCH) is not None and (many := rebatched(model, BATCH)) is not None:
        graphs.append(_watched(many, tensors, whole, differences))
    found = Observed(histograms={name: Histogram() for name in whole})
    sums = {name: np.zeros((), np.float64) for name in differences}
    own = {output.name for output in model.graph.output} - set(whole)
    names = [output.name for output in graphs[0].graph.output if output.name not in own]
    for count, values in _runs(graphs, names, images):
        found.images += count
        for name in tensors:
            low, high = values[f"{name}.least"], values[f"{name}.most"]
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                raise UsageError(
                    "the network makes NaN or infinity of a calibration image", where=f"tensor '{name}', image "
                    f"{found.images - count} to {found.images - 1}", fix="look for broken weights or images",
                )  # fmt: skip
            found.low[name] = np.minimum(found.low.get(name, low), low)
            found.high[name] = np.maximum(found.high.get(name, high), high)
        for name in whole:
            found.histograms[name].add(values[name])
        for name in sums:
            sums[name] = sums[name] + count * values[f"{name}.shift"].astype(np.float64)
    if not found.images:
        raise UsageError("expected images to calibrate on, got none", fix="add --data NAME")
    found.shifts = {name: total / found.images for name, total in sums.items()}
    return found


def _runs(
    graphs: list[onnx.ModelProto], names: list[str], images: Iterable[Mapping[str, np.ndarray]]
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Number of images and values of `names`, batch by batch; the first graph takes one image, a second `BATCH`."""
    single, many = session(graphs[0]), session(graphs[-1])
    size = BATCH if len(graphs) > 1 else 1
    waiting: list[Mapping[str, np.ndarray]] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == size:
            yield size, _values(many, names, waiting)
            waiting = []
    for image in waiting:
        yield 1, _values(single, names, [image])


def _values(
    runner: onnxruntime.InferenceSession, names: list[str], images: list[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    feed = {name: np.concatenate([image[name] for image in images]) for name in images[0]}
    return dict(zip(names, runner.run(names, feed), strict=True))


def _watched(
    model: onnx.ModelProto, tensors: Mapping[str, int | None], whole: list[str], differences: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """`model` with everything to be gathered as outputs behind its own."""
    model = finished(copy_of(model))
    graph = model.graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants: dict[str, np.ndarray] = {}

    def reduce(operator: str, source: str, target: str, rank: int, axis: int | None) -> None:
        axes = [i for i in range(rank) if i != axis]
        constants[f"axes.{rank}.{axis}"] = np.array(axes, np.int64)
        graph.node.append(helper.make_node(operator, [source, f"axes.{rank}.{axis}"], [target], target, keepdims=0))
        graph.output.append(helper.make_tensor_value_info(target, onnx.TensorProto.FLOAT, None))

    for name, axis in tensors.items():
        reduce("ReduceMin", name, f"{name}.least", ranks[name], axis)
        reduce("ReduceMax", name, f"{name}.most", ranks[name], axis)
    own = {output.name for output in graph.output}
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in whole if name not in own
    )
    for node in [node for node in graph.node if node.name in differences]:
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name = f"{node.name}.lost"
        constants[f"{node.name}.difference"] = differences[node.name].astype(np.float32)
        slot = WEIGHT_SLOTS[node.op_type]
        twin.input[slot] = f"{node.name}.difference"
        # Without its bias.
        del twin.input[slot + 1 :]
        twin.output[0] = f"{node.name}.lost"
        graph.node.append(twin)
        rank = ranks[node.output[0]]
        axis = 1 if node.op_type in ("Conv", "ConvTranspose") else rank - 1
        reduce("ReduceMean", twin.output[0], f"{node.name}.shift", rank, axis)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return model
