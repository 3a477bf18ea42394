"""Run one generated kernel on this machine, and describe cores this machine can stand in for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from edgevision import target as targets
from edgevision.compiler.simd import Simd, simd_of, tvm_target
from edgevision.machine import cpu_flags, resolve

#: Lanes and registers of the cores we generate for; every one of them can be compiled for and run here.
NEON = Simd(lanes=4, registers=32)
NEON32 = Simd(lanes=4, registers=16)
AVX2 = Simd(lanes=8, registers=16, dot="avx2")
AVX512 = Simd(lanes=16, registers=32, dot="avx512")


@functools.cache
def host() -> tuple[Simd, Any]:
    """Vector facts of this machine and TVM's target for it."""
    described = resolve(targets.load("host"))
    return simd_of(described), tvm_target(described)


def cores() -> list[Simd]:
    """This machine's own vectors, and others it has the instructions of."""
    flags = cpu_flags(Path("/proc/cpuinfo").read_text())
    wide = [AVX512] if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags else []
    return [host()[0], *wide, *([AVX2] if "avx2" in flags else []), NEON, NEON32]


def call(function: Any, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Compile `function` for this machine, run it on flat copies of `arrays`, return the last one."""
    name = str(function.attrs["global_symbol"])
    module = tvm.tirx.build(tvm.IRModule({name: function}), target=host()[1])
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(a).reshape(-1)) for a in arrays]
    module[name](*tensors)
    return tensors[-1].numpy()
