"""AP of CoDeNet with each kind of decoder, over seeds: which spatial convolution finds objects best, at equal budget.

Every run is kept as it ends and resumed where it stopped, so the command may be stopped and given again. The table has
mean and standard error over seeds, and the difference to the ordinary depthwise decoder, paired by seed.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import common
import msgspec
import torch

from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings, default_settings
from edgevision.data import open_detections
from edgevision.data.preprocess import Preprocessing
from edgevision.files import write_atomic
from edgevision.zoo.codenet import VARIANTS, CoDeNet

#: Decoders, from the ordinary convolution to the freest.
DECODERS = ("plain", "square", "bound", "original")


def run(asked: Any, settings: TrainSettings, decoder: str, seed: int) -> dict[str, Any]:
    """Train and measure one network; what is known of it already is read back."""
    name = f"{asked.model}-{decoder}-{asked.data.partition(':')[0]}-{asked.side}-{seed}"
    kept = asked.work / f"{name}.json"
    identity = {"settings": msgspec.to_builtins(settings), "data": asked.data}
    if kept.is_file():
        found = json.loads(kept.read_text())
        if found["identity"] == identity:
            return found
    side = Preprocessing(height=asked.side, width=asked.side)
    dataset = open_detections(asked.data, side)
    torch.manual_seed(seed)
    network = CoDeNet(VARIANTS[asked.model], classes=len(dataset.classes), conv=decoder)
    result = train(
        network, dataset, settings, checkpoint=asked.work / f"{name}.training", resume=True, seed=seed,
        progress=common.progress,
    )  # fmt: skip
    assert result.accuracy is not None
    found = {
        "identity": identity,
        "decoder": decoder,
        "seed": seed,
        "ap50_percent": result.accuracy.percent,
        "images": result.accuracy.total,
        "epochs": len(result.history),
        "loss": result.history[-1].loss,
        "seconds": sum(epoch.seconds for epoch in result.history),
    }
    write_atomic(kept, json.dumps(found).encode())
    return found


def mean_and_error(values: list[float]) -> tuple[float, float | None]:
    """Mean, and its standard error; None of one value.

    >>> mean_and_error([1.0, 3.0])
    (2.0, 1.0)
    """
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Per decoder: mean AP50 and standard error over seeds, and the same of the difference to `plain`, by seed."""
    points = {(row["decoder"], row["seed"]): row["ap50_percent"] for row in rows}
    found: dict[str, Any] = {}
    for decoder in dict.fromkeys(row["decoder"] for row in rows):
        own = {seed: value for (name, seed), value in points.items() if name == decoder}
        mean, error = mean_and_error(list(own.values()))
        found[decoder] = {"ap50_percent": mean, "standard_error": error, "seeds": sorted(own)}
        paired = [value - points["plain", seed] for seed, value in own.items() if ("plain", seed) in points]
        if paired and decoder != "plain":
            mean, error = mean_and_error(paired)
            found[decoder]["over_plain"] = {"points": mean, "standard_error": error}
    return found


def main() -> None:
    """Run every decoder with every seed, then write all rows and their summary."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--data", default="shapes", help="shapes, voc:PATH or coco:PATH")
    parser.add_argument("--model", default="codenet_a", choices=list(VARIANTS))
    parser.add_argument("--side", type=int, default=128, help="height and width of the images in pixels")
    parser.add_argument("--decoders", nargs="+", choices=DECODERS, default=list(DECODERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="passes over the training images; what suits the data without it")
    parser.add_argument("--lr", type=float, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    given = {"epochs": asked.epochs, "lr": asked.lr, "threads": asked.threads}
    chosen = default_settings(asked.model, asked.data)
    settings = msgspec.structs.replace(chosen, **{name: value for name, value in given.items() if value is not None})
    rows: list[dict[str, Any]] = []
    for seed in asked.seeds:
        for decoder in asked.decoders:
            rows.append(run(asked, settings, decoder, seed))
            print(
                f"{decoder:9s} seed {seed}: AP50 {rows[-1]['ap50_percent']:.2f} % of {rows[-1]['images']}", flush=True
            )
    result = {"data": asked.data, "model": asked.model, "side": asked.side, "rows": rows, "summary": summary(rows)}
    common.write(Path(asked.out), "edgevision.bench.detectors/1", result)


if __name__ == "__main__":
    main()
