"""Whether engines that should compute the same do: accuracy of each, and largest difference to its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgevision.data.dataset import Split
from edgevision.data.evaluate import Accuracy
from edgevision.progress import Progress, silent

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """One engine on labelled images.

    Attributes:
        max_abs_error: largest absolute difference of any output to the reference; None without one.
        differing: images whose largest output is another class than the reference's.
    """

    accuracy: Accuracy
    max_abs_error: float | None
    differing: int | None


def agreement(
    engines: Mapping[str, Predict],
    references: Mapping[str, str],
    split: Split,
    *,
    batch: int = 32,
    limit: int | None = None,
    progress: Progress = silent,
) -> dict[str, Agreement]:
    """Show every engine the same images.

    Args:
        engines: float32 (N, C, H, W) to outputs (N, classes), by name.
        references: for an engine, the name of the one it is compared with.
        split: labelled images.
        batch: images in memory at a time.
        limit: stop after this many.
    """
    correct = dict.fromkeys(engines, 0)
    worst = dict.fromkeys(references, 0.0)
    differing = dict.fromkeys(references, 0)
    total = len(split) if limit is None else min(limit, len(split))
    done = 0
    for images, labels in split.batches(batch, limit=limit):
        outputs = {name: predict(images).reshape(len(images), -1) for name, predict in engines.items()}
        for name, output in outputs.items():
            correct[name] += int((output.argmax(1) == labels).sum())
        for name, other in references.items():
            worst[name] = max(worst[name], float(np.abs(outputs[name] - outputs[other]).max()))
            differing[name] += int((outputs[name].argmax(1) != outputs[other].argmax(1)).sum())
        done += len(labels)
        progress("accuracy", done, total, f"{len(engines)} engines")
    return {name: Agreement(Accuracy(correct[name], done), worst.get(name), differing.get(name)) for name in engines}
