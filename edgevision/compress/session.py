"""onnxruntime as the reference that runs every graph we write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime

from edgevision.compress.onnxgraph import rebatched
from edgevision.errors import Unsupported


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


def predictor(model: onnx.ModelProto, *, batch: int = 16, threads: int = 2) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 images (N, C, H, W) to outputs (N, ...).

    The graph has batch 1; it is run on `batch` images at a time where its shapes allow another batch, which is faster.
    """
    many = rebatched(model, batch)
    size = batch if many is not None else 1
    runner = session(many or model, threads=threads)
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
