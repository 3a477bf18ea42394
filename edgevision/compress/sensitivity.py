"""What quantising each layer costs: put back into float one at a time, and look at the output.

One graph with a switch for each layer answers for all of them (`bypass.switchable`), run on a few calibration images.
Accuracy, which needs many images, is measured only for the layers that look worst. Every row is on disk as soon as it
is known, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx

from edgevision.compress.bypass import SWITCH, left_in_float, switchable
from edgevision.compress.compressed import LayerSensitivity
from edgevision.compress.layers import quantised_operators
from edgevision.compress.session import batched, session
from edgevision.compress.work import Rows
from edgevision.progress import Progress, silent

#: Layers whose accuracy is measured, and layers whose `--keep-fp` line is given.
MEASURED, NAMED = 10, 3
#: No output is exact to more decibels than float32 arithmetic gives.
MAX_DB = 140.0

#: Accuracy in percent of a graph, given a name that tells it from the others.
Evaluate = Callable[[str, onnx.ModelProto], float]


def sqnr_db(reference: np.ndarray, got: np.ndarray) -> float:
    """Signal to quantisation noise in dB: 10 log10(sum reference^2 / sum (reference - got)^2), at most `MAX_DB`.

    >>> round(sqnr_db(np.array([10.0, 0.0]), np.array([9.0, 0.0])), 6)
    20.0
    """
    reference = reference.astype(np.float64)
    noise = float(np.square(reference - got).sum())
    signal = float(np.square(reference).sum())
    if noise <= signal * 10 ** (-MAX_DB / 10):
        return MAX_DB
    return 10 * float(np.log10(signal / noise)) if signal else -MAX_DB


def rank_layers(
    quantised: onnx.ModelProto,
    original: onnx.ModelProto,
    images: np.ndarray,
    *,
    macs: Mapping[str, int],
    evaluate: Evaluate | None = None,
    deadline: float = math.inf,
    rows: Rows | None = None,
    progress: Progress = silent,
) -> tuple[LayerSensitivity, ...]:
    """Rank the quantised operators, those without weights too, the one that hurts most first.

    Args:
        quantised: a canonical QDQ graph.
        original: the float graph it was made from.
        images: calibration images, float32 (N, C, H, W); eight are enough to rank by.
        macs: of each layer.
        evaluate: accuracy in percent of a graph, given a name for it; asked of the `MEASURED` layers with the largest
            gain.
        deadline: stop at this value of `time.monotonic()` with the layers done so far.
        rows: where finished results are kept.
        progress: told after each layer.

    Returns:
        Rows sorted by falling `sqnr_gain_db`; the first `NAMED` whose gain is positive carry their `keep_fp` line.
    """
    rows = rows or Rows()
    names = quantised_operators(quantised.graph)
    all_quantised, gains = _gains(quantised, original, images, names, rows, deadline, progress)
    ranked = sorted(gains, key=lambda name: (-gains[name], name))
    accuracy = _accuracy_gains(quantised, original, ranked[:MEASURED], evaluate, deadline, progress)
    return tuple(
        LayerSensitivity(
            layer=name,
            macs=macs.get(name, 0),
            sqnr_db=all_quantised + gains[name],
            sqnr_gain_db=gains[name],
            metric_gain=accuracy.get(name),
            keep_fp=f"--keep-fp {name}" if position < NAMED and gains[name] > 0 else None,
        )
        for position, name in enumerate(ranked)
    )


def _gains(
    quantised: onnx.ModelProto,
    original: onnx.ModelProto,
    images: np.ndarray,
    names: list[str],
    rows: Rows,
    deadline: float,
    progress: Progress,
) -> tuple[float, dict[str, float]]:
    """SQNR with every layer quantised, and what each layer adds to it when it alone is float; in dB."""
    if not {"all", *(f"sqnr {name}" for name in names)} - rows.known.keys():
        return rows.known["all"], {name: rows.known[f"sqnr {name}"] for name in names}
    reference = _outputs(session(original), original.graph.input[0].name, images, {})
    graph = switchable(quantised, original, names)
    many = batched(graph, len(images), optimise=False, more={SWITCH: np.zeros(len(names), np.bool_)})
    runner, name_in = many or session(graph, optimise=False), graph.graph.input[0].name

    def measured(position: int | None) -> float:
        switch = np.zeros(len(names), np.bool_)
        if position is not None:
            switch[position] = True
        got = _outputs(runner, name_in, images, {SWITCH: switch}, batch=len(images) if many else 1)
        return sqnr_db(reference, got)

    base = rows.get("all", lambda: measured(None))
    gains: dict[str, float] = {}
    for position, name in enumerate(names):
        if time.monotonic() > deadline:
            break
        gains[name] = rows.get(f"sqnr {name}", lambda at=position: measured(at) - base)  # type: ignore[misc]
        progress("sensitivity", position + 1, len(names), name)
    return base, gains


def _outputs(runner, name: str, images: np.ndarray, more: dict[str, np.ndarray], batch: int = 1) -> np.ndarray:  # type: ignore[no-untyped-def]
    parts: Iterator[np.ndarray] = (images[i : i + batch] for i in range(0, len(images), batch))
    return np.concatenate([runner.run(None, {name: part, **more})[0] for part in parts])


def _accuracy_gains(
    quantised: onnx.ModelProto,
    original: onnx.ModelProto,
    names: list[str],
    evaluate: Evaluate | None,
    deadline: float,
    progress: Progress,
) -> dict[str, float]:
    """Accuracy points each layer gains when it alone is float."""
    gains: dict[str, float] = {}
    if evaluate is None or not names:
        return gains
    base = evaluate("quantised", quantised)
    for done, name in enumerate(names):
        if time.monotonic() > deadline:
            break
        gains[name] = evaluate(f"float {name}", left_in_float(quantised, original, [name])) - base
        progress("sensitivity: accuracy", done + 1, len(names), name)
    return gains
