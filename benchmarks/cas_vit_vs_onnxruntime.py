"""Latency of CAS-ViT XS at 224x224, fp32 and w8a8, against onnxruntime on the same graphs, in turns."""

from __future__ import annotations

import common
import msgspec

import edgevision


def main() -> None:
    """Compress, deploy and profile; random weights, because latency does not depend on them."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--model", default="cas_vit", help="a network of the zoo")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured time per engine")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    for recipe in ("fp32", "w8a8"):
        small = edgevision.compress(
            asked.model, recipe, data="digits", random_weights=True, image_size=asked.image_size, sensitivity=False,
            limit=16, out=asked.work, overwrite=True, progress=common.progress,
        )  # fmt: skip
        edgevision.deploy(small.folder, target="host", out=asked.work, overwrite=True, progress=common.progress)
    profiles = []
    for threads in asked.threads:
        done = edgevision.profile(
            every=True, against=["onnxruntime"], threads=threads, seconds=asked.seconds, limit=16, out=asked.work,
            progress=common.progress,
        )  # fmt: skip
        profiles.append(msgspec.to_builtins(done.profile))
        for engine in done.profile.engines:
            median = engine.latency.median
            print(f"{threads} threads  {engine.name:18s} {median.value:8.3f} ms  [{median.low:.3f}, {median.high:.3f}]")
    common.write(asked.out, "edgevision.bench.latency/1", {"profiles": profiles})


if __name__ == "__main__":
    main()
