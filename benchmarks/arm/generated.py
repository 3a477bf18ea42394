"""Our own kernels, compiled for a core as `deploy` would, as assembly."""

from __future__ import annotations

from typing import Any

import tvm

from benchmarks.arm.cores import Core
from edgevision import target as targets
from edgevision.compiler.kernels import depthwise, gemm
from edgevision.compiler.kernels.chain import Chain, Store
from edgevision.compiler.kernels.inner import tile_shape
from edgevision.compiler.simd import Simd, simd_of, tvm_target
from edgevision.graph.geometry import Window

#: A product whose rows and channels every register tile divides, so that there is one inner loop.
ROWS, DEPTH, CHANNELS = 240, 192, 96


def assembly(family: str, core: Core) -> str:
    """Assembly of the family's kernel."""
    target = targets.load(core.target)
    make = _depthwise if "depthwise" in family else _gemm
    function = make(simd_of(target), integer=family.startswith("int8"))
    module = tvm.tirx.build(tvm.IRModule({"kernel": function}), target=tvm_target(target))
    return str(module.inspect_source("asm"))


def _chain(channels: int, integer: bool) -> tuple[Chain, tuple[tuple[int, str], ...]]:
    if not integer:
        return Chain(store=Store(pitch=channels)), ()
    return Chain((), Store("uint8", 0, pitch=channels, bounded=True), exact=True), ((4, "float32"),)


def _gemm(simd: Simd, *, integer: bool) -> Any:
    dtype, weights = ("uint8", "int8") if integer else ("float32", "float32")
    chain, extras = _chain(CHANNELS, integer)
    spec = gemm.Gemm(
        ROWS, DEPTH, CHANNELS, dtype, weights, tile_shape(simd, ROWS, CHANNELS, integer=integer), DEPTH, 0,
        ROWS * DEPTH, ROWS * CHANNELS, chain, extras, full_range=False,
    )  # fmt: skip
    return gemm.build("kernel", spec, simd)


def _depthwise(simd: Simd, *, integer: bool) -> Any:
    """Without padding, so that the loop over channels is one block of straight code, requantisation included."""
    dtype, weights = ("uint8", "int8") if integer else ("float32", "float32")
    window = Window(1, 32, 34, 30, 32, (3, 3), (1, 1), (1, 1), 0, 0)
    chain, extras = _chain(CHANNELS, integer)
    spec = depthwise.Depthwise(
        window, CHANNELS, dtype, weights, CHANNELS, 0, 32 * 34 * CHANNELS, 30 * 32 * CHANNELS, chain, extras
    )
    return depthwise.build("kernel", spec, simd)
