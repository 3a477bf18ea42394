"""The surrogate as it is deployed: latency of the bundle on this machine, and its fit there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.surrogate.training import DENSE
from edgevision import api
from edgevision.errors import EdgeVisionError
from edgevision.progress import Progress

#: What is done to the weights of a form before they are deployed.
AFTER = ("fp32", "w8a8")


def deployed(form: str, data: str, out: Path, seconds: float, progress: Progress) -> dict[str, Any]:
    """Compress the weights in `out`, build for this machine and measure; what cannot be is said under "failed"."""
    found: dict[str, Any] = {}
    for after in AFTER:
        recipe = after if form == DENSE else form if after == "fp32" else f"{form}+{after}"
        try:
            small = api.compress(
                "wave_net", recipe, data=data, out=out, sensitivity=False, overwrite=True, progress=progress
            )
            bundle = api.deploy(small.folder, "host", run=True, out=out, overwrite=True, progress=progress).bundle
            done = api.profile([bundle.folder], threads=1, seconds=seconds, out=out, progress=progress).profile
        except EdgeVisionError as error:
            found[recipe] = {"failed": str(error)}
            continue
        engine = done.engines[0]
        found[recipe] = {
            "milliseconds": engine.latency.median.value,
            "milliseconds_95": [engine.latency.median.low, engine.latency.median.high],
            "fit_percent": engine.accuracy.value if engine.accuracy else None,
            "size_bytes": engine.size_bytes,
            "flags": list(done.flags),
        }
    return found
