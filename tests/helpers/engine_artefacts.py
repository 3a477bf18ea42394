"""A small detector trained quantised, as `compress` leaves it on disk; trained for a moment only."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
import onnx
from helpers.artefacts import make_network
from helpers.detectors import SIDE, detector, quantised, trained

from edgevision.files import sha256_of
from edgevision.graph.from_qat import qdq_graph
from edgevision.zoo.model import InputSpec

CLASSES = ("red", "green", "blue")


@functools.cache
def graph(last: int = 48) -> onnx.ModelProto:
    """Three classes at 64 by 64 pixels."""
    teacher = detector(1, last=last)
    network = quantised(teacher)
    trained(network, teacher, 1)
    return qdq_graph(network, SIDE, SIDE)


def write(out: Path, model: onnx.ModelProto | None = None, recipe: str = "w4a8-qat") -> Path:
    """Folder of a compressed network below the work folder `out`."""
    folder = out / "compressed" / f"tiny-{recipe}"
    folder.mkdir(parents=True)
    model = graph() if model is None else model
    onnx.save(model, str(folder / "model.onnx"))
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    info = msgspec.structs.replace(
        make_network(recipe).info, name=folder.name, model="codenet_a", input=InputSpec("input", shape),
        classes=CLASSES, onnx_sha256=sha256_of(folder / "model.onnx"), metric="AP50", data="",
    )  # fmt: skip
    (folder / "compressed.json").write_bytes(msgspec.json.encode(info))
    return folder
