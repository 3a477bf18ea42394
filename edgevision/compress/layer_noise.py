"""The noise each layer makes at the output when it alone is quantised, kept by content."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import onnx

from edgevision.compress.kept_rows import KeptRows
from edgevision.compress.layers import quantised_operators
from edgevision.compress.probe import Probe
from edgevision.progress import Progress


def noise_alone(
    quantised: onnx.ModelProto,
    original: onnx.ModelProto,
    images: np.ndarray,
    asked: Sequence[str],
    *,
    deadline: float,
    progress: Progress,
) -> dict[str, float]:
    """Noise over signal by layer, those measured before the `deadline` (a value of `time.monotonic()`).

    Args:
        quantised: a canonical QDQ graph.
        original: the float graph it was made from.
        images: float32 (N, C, H, W).
        asked: layers to measure.
    """
    names = quantised_operators(quantised.graph)
    probe, rows = Probe(quantised, original, images, names), KeptRows.of((quantised, original), images, "alone")
    found: dict[str, float] = {}
    for done, name in enumerate(asked):
        if time.monotonic() > deadline:
            break
        others = [other for other in names if other != name]
        decibels = rows.get(name, lambda floats=others: probe.noise(floats).sqnr_db)  # type: ignore[misc]
        found[name] = 10 ** (-decibels / 10)
        progress("sensitivity alone", done + 1, len(asked), name)
    return found
