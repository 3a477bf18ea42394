"""The folder that Vitis HLS, Vivado and hw/Makefile work in: the generated header, and vectors for the test bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgevision.engine.execute import run
from edgevision.engine.hardware import fingerprint, header_text
from edgevision.engine.maps import write_image, write_map
from edgevision.engine.network import IntegerNetwork
from edgevision.engine.program import Program, compiled
from edgevision.engine.programfile import to_bytes
from edgevision.engine.validate import validated
from edgevision.files import write_atomic
from edgevision.target import Engine


def write_project(network: IntegerNetwork, engine: Engine, image: np.ndarray, folder: Path) -> None:
    """Write what builds and tests `engine`.

    `after.bin` is made by the reference and not by a simulation: every layer is a call of its own and nothing is
    overwritten, so that the maps hold every tensor at the end.

    Args:
        image: int8 (channels, height, width).

    Raises:
        UsageError, Unsupported: the network does not fit the engine, or the image not the network.
    """
    program = validated(compiled(network, engine, fuse=False, keep=True), engine)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in project_files(program, engine, image, run(network, image)).items():
        write_atomic(folder / name, content)


def project_files(
    program: Program, engine: Engine, image: np.ndarray, tensors: Mapping[str, np.ndarray]
) -> dict[str, bytes]:
    """The files for a program, by name.

    Args:
        image: int8 (channels, height, width).
        tensors: what the program's outputs must be, by name.
    """
    before = np.zeros(program.header.map_bytes, np.uint8)
    write_image(before, program.header, image)
    # Bytes of lanes without a channel are nobody's business.
    after, mask = np.zeros_like(before), np.zeros_like(before)
    for stored in program.header.outputs:
        write_map(after, program.header, stored, tensors[stored.name])
        write_map(mask, program.header, stored, np.full(stored.shape, 255, np.uint8))
    return {
        "engine_config.h": header_text(engine).encode(),
        "engine.tcl": _settings(engine).encode(),
        "program.evengine": to_bytes(program),
        "program.bin": program.words.astype("<u8").tobytes(),
        "before.bin": before.tobytes(),
        "after.bin": after.tobytes(),
        "mask.bin": mask.tobytes(),
    }


def _settings(engine: Engine) -> str:
    """What the Tcl scripts need of the target."""
    return (
        f"set part {engine.part}\nset clock_mhz {engine.clock_mhz}\nset axi_bits {engine.axi_bits}\n"
        f"set fingerprint {fingerprint(engine)}\n"
    )
