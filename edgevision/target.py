"""Targets: the boards and machines a network is compiled for, one TOML file each (`targets/*.toml`).

A figure that was not read from the machine itself carries its source in `sources`; a predictor may use it, a report
must say where it came from.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgevision.config import nearest, read_toml
from edgevision.errors import UsageError
from edgevision.resources import shipped

Arch = Literal["x86_64", "aarch64", "armv7"]


class Cpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The core the kernels are generated for."""

    #: LLVM's name of the core; "native" is resolved to this machine's when the target is `host`.
    llvm: str
    cores: int
    clock_mhz: int | None = None
    l1d_kib: int | None = None
    l2_kib: int | None = None
    l3_kib: int | None = None
    #: Width of a vector register and number of them, as the compiler may use them.
    simd_bits: int = 128
    simd_registers: int = 32
    #: LLVM features switched on beyond the core's own, e.g. "+dotprod".
    features: tuple[str, ...] = ()
    #: Features of /proc/cpuinfo that must be present before the first step runs.
    requires: tuple[str, ...] = ()
    #: Integer dot product the kernels may use.
    dot: Literal["none", "sdot", "i8mm", "avx2", "avx512", "vnni"] = "none"
    in_order: bool = False


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Main memory: how much a program may take and how fast it streams."""

    ram_mib: int | None = None
    bandwidth_gb_s: float | None = None


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The deformable-convolution engine as it is built for one FPGA (hw/README.md)."""

    #: Part as Vivado names it, and the clock the engine is built for (a goal until it was routed).
    part: str
    clock_mhz: int
    #: Channels of a vector; output channels of the 1x1 array, a multiple of it; multipliers of a requantiser.
    lanes: int
    columns: int
    scale_lanes: int
    #: Rows of the line buffer and vectors (pixels times planes) of a row.
    line_rows: int
    line_vectors: int
    #: Blocks of lanes x columns 4-bit weights on chip.
    weight_blocks: int
    #: Most planes a call reads or writes; most vectors of one pixel at the 1x1 array; vectors of a tile.
    planes: int
    groups: int
    tile_vectors: int
    #: Width of a memory port, and beats of its longest burst.
    axi_bits: int
    burst_beats: int
    sum_bits: int = 24
    #: What the part has.
    dsp: int
    bram36: int
    lut: int
    ff: int


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One board or machine.

    >>> load("rpi4").arch
    'aarch64'
    """

    name: str
    title: str
    arch: Arch
    #: Four-part LLVM triple; a three-part one makes LLVM emit `__divsi3` on 32-bit ARM.
    triple: str
    cpu: Cpu
    memory: Memory
    float_abi: Literal["", "hard", "soft"] = ""
    libc: Literal["glibc", "musl", "bionic"] = "glibc"
    #: Device used when none is named: "host", or the emulator that can check correctness.
    default_device: str = "host"
    #: The engine beside the processor; None where there is none.
    engine: Engine | None = None
    sources: dict[str, str] = {}


def names() -> list[str]:
    """The targets shipped with the package, in alphabetical order."""
    return sorted(path.stem for path in shipped("targets").glob("*.toml"))


def load(name: str) -> Target:
    """Read target `name`.

    Raises:
        UsageError: unknown target (nearest name given), or a key or value the file may not hold.
    """
    path = shipped("targets") / f"{name}.toml"
    if name not in names():
        raise UsageError(
            f"unknown target '{name}'{nearest(name, names())}", fix=f"one of: {', '.join(names())}; or add {path}"
        )
    target = read_toml(path, Target)
    reasons = []
    if target.name != name:
        reasons.append(f"expected name = '{name}' as the file is called, got '{target.name}'")
    if target.triple.count("-") != 3:
        reasons.append(f"expected a four-part triple such as aarch64-unknown-linux-gnu, got '{target.triple}'")
    if reasons:
        raise UsageError("the target does not fit", where=str(path), reasons=reasons)
    return target
