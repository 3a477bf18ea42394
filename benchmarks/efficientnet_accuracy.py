"""Top-1 of EfficientNet-Lite0 with its ImageNet weights, fp32 and w8a8: compiled by EdgeVision, and in onnxruntime."""

from __future__ import annotations

import common
import numpy as np

import edgevision
from edgevision.compress.scoring import scoring_of
from edgevision.compress.session import predictor
from edgevision.data import open_data
from edgevision.device import open_device
from edgevision.profile.agreement import agreement


def main() -> None:
    """Compress and deploy both, then show all four engines the same images."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--data", required=True, help="imagenet:PATH")
    parser.add_argument("--limit", type=int, help="test images; all without it")
    asked = parser.parse_args()
    rows = {}
    for recipe in ("fp32", "w8a8"):
        small = edgevision.compress(
            "efficientnet_lite0", recipe, data=asked.data, sensitivity=False, limit=1, out=asked.work, overwrite=True,
            progress=common.progress,
        )  # fmt: skip
        built = edgevision.deploy(small.folder, target="host", out=asked.work, overwrite=True, progress=common.progress)
        device = open_device("host", built.bundle.manifest.target)
        device.push(built.bundle.folder)
        scoring = scoring_of(open_data(asked.data, small.info.preprocessing))
        engines = {"edgevision": device.run, "onnxruntime": predictor(small.graph())}
        found = agreement(engines, {"edgevision": "onnxruntime"}, scoring, limit=asked.limit, progress=common.progress)
        for name, one in found.items():
            rows[f"{name} {recipe}"] = {
                "top1_percent": one.accuracy.percent,
                "interval": one.accuracy.interval,
                "images": one.accuracy.total,
                "max_abs_error": one.max_abs_error,
                "differing_predictions": one.differing,
            }
            print(f"{name:12s} {recipe:5s} {one.accuracy.percent:6.2f} % of {one.accuracy.total}")
    common.write(asked.out, "edgevision.bench.accuracy/1", {"data": asked.data, "numpy": np.__version__, "rows": rows})


if __name__ == "__main__":
    main()
