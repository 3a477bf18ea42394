"""Whole networks: ours and every peer in its best configurations, in turns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx

from benchmarks.common import progress
from benchmarks.cpu import agreement, bundles, quantised
from benchmarks.cpu.catalogue import Network
from benchmarks.cpu.prepare import Prepared
from benchmarks.cpu.ratios import BINARY
from benchmarks.cpu.turns import take_turns
from edgevision.errors import EdgeVisionError
from edgevision.graph import reference
from edgevision.profile.engines import BundleEngine
from edgevision.profile.profile import Protocol
from edgevision.profile.rivals import NcnnEngine, OnnxRuntimeEngine, OpenVinoEngine, RivalEngine

Opened = BundleEngine | RivalEngine


def measured(network: Network, made: Prepared, work: Path, protocol: Protocol, threads: int) -> dict[str, Any]:
    """Time every engine that can be opened; those that cannot are named under "failed" with the reason."""
    shown = np.concatenate(made.images[:4])
    engines: list[Opened] = []
    answers: dict[str, np.ndarray] = {}
    failed: dict[str, str] = {}
    for name, opener in _openers(network, made, work, threads).items():
        try:
            engine = opener()
            answers[name] = engine.predict(shown)
            engines.append(engine)
        except Exception as error:
            # Peers raise whatever they like; one that fails must not take the others along.
            failed[name] = str(error) if isinstance(error, EdgeVisionError) else f"{type(error).__name__}: {error}"
            progress(f"{network.name}: {name} failed:", 1, 1, failed[name].splitlines()[0])
    judged = {name: agreement.judged(name, answer, answers["onnxruntime fp32"]) for name, answer in answers.items()}
    if made.binary is not None and BINARY in answers:
        # A binary network is another function: it is judged by what the reference computes from its own file.
        wanted = reference.run(onnx.load(str(made.binary)), made.images[0])[0]
        judged[BINARY] = agreement.judged(BINARY, answers[BINARY][:1], wanted)
    timed = take_turns(engines, protocol, f"{network.name}, {threads} threads:")
    opened = {e.name: {"load_ms": e.opening.init_ns / 1e6, "first_ms": e.opening.first_ns / 1e6} for e in engines}
    return {
        "engines": {name: row | judged[name] | opened[name] for name, row in timed.items()},
        "failed": failed,
    }


def speedup(made: Prepared, work: Path, protocol: Protocol) -> dict[str, Any]:
    """Our float bundle on one thread and on two, in turns; nothing where it cannot be compiled."""
    bundle = bundles.every_kind(made, work).get("fp32")
    if bundle is None:
        return {}
    engines = [bundles.engine(f"edgevision fp32, {threads} threads", bundle, threads) for threads in (1, 2)]
    return take_turns(engines, protocol, f"{made.plain.stem}, one thread and two:")


def _openers(network: Network, made: Prepared, work: Path, threads: int) -> dict[str, Callable[[], Opened]]:
    image, folder = made.images[0], made.plain.parent
    openers: dict[str, Callable[[], Opened]] = {}

    def add(name: str, kind: Callable[..., Opened], path: Callable[[], Path], **more: Any) -> None:
        openers[name] = lambda: kind(name, path(), threads, image, **more)

    def ours(name: str, path: Path) -> None:
        openers[name] = lambda: bundles.engine(name, bundles.built(path, image, work), threads)

    ours("edgevision fp32", made.plain)
    add("onnxruntime fp32", OnnxRuntimeEngine, lambda: made.plain)
    add("openvino f32", OpenVinoEngine, lambda: made.plain)
    add("openvino default", OpenVinoEngine, lambda: made.plain, precision="default")
    add("ncnn fp32", NcnnEngine, lambda: made.plain)
    if made.ours is None:
        return openers
    qdq = made.ours
    ours("edgevision int8", qdq)
    if made.binary is not None:
        ours(BINARY, made.binary)
    add("onnxruntime int8 our QDQ", OnnxRuntimeEngine, lambda: qdq)
    for label in quantised.names(made.plain):
        file = partial(quantised.onnxruntime_file, label, made.plain, made.images, folder)
        add(f"onnxruntime int8 {label}", OnnxRuntimeEngine, file)
    nncf = partial(quantised.openvino_file, made.plain, made.images, folder, transformer=network.transformer)
    files: dict[str, Callable[[], Path]] = {"our QDQ": lambda: qdq, "NNCF": nncf}
    for label, path in files.items():
        add(f"openvino int8 {label}, rest f32", OpenVinoEngine, path)
        add(f"openvino int8 {label}, rest default", OpenVinoEngine, path, precision="default")
    return openers


def protocol_of(seconds: float) -> Protocol:
    """Windows of a network: a tenth of a second each, at least nine rounds."""
    return msgspec.structs.replace(Protocol(), seconds=seconds, window_seconds=0.1, least_windows=9, steady_seconds=1.0)
