"""onnxruntime as the reference that runs every graph we write."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime

from edgevision.compress.onnxgraph import rebatched
from edgevision.errors import Unsupported

#: Relative difference of two outputs that may come from the order of sums; what mixes images differs by far more.
_ROUNDING = 1e-3


def session(model: onnx.ModelProto, *, threads: int = 2, optimise: bool = True) -> onnxruntime.InferenceSession:
    """An onnxruntime session on the CPU.

    Args:
        model: the graph.
        threads: worker threads inside an operator.
        optimise: false keeps quantised operators as dequantise, float operator, quantise.

    Raises:
        Unsupported: onnxruntime has no kernel for an operator, or refuses the graph.
    """
    options = options_for(model, threads)
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise Unsupported(
            f"onnxruntime refuses the graph: {str(error).strip().splitlines()[0]}", where=model.graph.name
        ) from error


def options_for(model: onnx.ModelProto, threads: int) -> onnxruntime.SessionOptions:
    """Session options with which onnxruntime can run `model` as fast as it can."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if _scales_per_channel(model.graph):
        # onnxruntime fuses such a depthwise convolution into QLinearConv, which then fails when it is run.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def _scales_per_channel(graph: onnx.GraphProto) -> bool:
    """Whether an activation has one scale per channel."""
    sizes = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    return any(node.op_type == "QuantizeLinear" and sizes.get(node.input[1], 0) > 0 for node in graph.node)


def batched(
    model: onnx.ModelProto,
    batch: int,
    *,
    threads: int = 2,
    optimise: bool = True,
    more: Mapping[str, np.ndarray] | None = None,
) -> onnxruntime.InferenceSession | None:
    """A session that runs `batch` images at a time as it runs each alone; None where the graph does not allow that.

    Shapes do not tell: a maximum or a mean over all axes, or statistics over the batch, keep them and mix the images.
    So images of noise are run alone, and again in a batch beside others of another scale and mean.

    Args:
        model: a graph of batch 1 whose first input is the images.
        more: values of its other inputs.
    """
    if batch < 2 or (many := rebatched(model, batch)) is None:
        return None
    runner = session(many, threads=threads, optimise=optimise)
    single = session(model, threads=threads, optimise=optimise)
    name, shape = single.get_inputs()[0].name, single.get_inputs()[0].shape
    scales = np.geomspace(0.25, 4, batch).reshape(-1, *[1] * (len(shape) - 1))
    images = (scales * (np.random.default_rng(0).standard_normal((batch, *shape[1:])) + 0.5)).astype(np.float32)
    first, last = images[:1], images[-1:]
    try:
        together = runner.run(None, {name: images, **(more or {})})[0]
    except Exception:  # onnxruntime raises a dozen unrelated classes for a batch some operator does not take
        return None
    for got, image in ((together[:1], first), (together[-1:], last)):
        alone = single.run(None, {name: image, **(more or {})})[0]
        if got.shape != alone.shape or not _same(got, alone):
            return None
    return runner


def _same(got: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two outputs differ by no more than another order of float32 sums explains."""
    largest = float(np.abs(wanted, where=np.isfinite(wanted), out=np.zeros(wanted.shape, np.float64)).max(initial=0))
    return np.allclose(got, wanted, rtol=_ROUNDING, atol=_ROUNDING * largest, equal_nan=True)


def predictor(model: onnx.ModelProto, *, batch: int = 16, threads: int = 2) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 images (N, C, H, W) to outputs (N, ...).

    The graph has batch 1; it is run on `batch` images at a time where its shapes allow another batch, which is faster.
    """
    many = batched(model, batch, threads=threads)
    size = batch if many is not None else 1
    runner = many or session(model, threads=threads)
    name = runner.get_inputs()[0].name

    def predict(images: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            short = size - len(part)
            full = np.concatenate([part, np.zeros((short, *part.shape[1:]), part.dtype)]) if short else part
            parts.append(runner.run(None, {name: full})[0][: len(part)])
        return np.concatenate(parts)

    return predict
