"""Waves of our own making as a data set: two past fields and the speed in, later fields out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from edgevision.config import read_toml
from edgevision.data.dataset import CALIBRATION_IMAGES
from edgevision.data.preprocess import Preprocessing
from edgevision.data.wave_generate import Trajectory, trajectories
from edgevision.data.wave_spec import PAST, WaveSpec
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent


@dataclass(frozen=True)
class WaveSplit:
    """Windows of trajectories in a fixed order.

    Attributes:
        name: "train", "calibration" or "test".
        preprocessing: the side of the fields; they are numbers as they are, nothing is scaled.
        spec: how they were computed.
        starts: int64 (N, 2), trajectory and first field of each window.
    """

    name: str
    preprocessing: Preprocessing
    spec: WaveSpec
    trajectories: Sequence[Trajectory] = field(repr=False)
    starts: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def together(self) -> int:
        """Neighbouring windows that are of one trajectory; 1 where they are in another order."""
        return 1 if self.name == "calibration" else len(self) // len(self.trajectories)

    def windows(self, chosen: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs, float32 (N, PAST + 1, side, side), the speed last, and the later fields, (N, later, side, side).

        Fields are divided by `field_scale` of the past ones.
        """
        inputs, later = [], []
        for number, first in self.starts[np.asarray(chosen, np.int64)]:
            one = self.trajectories[number]
            past = one.fields[first : first + PAST]
            scale = field_scale(past)
            inputs.append(np.concatenate([past / scale, self.spec.scaled(one.speed)[None]]))
            later.append(one.fields[first + PAST : first + PAST + self.spec.later] / scale)
        return np.stack(inputs), np.stack(later)

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield what `windows` returns, `batch` windows at a time; the last may be smaller.

        Args:
            limit: stop after this many windows.
        """
        count = len(self) if limit is None else min(limit, len(self))
        for start in range(0, count, batch):
            yield self.windows(range(start, min(start + batch, count)))


@dataclass(frozen=True)
class WaveSet:
    """Computed waves in splits.

    Attributes:
        spec: what it was opened with: "wave" or "wave:FILE".
        classes: names of the predicted fields, in the order of the outputs.
        sha256: of the specification and of the generator's version.
        waves: how they were computed.
    """

    spec: str
    classes: tuple[str, ...]
    sha256: str
    preprocessing: Preprocessing
    default_preprocessing: Preprocessing
    waves: WaveSpec
    splits: Mapping[str, WaveSplit] = field(repr=False)
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> WaveSplit:
        """Return "train", "calibration" or "test".

        Raises:
            UsageError: the set has no such split.
        """
        if name not in self.splits:
            raise UsageError(
                f"the data has no '{name}' split, only {', '.join(self.splits)}",
                where=self.spec,
                fix="a number of trajectories above 0 for train and test",
            )
        return self.splits[name]


def field_scale(past: np.ndarray) -> np.float32:
    """Root mean square of the fields a network is given, 1 where they are zero.

    The equation is linear: waves of any height are those of height 1, scaled.
    """
    return np.float32(np.sqrt(np.mean(np.square(past, dtype=np.float64))) or 1.0)


def read_spec(path: Path | None) -> WaveSpec:
    """The specification in the TOML file `path`; the default without one.

    Raises:
        UsageError: the file cannot be read, or what it asks for cannot be computed; every reason is listed.
    """
    spec = WaveSpec() if path is None else read_toml(path, WaveSpec)
    spec.check()
    return spec


def open_wave(
    path: Path | None = None, preprocessing: Preprocessing | None = None, *, progress: Progress = silent
) -> WaveSet:
    """Compute the waves of a specification, or take them from the cache.

    Args:
        path: of a TOML file with the fields of `WaveSpec`; without it the default ones.
        preprocessing: its height and width are the side of the fields; the specification's own without it.
        progress: told after each trajectory that is computed.

    Raises:
        UsageError: the specification or the side cannot be used.
    """
    spec = read_spec(path)
    asked = _preprocessing(spec.side)
    if preprocessing is not None:
        if preprocessing.height != preprocessing.width:
            raise UsageError(
                f"expected square fields, got a size of {preprocessing.height}x{preprocessing.width}",
                fix="height = width",
            )
        spec = msgspec.structs.replace(spec, side=preprocessing.height)
    return wave_set(spec, name="wave" if path is None else f"wave:{path}", default=asked, progress=progress)


def wave_set(
    spec: WaveSpec,
    *,
    name: str = "wave",
    default: Preprocessing | None = None,
    processes: int | None = None,
    progress: Progress = silent,
) -> WaveSet:
    """Compute `spec`, or take it from the cache, and divide it into windows.

    Training windows start at every field. Those of the test split follow one another, so that they also tell how far
    a network can go on from its own predictions.
    """
    whole = trajectories(spec, processes=processes, progress=progress)
    parts = {"train": whole[: spec.train], "test": whole[spec.train :]}
    how = _preprocessing(spec.side)
    strides = {"train": 1, "test": spec.later}
    splits = {
        part: WaveSplit(part, how, spec, own, _starts(len(own), spec, strides[part]))
        for part, own in parts.items()
        if own
    }
    source = splits.get("train") or splits["test"]
    order = np.random.default_rng(spec.seed).permutation(len(source))[:CALIBRATION_IMAGES]
    splits["calibration"] = WaveSplit("calibration", how, spec, source.trajectories, source.starts[order])
    width = spec.refine * (spec.side - 1)
    return WaveSet(
        spec=name,
        classes=tuple(f"{(index + 1) * spec.interval:g} s later" for index in range(spec.later)),
        sha256=spec.sha256,
        preprocessing=how,
        default_preprocessing=default or how,
        waves=spec,
        splits=splits,
        notes=(
            f"fields of our own solver: linear finite elements, {width}x{width} cells, explicit Newmark",
            "a network is given fields divided by the root mean square of its past ones, and predicts them so",
        ),
    )


def _starts(count: int, spec: WaveSpec, stride: int) -> np.ndarray:
    firsts = np.arange(0, spec.frames - PAST - spec.later + 1, stride)
    numbers = np.repeat(np.arange(count), len(firsts))
    return np.stack([numbers, np.tile(firsts, count)], axis=1).astype(np.int64)


def _preprocessing(side: int) -> Preprocessing:
    """Fields are given as they are: one channel for each past field, one for the speed."""
    channels = PAST + 1
    return Preprocessing(height=side, width=side, mean=(0.0,) * channels, std=(1.0,) * channels, channels=channels)
