"""The float networks with batch norms folded, and photographs in two halves: to calibrate on, and to test on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch

from edgevision import zoo
from edgevision.compress.fold import fold_batch_norm
from edgevision.data import open_set
from edgevision.data.dataset import Split
from edgevision.data.preprocess import Preprocessing
from edgevision.graph.export import export


@dataclass(frozen=True)
class Subject:
    """One network and its photographs.

    Attributes:
        graph: float, batch norms folded.
        calibration, test: disjoint halves, prepared as the network wants them.
        sha256: of the photographs.
    """

    graph: onnx.ModelProto
    calibration: Split
    test: Split
    preprocessing: Preprocessing
    sha256: str | None

    def images(self) -> Iterator[np.ndarray]:
        """Calibration images (1, C, H, W), one at a time."""
        for batch, _ in self.calibration.batches(16):
            for image in batch:
                yield image[None]


def subject(name: str, data: str) -> Subject:
    """Network `name` of the zoo with its ImageNet weights, and the halves of `data`."""
    classes = open_set(data).classes
    network = zoo.load_model(name, classes=classes)
    calibration, test, sha256 = halves(data, network.preprocessing)
    example = torch.zeros(1, *network.input.shape[1:])
    assert network.module is not None
    module, _ = fold_batch_norm(network.module, example)
    graph = export(replace(network, module=module)).graph
    return Subject(graph, calibration, test, network.preprocessing, sha256)


def halves(
    data: str, preprocessing: Preprocessing, calibration: int | None = None, test: int | None = None
) -> tuple[Split, Split, str | None]:
    """The first half of the test images of `data` to calibrate on, the second to test on; the first so many of each."""
    images = open_set(data, preprocessing)
    whole = images.split("test")
    assert isinstance(whole, Split)
    middle = len(whole) // 2
    first, second = _part(whole, slice(None, middle)), _part(whole, slice(middle, None))
    return _part(first, slice(calibration)), _part(second, slice(test)), images.sha256


def _part(split: Split, places: slice) -> Split:
    return replace(split, indices=split.indices[places], labels=split.labels[places])
