"""`python -m benchmarks.predict --out build/bench/predict.json`: see benchmarks/README.md."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import common
from benchmarks.cpu.bundles import Built, every_kind
from benchmarks.cpu.catalogue import Network
from benchmarks.cpu.networks import protocol_of
from benchmarks.cpu.pieces import Pieces
from benchmarks.cpu.prepare import prepared
from benchmarks.predict.cases import case, summary
from edgevision import target
from edgevision.compiler.objects import generators
from edgevision.device import facts
from edgevision.device.host import HostDevice
from edgevision.files import sha256_of
from edgevision.machine import resolve
from edgevision.profile import calibration
from edgevision.profile.calibrate import calibrate

#: None of them is among the networks a device is calibrated on, which are made up.
UNSEEN = ("cas_vit_s", "deit_small", "swin_tiny", "mobilenet_v2", "resnet18", "efficientnet_lite0")


def main() -> None:
    """Calibrate this machine where that was not done, then measure every case next to its prediction."""
    parser = common.flags("Predicted against measured latency on networks the model has not seen.")
    parser.add_argument("--models", nargs="+", default=list(UNSEEN))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of a case")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    host, before = resolve(target.load("host")), facts.parse(facts.read_local())
    cases: dict[str, dict[str, Any]] = {}
    lines: dict[str, Any] = {}
    for threads in asked.threads:
        path = calibration.place(host, threads)
        model = calibrate(HostDevice(), host, path, threads=threads, progress=common.progress)
        lines[str(threads)] = msgspec.to_builtins(model.roofline())
        inputs = {"calibration": sha256_of(path), "kernels": generators(), "seconds": asked.seconds}
        for name in asked.models:
            for kind, built in every_kind(prepared(Network(name), asked.work, None), asked.work).items():
                what = f"{name} {kind}, {threads} thread{'s' if threads > 1 else ''}"
                cases[what] = _piece(
                    asked.work, what, inputs, built, partial(case, built, model, threads), asked.seconds
                )
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    common.write(
        asked.out,
        "edgevision.bench.predict/1",
        {"facts_before": before, "facts_after": facts.parse(facts.read_local()), "rooflines": lines, "cases": cases,
         "summary": summary(cases)},
    )  # fmt: skip


def _piece(work: Path, what: str, inputs: dict[str, Any], built: Built, make: Any, seconds: float) -> dict[str, Any]:
    known = inputs | {"plan": sha256_of(built.folder / "plan.txt")}
    found = Pieces(work / "pieces").get(what, known, lambda: make(protocol_of(seconds)))
    steps = found["steps"]
    common.progress(
        f"{what}:", 1, 1,
        f"predicted {found['predicted_ms']:.3g} ms, measured {found['measured_ms']:.3g} ms ({found['error']:+.1%}); "
        f"steps: mean error {steps['mape']:.0%}, {steps['within_10']:.0%} within 10 %",
    )  # fmt: skip
    return dict(found)


if __name__ == "__main__":
    main()
