"""What quantising each layer costs, and each block: put back into float one at a time, or quantised one at a time.

One graph with a switch for each layer answers for all of them (`probe`). The quick ranking runs it on a few
calibration images with each layer in float and asks for the accuracy of the worst alone; the full one goes both ways,
layer by layer and block by block, and asks for every accuracy, the worst first. Every figure is on disk as soon as it
is known, so an interrupted ranking goes on where it was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx

from edgevision.compress.blocks import blocks
from edgevision.compress.compressed import LayerSensitivity
from edgevision.compress.kept_rows import Figures
from edgevision.compress.layers import quantised_operators
from edgevision.compress.probe import Noise, Predict, Probe
from edgevision.compress.work import Rows
from edgevision.progress import Progress, silent

#: Layers whose accuracy a quick ranking measures, and layers whose `--keep-fp` line is given.
MEASURED, NAMED = 10, 3

#: Accuracy in percent of what predicts.
Evaluate = Callable[[Predict], float]


@dataclass(frozen=True)
class Ranking:
    """Layers and blocks, the one that hurts most first; of a quick ranking there are no blocks."""

    layers: tuple[LayerSensitivity, ...] = ()
    blocks: tuple[LayerSensitivity, ...] = ()


def rank(
    quantised: onnx.ModelProto,
    original: onnx.ModelProto,
    images: np.ndarray,
    *,
    macs: Mapping[str, int],
    full: bool = False,
    classes: bool = True,
    evaluate: Evaluate | None = None,
    deadline: float = math.inf,
    rows: Figures | None = None,
    progress: Progress = silent,
) -> Ranking:
    """Rank the quantised operators, those without weights too.

    Args:
        quantised: a canonical QDQ graph.
        original: the float graph it was made from.
        images: calibration images, float32 (N, C, H, W); eight are enough to rank by.
        macs: of each layer.
        full: blocks too, each layer also quantised alone, and the accuracy of all.
        classes: whether the outputs are logits, so that their divergence means something.
        evaluate: accuracy; of a quick ranking asked of the `MEASURED` layers with the largest gain.
        deadline: stop at this value of `time.monotonic()` with what is done so far.
        rows: where finished figures are kept.
        progress: told after each layer.

    Returns:
        Rows sorted by falling `sqnr_gain_db`; the first `NAMED` whose gain is positive carry their `keep_fp` line.
    """
    names = quantised_operators(quantised.graph)
    asked = {name: (name,) for name in names}
    return _Ranker(
        Probe(quantised, original, images, names), asked, blocks(names) if full else {}, macs, full, classes, evaluate,
        deadline, rows or Rows(), progress,
    ).ranking()  # fmt: skip


@dataclass
class _Ranker:
    probe: Probe
    layers: Mapping[str, tuple[str, ...]]
    blocks: Mapping[str, tuple[str, ...]]
    macs: Mapping[str, int]
    full: bool
    classes: bool
    evaluate: Evaluate | None
    deadline: float
    rows: Figures
    progress: Progress

    def ranking(self) -> Ranking:
        everything = {**{f"layer {k}": v for k, v in self.layers.items()}, **self._block_groups}
        noise: dict[str, tuple[Noise, Noise | None]] = {}
        base: Noise | None = None
        for done, (key, members) in enumerate(everything.items()):
            if time.monotonic() > self.deadline:
                break
            base = base or self._noise("all", ())
            others = [name for name in self.probe.names if name not in members]
            alone = self._noise(f"alone {key}", others) if self.full else None
            noise[key] = self._noise(f"float {key}", members), alone
            self.progress("sensitivity", done + 1, len(everything), key)
        if base is None:
            return Ranking()
        quiet = base
        ranked = sorted(noise, key=lambda key: (quiet.sqnr_db - noise[key][0].sqnr_db, key))
        points = self._accuracies(ranked if self.full else ranked[:MEASURED], everything)
        found = [self._row(key, everything[key], quiet, noise[key], points.get(key, (None, None))) for key in ranked]
        kinds = {kind: [row for key, row in zip(ranked, found, strict=True) if key.startswith(kind)]
                 for kind in ("layer ", "block ")}  # fmt: skip
        return Ranking(*(_named(rows, everything, kind) for kind, rows in kinds.items()))

    @property
    def _block_groups(self) -> dict[str, tuple[str, ...]]:
        return {f"block {name}": members for name, members in self.blocks.items()}

    def _noise(self, key: str, floats: tuple[str, ...] | list[str]) -> Noise:
        return Noise(
            self.rows.get(f"sqnr {key}", lambda: self.probe.noise(floats).sqnr_db),
            self.rows.get(f"kl {key}", lambda: self.probe.noise(floats).kl) if self.classes else 0.0,
        )

    def _accuracies(
        self, keys: list[str], everything: Mapping[str, tuple[str, ...]]
    ) -> dict[str, tuple[float, float | None]]:
        """Points each gains when it alone is float, and loses when it alone is quantised."""
        found: dict[str, tuple[float, float | None]] = {}
        for done, key in enumerate(keys):
            if self.evaluate is None or time.monotonic() > self.deadline:
                break
            gained = self._accuracy(f"float {key}", everything[key]) - self._accuracy("all", ())
            lost = None
            if self.full:
                others = [name for name in self.probe.names if name not in everything[key]]
                lost = self._accuracy("none", self.probe.names) - self._accuracy(f"alone {key}", others)
            found[key] = gained, lost
            self.progress("sensitivity: accuracy", done + 1, len(keys), key)
        return found

    def _accuracy(self, key: str, floats: tuple[str, ...] | list[str] | object) -> float:
        evaluate = self.evaluate
        assert evaluate is not None
        return self.rows.get(f"accuracy {key}", lambda: evaluate(self.probe.predict(floats)))  # type: ignore[arg-type]

    def _row(
        self, key: str, members: tuple[str, ...], base: Noise, noise: tuple[Noise, Noise | None],
        points: tuple[float | None, float | None],
    ) -> LayerSensitivity:  # fmt: skip
        left, alone = noise
        return LayerSensitivity(
            layer=key.split(" ", 1)[1],
            macs=sum(self.macs.get(name, 0) for name in members),
            sqnr_db=left.sqnr_db,
            sqnr_gain_db=left.sqnr_db - base.sqnr_db,
            metric_gain=points[0],
            kl_gain=base.kl - left.kl if self.classes else None,
            alone_sqnr_db=alone.sqnr_db if alone else None,
            alone_kl=alone.kl if alone and self.classes else None,
            metric_loss=points[1],
            operators=len(members),
        )


def _named(
    rows: list[LayerSensitivity], everything: Mapping[str, tuple[str, ...]], kind: str
) -> tuple[LayerSensitivity, ...]:
    """The rows, the first few with the line that leaves them in float."""
    return tuple(
        msgspec.structs.replace(row, keep_fp=" ".join(f"--keep-fp {name}" for name in everything[kind + row.layer]))
        if position < NAMED and row.sqnr_gain_db > 0
        else row
        for position, row in enumerate(rows)
    )
