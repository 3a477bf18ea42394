"""`python -m benchmarks.quant --data imagenet:PATH --out build/bench/quant.json`: see benchmarks/README.md."""

from __future__ import annotations

import importlib.util
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.cpu.pieces import Pieces, key_of, source_hash
from benchmarks.quant import score, transformer
from benchmarks.quant.arms import ARMS
from benchmarks.quant.subject import Subject, subject
from edgevision.compress.identity import versions

NETWORKS = ("efficientnet_lite0", "mobilenet_v2")
TRANSFORMER = "vit_s14"


def main() -> None:
    """Every arm of every network, and the transformer; what is finished is kept."""
    parser = common.flags("Accuracy of post-training quantisation, ours and others', on the same photographs.")
    parser.add_argument("--data", required=True, help="imagenet:PATH; its test images are halved")
    parser.add_argument("--models", nargs="+", choices=(*NETWORKS, TRANSFORMER), default=[*NETWORKS, TRANSFORMER])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    pieces = Pieces(asked.work)
    result: dict[str, Any] = {"data": asked.data, "versions": versions(), "missing": _missing(), "networks": {}}
    arms = [arm for arm in ARMS if arm in {"fp32", *asked.arms} and not (arm.startswith("openvino") and _missing())]
    for name in (name for name in NETWORKS if name in asked.models):
        result["networks"][name] = _network(name, asked.data, arms, pieces, asked.work)
    if TRANSFORMER in asked.models:
        result["transformer"] = transformer.rows(asked.data, pieces, asked.work)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    common.write(asked.out, "edgevision.bench.quant/1", result)


def _missing() -> list[str]:
    return [] if importlib.util.find_spec("openvino") else ["openvino: pip install 'edgevision[bench-cpu]'"]


def _network(name: str, data: str, arms: list[str], pieces: Pieces, work: Path) -> dict[str, Any]:
    made: Subject | None = None
    rows: dict[str, Any] = {}
    for arm in arms:
        key = {"model": name, "data": data, "arm": arm, "versions": versions(), "source": source_hash("compress")}

        def work_out(arm: str = arm, key: dict[str, Any] = key) -> dict[str, Any]:
            nonlocal made
            made = made or subject(name, data)
            folder = work / f"{name}-{arm.replace(' ', '-').replace(',', '')}-{key_of(key)}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            began = time.monotonic()
            path = ARMS[arm](made, folder)
            spent = time.monotonic() - began
            got = score.outputs(path, made.test)
            reference = work / f"{name}-fp32.npy"
            if arm == "fp32":
                np.save(reference, got)
            found = score.row(path, got, np.load(reference), made.test.labels)
            sizes = {"calibration_images": len(made.calibration), "test_images": len(made.test)}
            return {**found, **sizes, "seconds": round(spent, 1)}

        rows[arm] = row = pieces.get(f"{name}-{arm}", key, work_out)
        print(
            f"{name:20s} {arm:22s} {row['top1_percent']:6.2f} %  {row['points_to_fp32']:+.2f} points  differs "
            f"{row['disagreement_percent']:.1f} %  {row['file_bytes'] / 1e6:.2f} MB  {row['seconds']:.0f} s",
            flush=True,
        )
    return rows


if __name__ == "__main__":
    main()
