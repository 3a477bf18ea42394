"""`python -m benchmarks.ranks --network plain --data folder:cifar10.tar.gz --work DIR --out ranks.json`.

A dense network trained for `--epochs`, then every arm for `--more`: the dense one goes on, a posteriori arms go on from
its kernels in factors, and a priori arms start from fresh factors and train for both. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
import safetensors.torch
import torch
from torch import nn

from benchmarks import common
from benchmarks.ranks.networks import NETWORKS, after_training, before_training, network
from benchmarks.surrogate.pieces import piece
from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings, default_settings, fitted
from edgevision.data.dataset import DataSet
from edgevision.data.open import open_data
from edgevision.data.preprocess import Preprocessing
from edgevision.files import write_atomic

DENSE, BEFORE, AFTER = "dense", "a priori", "a posteriori"


def main() -> None:
    """Train every arm with every seed and write accuracies and parameters."""
    asked = _flags().parse_args()
    usual = open_data(asked.data).default_preprocessing
    data = open_data(asked.data, Preprocessing(32, 32, mean=usual.mean, std=usual.std))
    asked.work.mkdir(parents=True, exist_ok=True)
    runs = [
        run
        for seed in asked.seeds
        for run in (
            _arm(asked, data, DENSE, 0, seed),
            *(_arm(asked, data, kind, rank, seed) for kind in (BEFORE, AFTER) for rank in asked.ranks),
        )
    ]
    common.write(asked.out, "edgevision.bench.ranks/1", {"network": asked.network, "runs": runs})
    print("\n".join(table(runs)))


def _arm(asked: argparse.Namespace, data: DataSet, kind: str, rank: int, seed: int) -> dict[str, Any]:
    name = f"{asked.network}-{kind.replace(' ', '-')}-{rank}-{seed}"
    settings = _settings(asked, data, asked.epochs + asked.more if kind == BEFORE else asked.more)
    identity = {"settings": msgspec.to_builtins(settings), "data": data.sha256, "dense_epochs": asked.epochs}
    result = piece(asked.work, name, identity, lambda: _made(asked, data, kind, rank, seed, settings, name))
    print(f"{name}: {result['top1_percent']:.2f} %", file=sys.stderr, flush=True)
    return {"kind": kind, "rank": rank, "seed": seed, **result}


def _made(
    asked: argparse.Namespace, data: DataSet, kind: str, rank: int, seed: int, settings: TrainSettings, name: str
) -> dict[str, Any]:
    start = network(asked.network, len(data.classes), seed)
    dense = sum(p.numel() for p in start.parameters())
    if kind == BEFORE:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            start = before_training(start, rank)
    else:
        start = _first(asked, data, start, seed)
        start = after_training(start, rank) if kind == AFTER else start
    checkpoint = asked.work / f"{name}.training"
    done = train(start, data, settings, checkpoint=checkpoint, resume=True, seed=seed, progress=common.progress)
    checkpoint.unlink(missing_ok=True)
    parameters = sum(p.numel() for p in done.module.parameters())
    accuracy = done.accuracy
    if accuracy is None:
        raise SystemExit(f"{data.spec} has no test split to judge by")
    return {"top1_percent": accuracy.percent, "parameters": parameters, "parameters_over_dense": parameters / dense,
            "seconds": sum(epoch.seconds for epoch in done.history)}  # fmt: skip


def _first(asked: argparse.Namespace, data: DataSet, fresh: nn.Module, seed: int) -> nn.Module:
    """The dense network after `--epochs`, trained once for all arms of a seed."""
    path = asked.work / f"{asked.network}-first-{asked.epochs}-{seed}.safetensors"
    checkpoint = path.with_suffix(".training")
    if path.is_file():
        fresh.load_state_dict(safetensors.torch.load_file(path))
        return fresh
    settings = _settings(asked, data, asked.epochs)
    done = train(
        fresh, data, settings, checkpoint=checkpoint, resume=True, seed=seed, evaluate=False, progress=common.progress
    )
    state = {key: value.contiguous() for key, value in done.module.state_dict().items()}
    write_atomic(path, safetensors.torch.save(state))
    checkpoint.unlink(missing_ok=True)
    return done.module


def _settings(asked: argparse.Namespace, data: DataSet, epochs: int) -> TrainSettings:
    usual = default_settings(asked.network, asked.data)
    made = msgspec.structs.replace(
        usual, epochs=epochs, sizes=(), size_epochs=0, drop_path=0.0, ema_decay=0.99, threads=asked.threads,
        warmup_epochs=min(usual.warmup_epochs, epochs / 4),
    )  # fmt: skip
    return fitted(made, len(data.split("train")))


def table(runs: list[dict[str, Any]]) -> list[str]:
    """Markdown: mean top-1 over seeds of each arm, its parameters, and what it loses to dense."""
    arms: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs:
        arms.setdefault((run["kind"], run["rank"]), []).append(run)
    means = {arm: sum(run["top1_percent"] for run in own) / len(own) for arm, own in arms.items()}
    made = ["| factors | rank | parameters / dense | top-1, % | to dense, points |", "|---|---:|---:|---:|---:|"]
    for (kind, rank), own in arms.items():
        mean, share = means[kind, rank], own[0]["parameters_over_dense"]
        made.append(f"| {kind} | {rank or '-'} | {share:.3f} | {mean:.2f} | {mean - means[DENSE, 0]:+.2f} |")
    return made


def _flags() -> argparse.ArgumentParser:
    parser = common.flags("Accuracy against parameters of factorized networks.")
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--data", required=True, help="digits, or folder:PATH with train and test")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20, help="of the dense network before it is taken apart")
    parser.add_argument("--more", type=int, default=10, help="of every arm after that; a priori arms train for both")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.set_defaults(work=Path("build/bench/ranks"))
    return parser


if __name__ == "__main__":
    main()
