"""The engine in SystemVerilog as a program of this machine, made by Verilator once and kept in the cache.

It reads the same programs as the C simulation, and counts cycles behind a model of the memory: simulated, not measured.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision.cache import Cache
from edgevision.engine.csim import PortUse
from edgevision.errors import Mismatch, ToolMissing, Unsupported
from edgevision.resources import shipped
from edgevision.target import Engine

#: Parameter of the top module for each size of an engine.
_PARAMETERS = {
    "LANES": "lanes", "COLUMNS": "columns", "SCALE_LANES": "scale_lanes", "LINE_ROWS": "line_rows",
    "LINE_VECTORS": "line_vectors", "WEIGHT_BLOCKS": "weight_blocks", "MAX_PLANES": "planes", "MAX_GROUPS": "groups",
    "TILE_VECTORS": "tile_vectors", "AXI_BITS": "axi_bits", "BURST_BEATS": "burst_beats", "SUM_BITS": "sum_bits",
}  # fmt: skip
_LONGEST_RUN_S = 3600


@dataclass(frozen=True)
class Memory:
    """The memory behind the engine's ports.

    Attributes:
        read_latency: cycles from asking to the first beat.
        write_latency: cycles from the last beat to its acknowledgement.
        gb_s: bytes a nanosecond, all ports together.
        stall_percent: chance that a port holds back in a cycle, for tests of back-pressure.
    """

    read_latency: int = 40
    write_latency: int = 20
    gb_s: float = 1.0
    stall_percent: int = 0
    seed: int = 1


@dataclass(frozen=True)
class Counted:
    """What a run of the RTL took: cycles from start to interrupt, the cycle each call ended in, and traffic."""

    cycles: int
    call_ends: tuple[int, ...]
    ports: tuple[PortUse, ...]


def execute(words: np.ndarray, engine: Engine, memory: np.ndarray, behind: Memory | None = None) -> Counted:
    """Run words on a region of feature maps, uint8, which is changed.

    Raises:
        Unsupported: the RTL cannot have these sizes.
        ToolMissing: no Verilator or C++ compiler.
        Mismatch: an access that the bus does not carry, or a run that moves nothing any more.
    """
    behind = behind or Memory()
    rate = round(behind.gb_s * 1e6 / engine.clock_mhz)
    with tempfile.TemporaryDirectory(prefix="edgevision-rtl-") as folder:
        place = Path(folder)
        simulator = place / "sim"
        simulator.write_bytes(built(engine))
        simulator.chmod(0o700)
        np.ascontiguousarray(words, "<u8").tofile(place / "program")
        memory.tofile(place / "before")
        command = [str(simulator), "program", "before", "after", str(behind.read_latency), str(behind.write_latency),
                   str(rate), str(behind.stall_percent), str(behind.seed)]  # fmt: skip
        try:
            done = subprocess.run(
                command, cwd=place, capture_output=True, text=True, timeout=_LONGEST_RUN_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Mismatch(f"the RTL simulation did not end in {_LONGEST_RUN_S} s", where="hw/rtl") from error
        if done.returncode:
            raise Mismatch(f"the RTL simulation stopped: {done.stderr.strip()[:500]}", where="hw/rtl",
                           fix="the program does not fit the engine; compile it again")  # fmt: skip
        memory[:] = np.fromfile(place / "after", np.uint8)
    rows = [line.split() for line in done.stdout.splitlines()]
    (cycles,) = (int(row[1]) for row in rows if row[0] == "cycles")
    ends = tuple(int(row[1]) for row in rows if row[0] == "call")
    return Counted(cycles, ends, tuple(PortUse(row[1], *map(int, row[2:])) for row in rows if row[0] == "port"))


def parameters(engine: Engine) -> dict[str, int]:
    """Parameters of the top module.

    Raises:
        Unsupported: the RTL cannot have these sizes.
    """
    if engine.scale_lanes % 4:
        raise Unsupported(
            f"the RTL takes four numbers of a requantiser at once; this engine has {engine.scale_lanes} multipliers",
            fix="scale_lanes: a multiple of 4",
        )
    return {name: getattr(engine, field) for name, field in _PARAMETERS.items()}


def sources() -> list[Path]:
    """The SystemVerilog files, in order of their names."""
    return sorted((shipped("hw") / "rtl").glob("*.sv"))


def lint(engine: Engine) -> str:
    """What `verilator -Wall` says about the sources with the sizes of `engine`; empty where it is content.

    Raises:
        ToolMissing: no Verilator.
    """
    command = [_tool("verilator"), "--lint-only", "-Wall", *_verilog(engine)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False).stderr


def built(engine: Engine) -> bytes:
    """The simulator, from the cache or made anew.

    Raises:
        Unsupported, ToolMissing: as of `execute`.
    """
    verilator, compiler = _tool("verilator"), _tool("g++")
    harness = sorted((shipped("hw") / "rtlsim").glob("*"))
    text = hashlib.sha256(f"{_version(verilator)} {compiler} {parameters(engine)}".encode())
    for path in [*sources(), *harness]:
        text.update(path.name.encode() + path.read_bytes())
    cache = Cache("rtlsim")
    found = cache.get(text.hexdigest())
    if found is None:
        found = _built(engine, verilator, shipped("hw") / "rtlsim")
        cache.put(text.hexdigest(), found)
        cache.trim()
    return found


def _built(engine: Engine, verilator: str, harness: Path) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgevision-rtl-") as folder:
        flags = f"-std=c++17 -O2 -I{harness} -DLONGEST_BURST={engine.burst_beats}"
        command = [
            verilator, "--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "0", "--no-assert",
            "-CFLAGS", flags, "--Mdir", folder, *_verilog(engine), str(harness / "sim.cpp"), "-o", "sim",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
        if done.returncode:
            raise ToolMissing(
                f"the RTL simulation does not build: {(done.stderr or done.stdout).strip()[-2000:]}",
                where=" ".join(command), fix="verilator 5.006 and g++ 12 are known to work",
            )  # fmt: skip
        return (Path(folder) / "sim").read_bytes()


def _verilog(engine: Engine) -> list[str]:
    sizes = [f"-G{name}={value}" for name, value in parameters(engine).items()]
    return ["--top-module", "engine", *sizes, *map(str, sources())]


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ToolMissing(f"the RTL simulation needs {name}", fix=f"apt-get install {name}")
    return path


def _version(tool: str) -> str:
    return subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
