"""`python -m benchmarks.surrogate --out build/bench/surrogate.json`: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import msgspec

from benchmarks import common
from benchmarks.surrogate.deployed import deployed
from benchmarks.surrogate.pieces import piece
from benchmarks.surrogate.solver import solver_costs
from benchmarks.surrogate.step_time import step_times
from benchmarks.surrogate.summary import against_solver, summary, table
from benchmarks.surrogate.training import DENSE, settings_identity, train_and_judge
from edgevision.compress.train_settings import TrainSettings, default_settings, fitted
from edgevision.data.open import open_set
from edgevision.data.wave import WaveSet
from edgevision.device import facts

#: What there is to measure; each can be asked for alone, and what was finished before is taken as it is.
PARTS = ("training", "deployed", "solver", "step")


def main() -> None:
    """Train every form with every seed, measure, and write everything with the figures that count."""
    asked = _flags().parse_args()
    warnings.filterwarnings("ignore")
    data = open_set(asked.data, progress=common.progress)
    if not isinstance(data, WaveSet):
        raise SystemExit("expected --data wave or wave:FILE.toml")
    settings = fitted(default_settings("wave_net", asked.data), len(data.split("train")))
    settings = msgspec.structs.replace(settings, epochs=asked.epochs or settings.epochs, threads=asked.threads)
    result: dict[str, Any] = {
        "facts": facts.parse(facts.read_local()),
        "data": msgspec.to_builtins(data.waves),
        "settings": msgspec.to_builtins(settings),
    }
    result |= measured(asked, data, settings)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    common.write(asked.out, "edgevision.bench.surrogate/1", result)
    print(table(result))


def measured(asked: argparse.Namespace, data: WaveSet, settings: TrainSettings) -> dict[str, Any]:
    """The parts asked for, and of those finished earlier what goes with them."""
    forms, found = (DENSE, *asked.forms), {}
    if "training" in asked.only:
        runs: dict[str, list[dict[str, Any]]] = {form: [] for form in forms}
        for seed in asked.seeds:
            for form in forms:
                folder = asked.work / f"seed{seed}"
                runs[form].append(
                    piece(asked.work, f"{form}-{seed}", settings_identity(settings, data, form, seed),
                          lambda f=form, s=seed, w=folder: train_and_judge(f, data, settings, s, w, common.progress))
                )  # fmt: skip
        found |= {"runs": runs, "summary": summary(runs)}
    if "step" in asked.only:
        identity = {"forms": forms, "rounds": asked.rounds, "data": data.sha256}
        found["training_step"] = piece(
            asked.work, "step", identity, lambda: step_times(forms, data, settings, asked.rounds)
        )
    if "solver" in asked.only:
        identity = {"trajectories": asked.solver_trajectories, "data": data.sha256}
        found["solver"] = piece(asked.work, "solver", identity, lambda: solver_costs(data, asked.solver_trajectories))
    if "deployed" in asked.only:
        first, on_board = asked.work / f"seed{asked.seeds[0]}", {}
        for form in forms:
            identity = settings_identity(settings, data, form, asked.seeds[0]) | {"seconds": asked.seconds}
            on_board |= piece(
                asked.work, f"deployed-{form}", identity,
                lambda f=form: deployed(f, asked.data, first, asked.seconds, common.progress),
            )  # fmt: skip
        found["deployed"] = on_board
    if "solver" in found and "deployed" in found:
        found["times_faster_than_solver"] = against_solver(found["solver"], found["deployed"])
    return found


def _flags() -> argparse.ArgumentParser:
    parser = common.flags("The wave surrogate, dense and factorized before training, and the solver.")
    parser.add_argument("--data", default="wave", help="wave or wave:FILE.toml")
    parser.add_argument(
        "--forms", nargs="*", default=["tensor-r1", "tensor-r4", "tensor-auto"], help="recipes that factorize"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure; all without it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="of every training; what suits the data without it")
    parser.add_argument("--threads", type=int, help="of torch in training")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of every deployed network")
    parser.add_argument("--rounds", type=int, default=20, help="training steps timed of every form")
    parser.add_argument(
        "--solver-trajectories", type=int, default=8, help="trajectories the solver's error is taken on"
    )
    return parser


if __name__ == "__main__":
    main()
