"""Peak memory of the runner on networks of the zoo, shared and static: arena, weights, and at most 4 MiB besides.

Exit code 1 when a bundle takes more, or when its arena is larger than 1.15 times the tensors alive at one step.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import common
import msgspec

import edgevision
from edgevision.bundle import Bundle

BESIDES = 4 << 20
ARENA = 1.15
_PEER = """
import sys, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
given = session.get_inputs()[0]
session.run(None, {given.name: numpy.zeros(given.shape, numpy.float32)})
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def measured(bundle: Bundle) -> dict[str, Any]:
    """Peak memory of one run, and what of it is accounted for."""
    words = [bundle.folder / "runner", bundle.folder, "--json", "--repeat", "3"]
    peak = msgspec.json.decode(subprocess.run(words, capture_output=True, check=True).stdout)["peak_rss_bytes"]
    manifest = bundle.manifest
    held = manifest.arena_bytes + manifest.weights_bytes
    return {
        "peak_rss_bytes": peak,
        "arena_bytes": manifest.arena_bytes,
        "live_bytes": manifest.live_bytes,
        "weights_bytes": manifest.weights_bytes,
        "besides_bytes": peak - held,
        "ok": peak <= held + BESIDES and manifest.arena_bytes <= ARENA * manifest.live_bytes,
    }


def main() -> None:
    """Compress, deploy, run once each."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--models", nargs="+", default=["cas_vit"], help="networks of the zoo")
    parser.add_argument("--recipes", nargs="+", default=["fp32", "w8a8"])
    parser.add_argument("--image-size", type=int, default=224)
    asked = parser.parse_args()
    rows: dict[str, Any] = {}
    for model in asked.models:
        for recipe in asked.recipes:
            small = edgevision.compress(
                model, recipe, data="digits", random_weights=True, image_size=asked.image_size, sensitivity=False,
                limit=8, out=asked.work, overwrite=True, progress=common.progress,
            )  # fmt: skip
            for static in (False, True):
                done = edgevision.deploy(
                    small.folder, target="host", static=static, out=asked.work, overwrite=True, progress=common.progress
                )
                rows[done.bundle.folder.name] = measured(done.bundle)
            rows[f"{small.folder.name} onnxruntime"] = {"peak_rss_bytes": peer(small.folder / "model.onnx")}
    for name, row in rows.items():
        mib = {key: value / 2**20 for key, value in row.items() if key.endswith("_bytes")}
        print(f"{name:44s}", "  ".join(f"{key.removesuffix('_bytes')} {value:.2f} MiB" for key, value in mib.items()))
    common.write(asked.out, "edgevision.bench.memory/1", {"bundles": rows})
    if not all(row.get("ok", True) for row in rows.values()):
        sys.exit(1)


def peer(model: Path) -> int:
    """Peak memory of a Python process that runs `model` in onnxruntime once."""
    done = subprocess.run([sys.executable, "-c", _PEER, model], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


if __name__ == "__main__":
    main()
