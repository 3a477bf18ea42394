"""Peak memory of a calibration by the number of its images: each number in a process of its own, on a small network."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np

SIDE, CHANNELS = 64, 16


class Noise:
    """As many images as asked for, made on request, so that only the calibration itself takes memory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def batches(self, batch: int, *, limit: int | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As of a split."""
        rng = np.random.default_rng(0)
        for start in range(0, min(limit or self._count, self._count), batch):
            size = min(batch, self._count - start)
            yield rng.standard_normal((size, 3, SIDE, SIDE)).astype(np.float32), np.zeros(size, np.int64)


def calibrate(images: int, ranges: str) -> dict[str, float]:
    """Quantise a network of four convolutions on so many images; peak resident memory in MiB, and seconds."""
    import resource
    import time

    import torch
    from torch import nn

    from edgevision.compress.quantize import quantize
    from edgevision.data.preprocess import Preprocessing
    from edgevision.graph.export import export
    from edgevision.recipe import Quantize
    from edgevision.zoo.model import InputSpec, Model, Provenance

    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 3, 2, 1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(CHANNELS, CHANNELS, 3, 1, 1), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10)).eval()
    model = Model("chain", InputSpec("input", (1, 3, SIDE, SIDE)), Preprocessing(SIDE, SIDE), Provenance("random"),
                  module=module)  # fmt: skip
    graph = export(model).graph
    began = time.monotonic()
    quantize(graph, Quantize(calibration_images=images, ranges=ranges), Noise(images))  # type: ignore[arg-type]
    return {
        "images": images,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": time.monotonic() - began,
    }


def main() -> None:
    """Measure every number of images, or in a child one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--images", type=int, nargs="+", default=[32, 256, 1024, 4096])
    parser.add_argument("--ranges", default="mse", choices=["min_max", "percentile", "mse", "kl"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(calibrate(asked.images[0], asked.ranges)))
        return
    rows = []
    for images in asked.images:
        command = [sys.executable, __file__, "--child", "--images", str(images), "--ranges", asked.ranges]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{images:6d} images {rows[-1]['peak_mib']:8.1f} MiB {rows[-1]['seconds']:7.1f} s", flush=True)
    growth = rows[-1]["peak_mib"] / rows[0]["peak_mib"] - 1
    print(f"{100 * growth:+.1f} % from {rows[0]['images']} to {rows[-1]['images']} images")
    if asked.out:
        common.write(asked.out, "edgevision.bench.calibration-memory/1", {"rows": rows, "growth": growth})


if __name__ == "__main__":
    main()
