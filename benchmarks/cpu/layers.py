"""Every layer shape alone: ours against onnxruntime and OpenVINO on the same one-layer graph, float in, float out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.cpu import agreement, bundles, graphs, quantised
from benchmarks.cpu.catalogue import Depthwise, Gemm
from benchmarks.cpu.ratios import BINARY
from benchmarks.cpu.turns import take_turns
from edgevision.device.device import RawTiming
from edgevision.profile.engines import BundleEngine, Engine
from edgevision.profile.profile import Protocol
from edgevision.profile.rivals import OnnxRuntimeEngine, OpenVinoEngine

#: Convolutions in a row, from which the cost of one inside a network follows.
CHAIN = 9


def measured(shape: Gemm | Depthwise, work: Path, protocol: Protocol, threads: int) -> dict[str, Any]:
    """One shape with `threads`: its kind, MACs, and every engine by name."""
    if isinstance(shape, Gemm):
        return _gemm(shape, work, protocol, threads)
    return _depthwise(shape, work, protocol, threads)


def _gemm(shape: Gemm, work: Path, protocol: Protocol, threads: int) -> dict[str, Any]:
    folder = work / "layers" / shape.name
    plain = _saved(graphs.gemm(shape), folder / f"gemm-{shape.name}-fp32.onnx")
    ours = _saved(graphs.quantised_gemm(shape), folder / f"gemm-{shape.name}-int8.onnx")
    bits = _saved(graphs.binary_gemm(shape), folder / f"gemm-{shape.name}-binary.onnx")
    image = graphs.sample(onnx.load(str(plain)))
    files = {name: quantised.onnxruntime_file(name, plain, [image], folder) for name in quantised.names(plain)}
    engines: list[Engine] = [
        bundles.engine("edgevision fp32", bundles.built(plain, image, work), threads),
        bundles.engine("edgevision int8", bundles.built(ours, image, work), threads),
        bundles.engine(BINARY, bundles.built(bits, image, work), threads),
        OnnxRuntimeEngine("onnxruntime fp32", plain, threads, image),
        OnnxRuntimeEngine("onnxruntime int8 our QDQ", ours, threads, image),
        *(OnnxRuntimeEngine(f"onnxruntime int8 {label}", path, threads, image) for label, path in files.items()),
        OpenVinoEngine("openvino f32", plain, threads, image),
        OpenVinoEngine("openvino int8 our QDQ", ours, threads, image),
    ]
    found = _in_turns("gemm", shape, engines, image, protocol, threads)
    # A binary layer is another function: it is judged by what onnxruntime computes from its own file.
    wanted = OnnxRuntimeEngine("binary reference", bits, threads, image).predict(image)
    binary = next(engine for engine in engines if engine.name == BINARY)
    found["engines"][BINARY] |= agreement.judged(BINARY, binary.predict(image), wanted)
    return found


def _depthwise(shape: Depthwise, work: Path, protocol: Protocol, threads: int) -> dict[str, Any]:
    folder = work / "layers" / shape.name.replace(" ", "-")
    one = _saved(graphs.depthwise(shape), folder / "one.onnx")
    many = _saved(graphs.depthwise(shape, count=CHAIN), folder / "chain.onnx")
    image = graphs.sample(onnx.load(str(one)))
    engines: list[Engine] = [
        LayerStep(bundles.engine("edgevision fp32", bundles.built(one, image, work), threads)),
        bundles.engine("edgevision one", bundles.built(one, image, work), threads),
        bundles.engine("edgevision many", bundles.built(many, image, work), threads),
        OnnxRuntimeEngine("onnxruntime fp32", one, threads, image),
        OnnxRuntimeEngine("onnxruntime many", many, threads, image),
        OpenVinoEngine("openvino f32", one, threads, image),
    ]
    found = _in_turns("depthwise", shape, engines, image, protocol, threads)
    ends = {"edgevision": "edgevision one", "onnxruntime": "onnxruntime fp32"}
    for runtime, single in ends.items():
        found["engines"][f"{runtime} chain"] = chained(
            found["engines"][single]["window_ms"], found["engines"][f"{runtime} many"]["window_ms"]
        )
    return found


def chained(one: list[float], many: list[float]) -> dict[str, Any]:
    """Time of a layer inside a network: what `CHAIN` in a row take more than one alone, shared out."""
    windows = [(long - short) / (CHAIN - 1) for short, long in zip(one, many, strict=True)]
    return {"median_ms": float(np.median(windows)), "window_ms": windows}


@dataclass
class LayerStep:
    """The layer's own step of a bundle, without the changes of layout at the borders of its one-layer graph.

    Inside a network there are none: images stay channels-last from the first layer to the last.
    """

    engine: BundleEngine

    def __post_init__(self) -> None:
        self.name = self.engine.name

    def window(self, runs: int, warmup: int) -> RawTiming:
        """Time one window of the step."""
        timed = self.engine.steps(runs, warmup)
        families = [step.family for step in bundles.manifest_of(self.engine).steps]
        step = timed.steps[families.index("depthwise")]
        return RawTiming(init_ns=0, first_ns=step.ns[0], run_ns=step.ns, threads=timed.threads)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Outputs of the whole graph."""
        return self.engine.predict(images)


def _in_turns(
    kind: str, shape: Gemm | Depthwise, engines: list[Engine], image: np.ndarray, protocol: Protocol, threads: int
) -> dict[str, Any]:
    reference = next(engine for engine in engines if engine.name == "onnxruntime fp32")
    expected = reference.predict(image)
    answers = {e.name: agreement.judged(e.name, e.predict(image), expected) for e in engines if "many" not in e.name}
    timed = take_turns(engines, protocol, f"{shape.name}, {threads} threads:")
    return {
        "kind": kind,
        "macs": shape.macs,
        "engines": {name: row | answers.get(name, {}) for name, row in timed.items()},
    }


def _saved(model: onnx.ModelProto, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def protocol_of(seconds: float) -> Protocol:
    """Windows of a layer: 30 ms each, a quarter of a network's time; a layer takes a hundredth of a network's."""
    return Protocol(seconds=seconds / 4, window_seconds=0.03, steady_seconds=0.3)
