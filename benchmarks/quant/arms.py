"""Every way a network is quantised here, ours and those of other tools; each writes a file that can be run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx

from benchmarks.cpu import quantised as peers
from benchmarks.quant.subject import Subject
from edgevision import recipe as recipes
from edgevision.compress.prepare import prepare
from edgevision.compress.quantize import quantize
from edgevision.compress.quiet import quiet
from edgevision.recipe import Equalize, Quantize, Recipe, Smooth


def ours(found: Recipe, subject: Subject, out: Path) -> Path:
    """The network by one of our recipes, calibrated on the whole half."""
    graph = subject.graph
    for step in found.steps:
        if isinstance(step, Equalize | Smooth):
            graph, _ = prepare(graph, step, subject.calibration)
        elif isinstance(step, Quantize):
            graph = quantize(graph, step, subject.calibration)
    path = out / "model.onnx"
    onnx.save(graph, path)
    return path


def _recipe(name: str) -> Callable[[Subject, Path], Path]:
    return lambda subject, out: ours(recipes.load(name), subject, out)


def _naive(subject: Subject, out: Path) -> Path:
    """One scale for each layer's weights and the extremes, nothing else."""
    step = Quantize(weights="symmetric_per_tensor", bias_correction=False)
    return ours(Recipe("naive", "", (step,)), subject, out)


def _float(subject: Subject, out: Path) -> Path:
    path = out / "model.onnx"
    onnx.save(subject.graph, path)
    return path


def _nncf(subject: Subject, out: Path) -> Path:
    """NNCF on the ONNX graph with its defaults."""
    import nncf

    name = subject.graph.graph.input[0].name
    images = [{name: image} for image in subject.images()]
    with quiet("nncf"):
        made = nncf.quantize(subject.graph, nncf.Dataset(images), subset_size=len(images))
    path = out / "model.onnx"
    onnx.save(made, path)
    return path


def _onnxruntime(subject: Subject, out: Path) -> Path:
    """onnxruntime's static quantiser: bytes, extremes, weights with one scale per channel, QDQ."""
    made = peers.onnxruntime_file("static u8s8", _float(subject, out), list(subject.images()), out)
    return Path(shutil.move(made, out / "model.onnx"))


def _openvino(subject: Subject, out: Path) -> Path:
    """NNCF on OpenVINO's own model with its defaults, to be run by OpenVINO."""
    return peers.openvino_file(_float(subject, out), list(subject.images()), out, transformer=False)


#: In the order they are made; each takes the subject and an empty folder.
ARMS: dict[str, Callable[[Subject, Path], Path]] = {
    "fp32": _float,
    "edgevision w8a8": _recipe("w8a8"),
    "nncf defaults": _nncf,
    "onnxruntime static": _onnxruntime,
    "edgevision w4a8": _recipe("w4a8"),
    "per tensor, naive": _naive,
    "per tensor, equalised": _recipe("w8a8-per-tensor"),
    "openvino defaults": _openvino,
}
