"""Run one generated kernel on this machine, and describe cores this machine can stand in for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm

from edgevision import target as targets
from edgevision.compiler.simd import Simd, simd_of, tvm_target
from edgevision.machine import resolve

#: Lanes and registers of the cores we generate for; every one of them can be compiled for and run here.
NEON = Simd(lanes=4, registers=32)
NEON32 = Simd(lanes=4, registers=16)
AVX2 = Simd(lanes=8, registers=16)


@functools.cache
def host() -> tuple[Simd, Any]:
    """Vector facts of this machine and TVM's target for it."""
    described = resolve(targets.load("host"))
    return simd_of(described), tvm_target(described)


def cores() -> list[Simd]:
    """This machine's own vectors, and three others."""
    return [host()[0], AVX2, NEON, NEON32]


def call(function: Any, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Compile `function` for this machine, run it on flat copies of `arrays`, return the last one."""
    name = str(function.attrs["global_symbol"])
    module = tvm.tirx.build(tvm.IRModule({name: function}), target=host()[1])
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(a).reshape(-1)) for a in arrays]
    module[name](*tensors)
    return tensors[-1].numpy()
