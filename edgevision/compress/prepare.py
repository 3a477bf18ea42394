"""Steps that make a float graph easier to quantise and leave what it computes as it is."""

from __future__ import annotations

import time

import onnx

from edgevision.compress.calibration import Calibration
from edgevision.compress.equalize import equalize
from edgevision.compress.smooth import smooth
from edgevision.compress.work import Facts
from edgevision.data.metric import AnySplit
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent
from edgevision.recipe import Equalize, Smooth


def prepare(
    graph: onnx.ModelProto, step: Equalize | Smooth, images: AnySplit | None, *, progress: Progress = silent
) -> tuple[onnx.ModelProto, Facts]:
    """Return the graph after `step`, and what was changed.

    Raises:
        UsageError: the step needs images, and there are none.
    """
    began = time.monotonic()
    if isinstance(step, Equalize):
        made, pairs = equalize(graph, clips=step.clips)
        clips = [pair.between for pair in pairs if pair.clips]
        notes = [f"{pair.first} with {pair.second}" for pair in pairs]
        if clips:
            notes.insert(0, f"{len(clips)} Clips made ReLUs, which changes the network where they clipped")
        return made, Facts(f"{len(pairs)} pairs of convolutions equalised", tuple(notes),
                           seconds=time.monotonic() - began)  # fmt: skip
    if images is None:
        raise UsageError("expected images to smooth with, got none", fix="add --data NAME")
    name = graph.graph.input[0].name
    made, norms = smooth(graph, Calibration(images, name, step.calibration_images, progress), alpha=step.alpha)
    notes = [f"{item.norm} into {', '.join(item.readers)}" for item in norms]
    change = f"outliers of {len(norms)} layer norms moved into the weights behind them"
    return made, Facts(change, tuple(notes), seconds=time.monotonic() - began)
