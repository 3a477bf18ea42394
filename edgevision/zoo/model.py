"""A network on its way in: module, input, preprocessing and where its weights came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import onnx
import torch

from edgevision.data.metric import Metric
from edgevision.data.preprocess import Preprocessing


class InputSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, shape (N, C, H, W) and type of the one input."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the weights came from: "random", a file and its sha256, or a training run and its settings."""

    origin: str
    sha256: str | None = None
    detail: dict[str, str | int | float] = {}


@dataclass(frozen=True)
class Model:
    """A network and what belongs to it. Exactly one of `module` (torch) and `onnx` (a user's own file) is set.

    Attributes:
        name: zoo name such as "cas_vit", or the stem of the user's file.
        module: the torch module in eval mode, one float32 input, one output: (N, classes), or the maps of a detector
            (N, classes + 4, height, width) as `zoo.centres` reads them.
        onnx: a user's ONNX model, kept as it came.
        classes: class names in the order of the outputs; empty when unknown.
        metric: what its accuracy is measured by; None for a user's own file, of which the data says it.
    """

    name: str
    input: InputSpec
    preprocessing: Preprocessing
    provenance: Provenance
    classes: tuple[str, ...] = ()
    module: torch.nn.Module | None = None
    onnx: onnx.ModelProto | None = field(default=None, repr=False)
    metric: Metric | None = None
