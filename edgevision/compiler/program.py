"""A compiled network before it is packed: kernels, plan and constants.

The plan is an ordered list of kernel calls over one arena. Every tensor has a fixed place: in the arena, among the
constants, or it is a graph input or output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgevision.target import Target

#: Every offset in the arena and in weights.bin is a multiple of this many bytes.
ALIGNMENT = 64

Place = Literal["input", "output", "arena", "constant"]


@dataclass(frozen=True)
class Tensor:
    """One tensor of the plan.

    Attributes:
        place: where its bytes live.
        offset: bytes from the start of the arena or of weights.bin; the index for an input or output.
        shape: static shape; () for a scalar.
        dtype: numpy name: float32, uint8, int8, int32, int64, bool.
    """

    place: Place
    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor, unpadded."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class PlanStep:
    """One kernel call.

    Attributes:
        kernel: name of the function; the symbol is `__tvm_ffi_<kernel>`.
        tensors: indices into `Program.tensors`, inputs first, outputs last.
        label: the layers of the graph this step computes, for reports.
        family: kernel family ("gemm", "conv", "depthwise", "elementwise", ...).
        macs: multiply-accumulates of the step.
        integer: whether the arithmetic of those MACs is integer.
        operations: what is fused into the kernel, in order: "gelu+add".
    """

    kernel: str
    tensors: tuple[int, ...]
    label: str
    family: str
    macs: int = 0
    integer: bool = False
    operations: str = ""


@dataclass(frozen=True)
class Program:
    """Kernels, plan and constants for one target; what a bundle is made from.

    Attributes:
        objects: relocatable object files, one for each kernel, in the order of their names.
        arena_bytes: size of the arena; equal to `live_bytes` when the plan is tight.
        live_bytes: lower bound: the largest sum of tensors alive at one step.
        constants: content of weights.bin.
        inputs, outputs: tensor indices in the order of the graph.
        prepared: how many of the first steps run once, when the program is opened: they make of the constants what the
            others read, and what they write is never written again.
    """

    target: Target
    objects: tuple[bytes, ...] = field(repr=False)
    tensors: tuple[Tensor, ...]
    steps: tuple[PlanStep, ...]
    arena_bytes: int
    live_bytes: int
    constants: bytes = field(repr=False)
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    prepared: int = 0

    def kernels(self) -> list[str]:
        """Names of the kernels the plan calls, each once, sorted."""
        return sorted({step.kernel for step in self.steps})
