"""Bundle a program and run it on the device that can: this machine, or an emulator of its architecture."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from edgevision.bundle import Origin, write
from edgevision.compiler.program import Program
from edgevision.data.preprocess import Preprocessing
from edgevision.device import open_device

ORIGIN = Origin("test", "test", 0, "input", Preprocessing(height=16, width=16))


def run_on(program: Program, image: np.ndarray) -> np.ndarray:
    """Output of `program` for one input, on the default device of its target."""
    device = open_device(program.target.default_device, program.target, timeout=60)
    with tempfile.TemporaryDirectory() as folder:
        device.push(write(program, ORIGIN, Path(folder) / "bundle").folder)
        return device.run(image)
