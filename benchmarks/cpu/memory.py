"""Memory of a running network: our runner as a process, next to the other runtimes' processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import progress
from benchmarks.cpu import bundles
from benchmarks.cpu.prepare import Prepared
from edgevision.bundle import load
from edgevision.device import executable

RUNTIMES = ("onnxruntime", "openvino")
_SECONDS = 300


def measured(made: Prepared, work: Path) -> dict[str, dict[str, Any]]:
    """Peak resident bytes by kind and runtime, one thread.

    Ours is the C runner; "beyond_bytes" is what it needs on top of arena and weights. The others are Python processes;
    "above_python_bytes" is their peak without what Python and numpy take alone.
    """
    graphs = {"fp32": made.plain, "int8": made.ours}
    python = _child("none", made.plain)
    found: dict[str, dict[str, Any]] = {}
    for kind, built in bundles.every_kind(made, work).items():
        bundle = load(built.folder)
        manifest = bundle.manifest
        flags = executable.timing_flags(bundle, 3, warmup=0, threads=1, per_step=False)
        peak = executable.start(bundle, flags, name="host", timeout=_SECONDS).peak_rss_bytes
        needed = manifest.arena_bytes + manifest.weights_bytes
        found[f"edgevision {kind}"] = {
            "peak_bytes": peak,
            "arena_bytes": manifest.arena_bytes,
            "live_bound_bytes": manifest.live_bytes,
            "weights_bytes": manifest.weights_bytes,
            "beyond_bytes": None if peak is None else peak - needed,
        }
        for runtime in RUNTIMES:
            peak = _child(runtime, graphs[kind])
            found[f"{runtime} {kind}"] = {"peak_bytes": peak, "above_python_bytes": peak - python}
        progress(f"memory {built.folder.name}", 1, 1)
    return found


def _child(runtime: str, path: Path | None) -> int:
    words = [sys.executable, "-m", "benchmarks.cpu.resident", runtime, str(path), "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=True)
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])
