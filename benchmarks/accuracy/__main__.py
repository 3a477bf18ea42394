"""`python -m benchmarks.accuracy --network vit --data folder:cifar10.tar.gz --work build/accuracy/vit --out vit.json`.

Goes on where it was stopped: finished arms are files of the work folder, interrupted ones go on after their last epoch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from benchmarks.accuracy.arms import ARMS
from benchmarks.accuracy.networks import NETWORKS
from benchmarks.accuracy.run import Experiment
from benchmarks.accuracy.table import lines
from edgevision.files import write_atomic

_MAIN = ("sign", "sab", "sab+pws", "sab+pws-no-row-scale", "bivit")


def main() -> None:
    """Run the arms asked for and write their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=sorted(NETWORKS), required=True)
    parser.add_argument("--data", required=True, help="digits, or folder:PATH with train and test")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is finished")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all results")
    parser.add_argument("--arms", nargs="+", choices=["float", "w8a8", *ARMS], default=["float", "w8a8", *_MAIN])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--float-epochs", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=2, help="of each arm, over its stages")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()

    def told(what: str, done: int, total: int, detail: str = "") -> None:
        print(f"\r{what} {done}/{total} {detail}", end="", file=sys.stderr, flush=True)

    experiment = Experiment(
        asked.network, asked.data, asked.work, asked.float_epochs, asked.epochs, asked.lr, asked.threads, told
    )
    results = []
    for name in asked.arms:
        for seed in asked.seeds if name in ARMS else [0]:
            results.append(experiment.arm(name, seed))
            print(f"\n{name} seed {seed}: {results[-1].top1_percent:.2f} %", file=sys.stderr)
    write_atomic(asked.out, msgspec.json.format(msgspec.json.encode(results), indent=2))
    print("\n".join(lines(results)))


if __name__ == "__main__":
    main()
