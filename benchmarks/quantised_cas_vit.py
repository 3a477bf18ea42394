"""CAS-ViT XS on photographs: float, 8 bits after training, 4 bits trained, and the front of bits layer by layer.

Goes on where it was stopped: the training after its last epoch, and every network that was compressed is kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import edgevision
from benchmarks import common
from benchmarks.surrogate.pieces import piece
from edgevision.compress.compressed import Compressed
from edgevision.errors import AccuracyMissed
from edgevision.workspace import Workspace

MODEL = "cas_vit_xs"


def main() -> None:
    """Train, compress in every way, and write accuracies, bytes and the front."""
    asked = _flags().parse_args()
    identity = {"data": asked.data, "epochs": asked.epochs, "size": asked.image_size, "seed": asked.seed}
    trained = piece(asked.work, "float", identity, lambda: _trained(asked))
    identity |= {"limit": asked.limit}
    qat_epochs = max(1, round(asked.qat_share * asked.epochs))
    rows: dict[str, Any] = {
        "fp32": piece(asked.work, "fp32", identity, lambda: _row(_compressed(asked, "fp32"))),
        "w8a8": piece(
            asked.work, "w8a8", identity, lambda: _row(_compressed(asked, "w8a8", full_sensitivity=asked.full))
        ),
        "w4a8-qat": piece(
            asked.work, "w4a8-qat", identity | {"qat_epochs": qat_epochs},
            lambda: _row(_compressed(asked, "w4a8-qat", epochs=qat_epochs)),
        ),
    }  # fmt: skip
    points: dict[str, Any] = {}
    for drop in asked.drops:
        found = piece(asked.work, f"mixed-{drop:g}", identity | {"drop": drop}, lambda d=drop: _mixed(asked, d))
        rows[f"mixed, {drop:g} points"] = found["row"]
        points |= found["points"]
    result = {
        "identity": identity,
        "training": trained,
        "qat_epochs": qat_epochs,
        "rows": rows,
        "front": front(list(points.values())),
    }
    for name, row in rows.items():
        print(f"{name:20s} {row['accuracy_percent']:6.2f} % {row['weight_bytes']:>9d} bytes")
    common.write(asked.out, "edgevision.bench.quantised_cas_vit/1", result)


def front(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points no other is smaller and at least as accurate than, the smallest first.

    >>> kept = front([{"weight_bytes": b, "accuracy_percent": a} for b, a in ((8, 90.0), (4, 70.0), (6, 60.0))])
    >>> [point["weight_bytes"] for point in kept]
    [4, 8]
    """
    kept: list[dict[str, Any]] = []
    for point in sorted(points, key=lambda p: (p["weight_bytes"], -p["accuracy_percent"])):
        if not kept or point["accuracy_percent"] > kept[-1]["accuracy_percent"]:
            kept.append(point)
    return kept


def _trained(asked: argparse.Namespace) -> dict[str, Any]:
    done = edgevision.train(
        MODEL, asked.data, out=asked.work, epochs=asked.epochs, image_size=asked.image_size, seed=asked.seed,
        resume=True, progress=common.progress,
    )  # fmt: skip
    return {
        "accuracy_percent": done.accuracy.percent if done.accuracy else None,
        "seconds_of_the_last_run": done.seconds,
    }


def _compressed(asked: argparse.Namespace, recipe: str, **more: Any) -> Compressed:
    try:
        return edgevision.compress(
            MODEL, recipe, data=asked.data, out=asked.work, image_size=asked.image_size, limit=asked.limit,
            seed=asked.seed, overwrite=True, resume=True, progress=common.progress,
            **{"sensitivity": False, **more},
        )  # fmt: skip
    except AccuracyMissed as missed:
        # The best point is written, and is what the front is for.
        print(missed, file=sys.stderr)
        return Compressed.load(Workspace(asked.work).compressed(MODEL, asked.data, recipe))


def _row(made: Compressed) -> dict[str, Any]:
    last = made.info.ledger[-1]
    return {
        "accuracy_percent": last.accuracy_after,
        "weight_bytes": last.weight_bytes,
        "images": made.info.evaluated_images,
        "seconds": sum(entry.seconds for entry in made.info.ledger),
        "worst_layers": [row.layer for row in made.info.sensitivity[:3]],
    }


def _mixed(asked: argparse.Namespace, drop: float) -> dict[str, Any]:
    made = _compressed(asked, "mixed", max_drop=drop)
    found = made.info.mixed
    assert found is not None
    points = {
        f"{point.name} of {drop:g}" if point.name.startswith("noise") else point.name: {
            "name": point.name,
            "accuracy_percent": point.accuracy,
            "weight_bytes": point.weight_bytes,
            "layers": {str(bits): sum(b == bits for b in point.bits.values()) for bits in (4, 8, 32)},
        }
        for point in found.points
    }
    return {"row": _row(made) | {"met": found.met}, "points": points}


def _flags() -> argparse.ArgumentParser:
    parser = common.flags(__doc__ or "")
    parser.add_argument("--data", required=True, help="folder:cifar10.tar.gz, or another set of labelled images")
    parser.add_argument(
        "--epochs", type=int, default=36, help="of the float network: an hour on two cores for CIFAR-10"
    )
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--qat-share", type=float, default=0.1, help="epochs in 4 bits, as a share of those in float")
    parser.add_argument("--drops", type=float, nargs="*", default=[0.25, 0.5, 1.0, 2.0], help="bounds of the front")
    parser.add_argument("--limit", type=int, help="test images; all without it")
    parser.add_argument("--full", action="store_true", help="rank the layers of w8a8 both ways too")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
