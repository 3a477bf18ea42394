"""Seconds from an ONNX graph to a bundle, in a fresh process: with nothing built before, and once more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import progress
from edgevision import zoo

#: Networks whose build time has a bound, in seconds.
BOUNDS = {"cas_vit_xs": 30.0, "swin_tiny": 60.0}
_SECONDS = 1800


def known() -> list[tuple[str, str]]:
    """Model and recipe of each build that is timed: those of `BOUNDS` the zoo has."""
    return [(model, recipe) for model in BOUNDS if model in zoo.names() for recipe in ("fp32", "w8a8")]


def measured(model: str, recipe: str, out: Path) -> dict[str, float]:
    """First and second `edgevision deploy --target host`; starting Python and importing TVM are in both."""
    name = f"{model}-{recipe}"
    cache = out / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    _edgevision(
        "compress", "--model", model, "--recipe", recipe, "--data", "digits", "--random-weights", "--limit", "1",
        "--no-sensitivity", out=out, cache=cache,
    )  # fmt: skip
    artefact = max((out / "compressed").iterdir(), key=lambda path: path.stat().st_mtime_ns).name
    seconds = {}
    for what in ("first", "second"):
        start = time.perf_counter()
        _edgevision("deploy", artefact, "--target", "host", out=out, cache=cache)
        seconds[what] = time.perf_counter() - start
    progress(f"deploy {name}", 1, 1, f"{seconds['first']:.1f} s, then {seconds['second']:.1f} s")
    return seconds


def _edgevision(*words: str, out: Path, cache: Path) -> None:
    # A cache of its own, so that the first build is a first build whatever this user built before.
    environment = {**os.environ, "EDGEVISION_CACHE": str(cache.resolve())}
    command = [sys.executable, "-m", "edgevision", *words, "--out", str(out), "--overwrite", "--quiet"]
    subprocess.run(command, env=environment, timeout=_SECONDS, check=True, stdout=subprocess.DEVNULL)
