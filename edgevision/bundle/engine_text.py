"""engine.txt and layers.txt, written from a program: the format is in FORMAT.md, the strict reader is engine_plan.c."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from edgevision.engine.checks import tensors_of
from edgevision.engine.network import IntegerNetwork
from edgevision.engine.program import Program, Stored
from edgevision.engine.programfile import to_bytes
from edgevision.target import Target

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Bitfile:
    """What the runner needs to know of a bitstream: words for the FPGA manager, and where the registers are."""

    words: bytes = b""
    registers: tuple[int, int] = (0, 0)


def engine_text(program: Program, network: IntegerNetwork, target: Target, name: str, bitfile: Bitfile) -> str:
    """The text for the program in file `name`; outputs of the network are real numbers, other tensors bytes."""
    header, content = program.header, to_bytes(program)
    lines = [
        f"edgevision-engine {FORMAT_VERSION}",
        f"arch {target.arch}",
        f"bitstream {header.engine} {len(bitfile.words)} {_sha256(bitfile.words) if bitfile.words else '0' * 64}",
        f"registers {bitfile.registers[0]} {bitfile.registers[1]}",
        f"program {name} {len(content)} {_sha256(content)} {len(content) - 8 * header.words} {header.words}",
        f"calls {len(header.calls)} {' '.join(str(call.count) for call in header.calls)}",
        f"lanes {header.lanes}",
        f"maps {header.map_bytes}",
        f"image {header.image.cells} {header.image.outside + 128} {_stored(header.image.stored, network, real=True)}",
        f"outputs {len(header.outputs)}",
    ]
    # A program that keeps more than the network's outputs is for comparison, byte by byte.
    real = len(header.outputs) == len(set(network.header.outputs))
    lines += [f"output {_stored(stored, network, real=real)}" for stored in header.outputs]
    return "\n".join([*lines, "end", ""])


def _stored(stored: Stored, network: IntegerNetwork, *, real: bool) -> str:
    group = tensors_of(network.header)[stored.name].group
    scale, zero = (1.0, 0) if group is None else (network.header.groups[group].scale, network.header.groups[group].zero)
    planes = " ".join(f"{address} {int(twice)}" for address, twice in stored.planes)
    channels = " ".join(f"{plane} {lane}" for plane, lane in stored.channels)
    shape = " ".join(map(str, stored.shape))
    # Hexadecimal, so that the very same float arrives.
    return (
        f"{shape} {'real' if real else 'raw'} {zero + 128} {float(scale).hex()} "
        f"planes {len(stored.planes)} {planes} channels {channels}"
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
