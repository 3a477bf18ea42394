"""The engine's own sources as a program of this machine: its C simulation, built once and kept in the cache.

The processes take turns over bounded FIFOs, so a program that would hang the hardware is reported as a deadlock.
Nothing it shows is a time on a device.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgevision.cache import Cache
from edgevision.engine.hardware import fingerprint, header_text
from edgevision.engine.maps import read_map, write_image
from edgevision.engine.program import Program
from edgevision.errors import Mismatch, ToolMissing, Unsupported
from edgevision.resources import shipped
from edgevision.target import Engine

# Hidden: statics of inline functions are otherwise one for all engines that a process has loaded, whatever their size.
_FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-DENGINE_CSIM",
    "-Wno-unknown-pragmas", "-Wno-attributes",
)  # fmt: skip
_SOURCES = ("engine/engine.cpp", "csim/csim.cpp", "csim/processes.cpp")
_REPORT_BYTES = 1 << 16


@dataclass(frozen=True)
class StreamUse:
    """A FIFO of the engine: its depth, the most that was ever in it, and how much went through."""

    name: str
    depth: int
    largest: int
    moved: int


@dataclass(frozen=True)
class PortUse:
    """A memory port of the engine: bursts (those across 4 KiB count twice), beats, longest burst in beats.

    Attributes:
        ahead: most bursts that were asked for and not yet read, or not yet answered; None where nobody counts them.
    """

    name: str
    bursts: int
    beats: int
    longest: int
    ahead: int | None = None


@dataclass(frozen=True)
class Simulated:
    """What a run gave: tensors (channels, height, width) by name, and what FIFOs and ports saw."""

    tensors: dict[str, np.ndarray] = field(repr=False)
    streams: tuple[StreamUse, ...]
    ports: tuple[PortUse, ...]
    calls: int


def run(program: Program, engine: Engine, image: np.ndarray) -> Simulated:
    """Run `program` on one int8 image (channels, height, width).

    Raises:
        UsageError: the image is not what the program takes.
        Unsupported: the program was made for another engine.
        ToolMissing: no C++ compiler, or no ap_int headers.
        Mismatch: a deadlock, an access outside the memory, or data nobody reads.
    """
    if program.header.engine != fingerprint(engine):
        raise Unsupported(
            f"the program is for engine {program.header.engine}, this one is {fingerprint(engine)}",
            fix="compile the network for this target",
        )
    memory = np.zeros(program.header.map_bytes, np.uint8)
    write_image(memory, program.header, image)
    said = execute(program.words, engine, memory)
    tensors = {stored.name: read_map(memory, program.header, stored) for stored in program.header.outputs}
    return _simulated(tensors, said)


def execute(words: np.ndarray, engine: Engine, memory: np.ndarray) -> str:
    """Run words on a region of feature maps, uint8, which is changed; what the simulation reports, line by line.

    Raises:
        ToolMissing, Mismatch: as of `run`.
    """
    with loaded(engine) as library:
        words, text = np.ascontiguousarray(words, np.uint64), ctypes.create_string_buffer(_REPORT_BYTES)
        failed = library.edgevision_csim(
            words.ctypes.data_as(ctypes.c_void_p), len(words), memory.ctypes.data_as(ctypes.c_void_p), memory.nbytes,
            text, _REPORT_BYTES,
        )  # fmt: skip
    said = text.value.decode()
    if failed:
        raise Mismatch(f"the C simulation stopped: {said}", where="hw/engine",
                                 fix="the program does not fit the engine; compile it again")  # fmt: skip
    return said


def ap_types() -> Path:
    """Folder of Xilinx's open ap_int headers, from the hls4ml wheel.

    Raises:
        ToolMissing: it is not installed.
    """
    found = importlib.util.find_spec("hls4ml")
    for place in found.submodule_search_locations or () if found is not None else ():
        folder = Path(place) / "templates" / "vivado" / "ap_types"
        if (folder / "ap_int.h").is_file():
            return folder
    raise ToolMissing(
        "the C simulation needs Xilinx's ap_int headers, which the hls4ml wheel carries",
        fix="pip install 'edgevision[fpga]'",
    )


_loaded: dict[str, ctypes.CDLL] = {}


@contextlib.contextmanager
def loaded(engine: Engine) -> Iterator[ctypes.CDLL]:
    """The simulation of `engine`, built when it is not in the cache.

    Raises:
        ToolMissing: no C++ compiler, or no ap_int headers.
    """
    headers, compiler = ap_types(), _compiler()
    key = _key(engine, compiler)
    if key not in _loaded:
        cache = Cache("csim")
        built = cache.get(key)
        if built is None:
            built = _built(engine, headers, compiler)
            cache.put(key, built)
            cache.trim()
        with tempfile.TemporaryDirectory(prefix="edgevision-csim-") as folder:
            path = Path(folder) / "engine.so"
            path.write_bytes(built)
            library = ctypes.CDLL(str(path))
        library.edgevision_csim.argtypes = [
            ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64,
        ]  # fmt: skip
        _loaded[key] = library
    yield _loaded[key]


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and shutil.which(name):
            return name
    raise ToolMissing("the C simulation needs a C++ compiler", fix="apt-get install g++, or set CXX")


def _key(engine: Engine, compiler: str) -> str:
    text = hashlib.sha256(f"{header_text(engine)} {compiler} {_FLAGS}".encode())
    for path in sorted((shipped("hw") / "engine").glob("*")) + sorted((shipped("hw") / "csim").glob("*")):
        text.update(path.name.encode() + path.read_bytes())
    return text.hexdigest()


def _built(engine: Engine, headers: Path, compiler: str) -> bytes:
    hw = shipped("hw")
    with tempfile.TemporaryDirectory(prefix="edgevision-csim-") as folder:
        (Path(folder) / "engine_config.h").write_text(header_text(engine))
        result = Path(folder) / "engine.so"
        includes = [f"-I{folder}", f"-I{hw / 'csim'}", f"-I{hw / 'engine'}", f"-isystem{headers}"]
        command = [compiler, *_FLAGS, *includes, *(str(hw / one) for one in _SOURCES), "-o", str(result)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise ToolMissing(
                f"the C simulation does not build: {done.stderr.strip()[:2000]}", where=" ".join(command),
                fix="hls4ml 1.3 and g++ 12 are known to work",
            )  # fmt: skip
        return result.read_bytes()


def _simulated(tensors: dict[str, np.ndarray], said: str) -> Simulated:
    rows = [line.split() for line in said.splitlines()]
    streams = tuple(StreamUse(row[1], *map(int, row[2:])) for row in rows if row[0] == "stream")
    ports = tuple(PortUse(row[1], *map(int, row[2:])) for row in rows if row[0] == "port")
    (calls,) = (int(row[1]) for row in rows if row[0] == "calls")
    return Simulated(tensors, tuple(sorted(streams, key=lambda one: one.name)), ports, calls)
