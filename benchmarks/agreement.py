"""Largest difference between torch, ONNX, the compiled host program and both ARM programs under qemu."""

from __future__ import annotations

from pathlib import Path

import common
import numpy as np
import torch

import edgevision
from edgevision import zoo
from edgevision.compress.session import predictor
from edgevision.data import open_data
from edgevision.device import open_device
from edgevision.graph import reference

TARGETS = ("host", "rpi4", "zynq7020-ps")


def main() -> None:
    """Compare every pair's outputs with torch (fp32) or with the numpy integer reference (w8a8)."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--weights", type=Path, help="trained weights; random ones without")
    parser.add_argument("--images", type=int, default=8)
    asked = parser.parse_args()
    table = {}
    for recipe in ("fp32", "w8a8"):
        small = edgevision.compress(
            "cas_vit", recipe, data="digits", weights=asked.weights, random_weights=asked.weights is None,
            sensitivity=False, limit=1, out=asked.work, overwrite=True, progress=common.progress,
        )  # fmt: skip
        split = open_data("digits", small.info.preprocessing).split("test")
        images = next(iter(split.batches(asked.images)))[0]
        outputs = {"onnxruntime": predictor(small.graph())(images)}
        if recipe == "fp32":
            outputs["reference"] = in_torch(asked.weights, split.preprocessing.height, images)
        else:
            graph = small.graph()
            outputs["reference"] = np.concatenate([reference.run(graph, image[None])[0] for image in images])
        for target in TARGETS:
            built = edgevision.deploy(
                small.folder, target=target, static=target != "host", out=asked.work, overwrite=True,
                progress=common.progress,
            )  # fmt: skip
            manifest = built.bundle.manifest
            device = open_device(manifest.target.default_device, manifest.target, timeout=600)
            device.push(built.bundle.folder)
            outputs[f"{target} on {device.name}"] = device.run(images)
        expected = outputs.pop("reference")
        table[recipe] = {
            "compared_with": "torch" if recipe == "fp32" else "numpy integer reference",
            "largest_output": float(np.abs(expected).max()),
            "max_abs_error": {name: float(np.abs(got - expected).max()) for name, got in outputs.items()},
            "equal_bits": {name: bool((got == expected).all()) for name, got in outputs.items()},
        }
        for name, error in table[recipe]["max_abs_error"].items():
            print(f"{recipe:5s} {name:32s} {error:.3e}{'  equal' if table[recipe]['equal_bits'][name] else ''}")
    common.write(asked.out, "edgevision.bench.agreement/1", {"images": asked.images, "recipes": table})


def in_torch(weights: Path | None, size: int, images: np.ndarray) -> np.ndarray:
    """The unfolded network in torch: the independent end of the chain."""
    classes = tuple(str(digit) for digit in range(10))
    model = zoo.load_model("cas_vit", classes=classes, weights=weights or "random", image_size=size)
    if model.module is None:
        raise TypeError("a network of the zoo has a torch module")
    with torch.inference_mode():
        return model.module(torch.from_numpy(images)).numpy()


if __name__ == "__main__":
    main()
