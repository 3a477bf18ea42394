"""Layer after layer, weights of few bits chosen so that the layer makes of quantised inputs what it made of float ones.

Each layer sees the errors of those before it and makes up for what it can, as block reconstruction does (Li et al.,
arXiv 2102.05426), one layer to a block; inputs enter as moments only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgevision.compress.bias_correction import bias_of, correct
from edgevision.compress.calibration import Calibration
from edgevision.compress.layers import weight_of
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index, copy_of, finished, prune, rebatched
from edgevision.compress.rounding import DAMPING, rounded
from edgevision.compress.rows import as_rows, matrix, pixels_of, unmatrix
from edgevision.compress.session import batched, session
from edgevision.data.metric import AnySplit
from edgevision.progress import Progress, silent

#: Rows of inputs a layer is given, where there are so many, and images at least.
ROWS, LEAST_IMAGES = 8192, 32
BATCH = 8


@dataclass
class _Moments:
    """Sums over rows, group by group: of inputs x of the float graph and y of the quantised one."""

    count: int
    x: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    xy: np.ndarray


def reconstruct(
    quantised: onnx.ModelProto,
    original: onnx.ModelProto,
    bits: Mapping[str, int],
    images: AnySplit,
    *,
    limit: int,
    progress: Progress = silent,
) -> onnx.ModelProto:
    """Return `quantised`, a canonical graph, with the weights of some layers of fewer bits, and their biases corrected.

    Args:
        original: the float graph it was made from.
        bits: by layer, 2 to 8; Conv on images, Gemm or MatMul. Weights stay int8 in the file (`packing` packs them).
        images: calibration images, of which at most `limit` are seen.
    """
    quantised = copy_of(quantised)
    order = [node.name for node in quantised.graph.node if node.name in bits]
    free = batched(original, BATCH) is not None
    name = original.graph.input[0].name
    shapes = {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
              for value in (*original.graph.value_info, *original.graph.output)}  # fmt: skip
    floats = {node.name: node for node in original.graph.node}
    before = Index.of(original.graph)
    for done, layer in enumerate(order):
        twin = floats[layer]
        weight = before.array(twin.input[WEIGHT_SLOTS[twin.op_type]])
        rows = pixels_of(twin, shapes[twin.output[0]])
        count = min(limit, max(LEAST_IMAGES, -(-ROWS // rows)), len(images))
        moments = None
        node = next(node for node in quantised.graph.node if node.name == layer)
        graphs = [(original, twin.input[0]), (quantised, node.input[0])]
        for x, y in _inputs(graphs, Calibration(images, name, count), name, batch=BATCH if free else 1):
            kernel = tuple(weight.shape[2:])
            moments = _added(moments, as_rows(twin, kernel, x), as_rows(twin, kernel, y))
        assert moments is not None
        _replace(quantised, node, weight, moments, bits[layer])
        progress("reconstruct", done + 1, len(order), layer)
    return finished(quantised)


def _inputs(
    graphs: Sequence[tuple[onnx.ModelProto, str]], images: Calibration, name: str, *, batch: int
) -> Iterator[list[np.ndarray]]:
    """The tensor named with each graph, batch by batch."""
    parts = [upto(model, tensor) for model, tensor in graphs]
    many = [rebatched(part, batch) for part in parts]
    size = batch if all(part is not None for part in many) else 1
    single = [session(part) for part in parts]
    runners = single if size == 1 else [session(part) for part in many if part is not None]
    waiting: list[np.ndarray] = []
    for image in images:
        waiting.append(image[name])
        if len(waiting) == size:
            yield [runner.run(None, {name: np.concatenate(waiting)})[0] for runner in runners]
            waiting = []
    for one in waiting:
        yield [runner.run(None, {name: one})[0] for runner in single]


def upto(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """`model` as far as `tensor`, which becomes its output."""
    known = {value.name: value for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    part = copy_of(model)
    del part.graph.output[:]
    if tensor in {value.name for value in model.graph.input}:
        part.graph.node.append(helper.make_node("Identity", [tensor], [f"{tensor}.copy"]))
        tensor = f"{tensor}.copy"
        part.graph.output.append(helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    else:
        part.graph.output.append(known[tensor])
    prune(part.graph)
    return finished(part)


def _added(moments: _Moments | None, x: np.ndarray, y: np.ndarray) -> _Moments:
    """Moments of `moments`, if any, and of rows (groups, rows, K)."""
    turned = y.transpose(0, 2, 1)
    new = _Moments(
        x.shape[1],
        x.sum(1, dtype=np.float64),
        y.sum(1, dtype=np.float64),
        (turned @ y).astype(np.float64),
        (x.transpose(0, 2, 1) @ y).astype(np.float64),
    )
    if moments is None:
        return new
    return _Moments(
        moments.count + new.count, moments.x + new.x, moments.y + new.y, moments.yy + new.yy, moments.xy + new.xy
    )


def _replace(model: onnx.ModelProto, node: onnx.NodeProto, weight: np.ndarray, moments: _Moments, bits: int) -> None:
    """Give `node` weights of `bits` bits that do what `weight` does, and its bias what is left of the mean."""
    parts = matrix(node, weight.astype(np.float64))
    high = 2 ** (bits - 1) - 1
    low = -127 if bits == 8 else -high - 1
    count, graph = moments.count, model.graph
    # About the means, where a bias can take the difference of these.
    central = float(bias_of(node, Index.of(graph)) is not None)
    steps, scales, shifts = [], [], []
    for group, part in enumerate(parts):
        x, y = moments.x[group] / count, moments.y[group] / count
        yy = moments.yy[group] / count - central * np.outer(y, y)
        xy = moments.xy[group] / count - central * np.outer(x, y)
        q, scale = rounded(follows(part, yy, xy), yy, high, low=low)
        steps.append(q)
        scales.append(scale)
        shifts.append(part @ x - (q * scale[:, None].astype(np.float64)) @ y)
    stored = weight_of(node, Index.of(graph))
    new = {
        f"{node.name}.weight.q": unmatrix(node, np.stack(steps), weight.shape),
        f"{node.name}.weight.scale": np.concatenate(scales),
    }
    assert stored in new
    shift = np.concatenate(shifts)
    kept = [tensor for tensor in graph.initializer if tensor.name not in new]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in new.items())
    correct(graph, {node.name: shift})


def follows(weight: np.ndarray, yy: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Real weights that make of inputs y, in mean square, what `weight` (channels, K) makes of x.

    Damped towards `weight`, as `rounding` damps, where the images say little.

    Args:
        yy, xy: second moments, (K, K), about the means.
    """
    damping = DAMPING * (float(np.diagonal(yy).mean()) or 1.0)
    return np.linalg.solve(yy + damping * np.eye(len(yy)), (weight @ xy + damping * weight).T).T
