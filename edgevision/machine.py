"""What this machine is, read from Linux: the facts behind the target `host`."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Literal

import msgspec

from edgevision.errors import Unsupported
from edgevision.target import Arch, Cpu, Memory, Target

#: Features the runner can check before the first step, in the words of /proc/cpuinfo.
CHECKED: dict[str, tuple[str, ...]] = {
    "x86_64": (
        "fma",
        "avx2",
        "avx512f",
        "avx512dq",
        "avx512bw",
        "avx512vl",
        "avx512vbmi",
        "avx512_vnni",
        "avx512_vpopcntdq",
    ),
    "aarch64": ("asimd", "asimddp", "i8mm"),
    "armv7": ("neon", "vfpv3", "vfpv4"),
}
_ARCH: dict[str, Arch] = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_TRIPLE = {
    "x86_64": "x86_64-unknown-linux-gnu",
    "aarch64": "aarch64-unknown-linux-gnu",
    "armv7": "armv7a-unknown-linux-gnueabihf",
}


def resolve(target: Target) -> Target:
    """Return `target` with `llvm = "native"` replaced by what this machine is; any other target comes back unchanged.

    Raises:
        Unsupported: this machine's architecture is not one of ours.
    """
    if target.cpu.llvm != "native":
        return target
    # Importing TVM takes seconds, and only this one name needs it.
    from tvm.target.codegen import llvm_get_system_cpu

    arch = machine_arch(platform.machine())
    cpu = describe_cpu(arch, Path("/proc/cpuinfo").read_text(), llvm=str(llvm_get_system_cpu()))
    cpu = msgspec.structs.replace(cpu, **_caches(Path("/sys/devices/system/cpu/cpu0/cache")))
    memory = Memory(ram_mib=_ram_mib(Path("/proc/meminfo").read_text()))
    abi: Literal["", "hard"] = "hard" if arch == "armv7" else ""
    return msgspec.structs.replace(target, arch=arch, triple=_TRIPLE[arch], float_abi=abi, cpu=cpu, memory=memory)


def machine_arch(machine: str) -> Arch:
    """Return our name of what `uname -m` prints.

    >>> machine_arch("armv7l"), machine_arch("aarch64")
    ('armv7', 'aarch64')
    """
    arch: Arch | None = "armv7" if machine.startswith(("armv7", "armv8")) else _ARCH.get(machine)
    if arch is None:
        raise Unsupported(
            f"expected a machine of type {', '.join(_TRIPLE)}, got {machine}",
            fix="compile on another machine and run on this one through a device",
        )
    return arch


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """Return the features a /proc/cpuinfo lists ("flags" on x86, "Features" on Arm).

    >>> sorted(cpu_flags("Features\\t: fp asimd asimddp\\n"))
    ['asimd', 'asimddp', 'fp']
    """
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(found.group(1).split() if found else ())


def describe_cpu(arch: Arch, cpuinfo: str, *, llvm: str) -> Cpu:
    """Return the core a /proc/cpuinfo text describes: vector width, registers, dot product, what a run must find."""
    flags = cpu_flags(cpuinfo)
    requires = tuple(name for name in CHECKED[arch] if name in flags)
    cores = len(os.sched_getaffinity(0))
    dot: Literal["none", "sdot", "i8mm", "avx2", "vnni"] = "none"
    if arch != "x86_64":
        if arch == "aarch64" and "asimddp" in flags:
            dot = "i8mm" if "i8mm" in flags else "sdot"
        registers = 32 if arch == "aarch64" else 16
        features = ("+neon", "+dotprod") if dot != "none" else ("+neon",)
        return Cpu(llvm=llvm, cores=cores, simd_registers=registers, features=features, requires=requires, dot=dot)
    wide = {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags
    if wide and "avx512_vnni" in flags:
        dot = "vnni"
    elif "avx2" in flags:
        dot = "avx2"
    bits = 512 if wide else 256 if "avx2" in flags else 128
    return Cpu(llvm=llvm, cores=cores, simd_bits=bits, simd_registers=32 if wide else 16, requires=requires, dot=dot)


def _caches(folder: Path) -> dict[str, int]:
    """Sizes in KiB of the data caches of one core; a level the system does not tell is left out."""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        name = {"1": "l1d_kib", "2": "l2_kib", "3": "l3_kib"}.get(level)
        if name and kind in ("Data", "Unified") and size.endswith("K"):
            sizes[name] = int(size[:-1])
    return sizes


def _ram_mib(meminfo: str) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) // 1024 if found else None
