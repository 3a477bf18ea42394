"""Seconds from an ONNX graph to a bundle, in a fresh process: with nothing built before, and once more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import progress
from benchmarks.cpu.pieces import Pieces, source_hash
from edgevision import zoo

#: Networks whose build time has a bound, in seconds.
BOUNDS = {"cas_vit_xs": 30.0, "swin_tiny": 60.0}
_SECONDS = 1800


def measured(pieces: Pieces, work: Path) -> dict[str, dict[str, float]]:
    """First and second `edgevision deploy --target host` of each network and recipe the zoo has."""
    found = {}
    for model in BOUNDS:
        if model not in zoo.names():
            continue
        for recipe in ("fp32", "w8a8"):
            inputs = {"source": source_hash()}
            found[f"{model} {recipe}"] = pieces.get(
                f"build-{model}-{recipe}", inputs, lambda m=model, r=recipe: _build(m, r, work / "builds")
            )
    return found


def _build(model: str, recipe: str, out: Path) -> dict[str, float]:
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
