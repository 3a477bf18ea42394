"""The runner executable of a bundle as a process on this machine, started directly or by an emulator."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgevision.bundle.bundle import Bundle
from edgevision.device.answer import Answer, raise_failure, raise_timeout, read_answer
from edgevision.device.samples import outputs_of, samples_of


def run_samples(
    bundle: Bundle, inputs: np.ndarray, *, name: str, prefix: Sequence[str] = (), timeout: float
) -> np.ndarray:
    """Run the bundle on every sample of `inputs` in one process.

    Args:
        prefix: words before the runner: an emulator and its flags.

    Raises:
        EdgeVisionError: what the runner says, see `answer.raise_failure`; `DeviceError` after `timeout` seconds.
    """
    samples = samples_of(inputs, bundle.manifest)
    with tempfile.TemporaryDirectory(prefix="edgevision-") as scratch:
        given, result = Path(scratch, "input.bin"), Path(scratch, "output.bin")
        samples.tofile(given)
        start(bundle, ["--input", str(given), "--output", str(result)], name=name, prefix=prefix, timeout=timeout)
        return outputs_of(result.read_bytes(), len(samples), bundle.manifest.outputs[0], where=name)


def timing_flags(bundle: Bundle, n: int, *, warmup: int, threads: int, per_step: bool) -> list[str]:
    """Flags of a timed run of `n` repeats; the first golden input is the image, zeros where there is none."""
    flags = ["--threads", str(threads), "--warmup", str(warmup), "--repeat", str(n)]
    if bundle.manifest.golden:
        flags += ["--input", bundle.manifest.golden[0].input]
    return [*flags, "--steps"] if per_step else flags


def start(bundle: Bundle, flags: Sequence[str], *, name: str, prefix: Sequence[str] = (), timeout: float) -> Answer:
    """Start the runner in the bundle's folder and wait for its answer."""
    where = f"{name}, {bundle.folder}"
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [*prefix, "./runner", ".", "--json", *flags],
            cwd=bundle.folder,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise_timeout("the run", where=where, elapsed=time.monotonic() - begun, limit=timeout)
    except OSError as error:
        raise_failure(126, str(error), where=where)
    if done.returncode:
        raise_failure(done.returncode, done.stderr.decode(errors="replace"), where=where)
    return read_answer(done.stdout, where=where)
