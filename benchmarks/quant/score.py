"""What a quantised file answers, and how that compares with the float network on the same photographs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgevision.compress.session import predictor
from edgevision.data.dataset import Split
from edgevision.data.evaluate import Accuracy


def outputs(path: Path, split: Split) -> np.ndarray:
    """Logits (images, classes) on all of `split`, by onnxruntime, or by OpenVINO where the file is its own."""
    predict = _openvino(path) if path.suffix == ".xml" else predictor(onnx.load(str(path)), threads=1)
    return np.concatenate([predict(images) for images, _ in split.batches(16)])


def row(path: Path, got: np.ndarray, wanted: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Top-1, its paired difference to the float network, disagreement and SQNR, intervals of 95 %.

    Args:
        path: the file.
        got, wanted: logits of it and of the float network.
    """
    right, before = got.argmax(1) == labels, wanted.argmax(1) == labels
    gains = 100.0 * (right.astype(float) - before)
    spread = 1.96 * float(gains.std(ddof=1)) / math.sqrt(len(gains))
    other = Accuracy(int((got.argmax(1) != wanted.argmax(1)).sum()), len(labels))
    noise = float(np.square(got - wanted, dtype=np.float64).sum())
    top1 = Accuracy(int(right.sum()), len(labels))
    found: dict[str, Any] = {
        "top1_percent": top1.percent,
        "top1_interval": top1.interval,
        "points_to_fp32": float(gains.mean()),
        "points_interval": (float(gains.mean()) - spread, float(gains.mean()) + spread),
        "disagreement_percent": other.percent,
        "disagreement_interval": other.interval,
        "sqnr_db": 10 * math.log10(float(np.square(wanted, dtype=np.float64).sum()) / noise) if noise else None,
        "file_bytes": sum(part.stat().st_size for part in {path, path.with_suffix(".bin")} if part.is_file()),
    }
    if path.suffix == ".onnx":
        found["weight_bytes"] = sum(len(tensor.raw_data) for tensor in onnx.load(str(path)).graph.initializer)
    return found


def _openvino(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})
    return lambda images: np.concatenate([compiled(image[None])[0] for image in images])
