"""Integer arithmetic on byte tensors: sum, product, another scale, and table look-up (NUMERICS.md sections 6 to 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.kernels.elementwise import Positions, over_positions
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Bytes:
    """One operation between byte tensors over (pixels, channels).

    Attributes:
        operation: add, mul, rescale or lookup.
        inputs: one operand (lookup, rescale) or two; parameters 0 and 1.
        per_channel: whether multipliers and scale have one value per channel.
        extras: (elements, dtype) of every input: the operands, then `add`: `add_factors` (3, n); `mul` and `rescale`:
            scale (n); `lookup`: the table (256); then the chain's. The operands of `add` carry no zero point.
    """

    operation: Literal["add", "mul", "rescale", "lookup"]
    pixels: int
    channels: int
    images: int
    inputs: tuple[Operand, ...]
    per_channel: bool
    chain: Chain
    extras: tuple[tuple[int, str], ...]
    output_elements: int


def add_factors(multipliers: np.ndarray, scale: np.ndarray, zeros: tuple[int, int]) -> np.ndarray:
    """Float factors (3, n) so that a f[0] + b f[1] + f[2] is the sum of NUMERICS.md section 6 before it is rounded.

    Args:
        multipliers: int32 (2, n).
        scale: 2^-k, float32 (n).
        zeros: zero points of a and b.
    """
    rest = -(np.array(zeros, np.int64) @ multipliers.astype(np.int64))
    return np.concatenate([multipliers, rest[None]]).astype(np.float32) * scale


def build(name: str, spec: Bytes, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    parameters = [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            spec.chain, buffers[:-1], buffers[-1], pixels_per_image=spec.pixels // spec.images, images=spec.images
        )
        body = _Body(spec, buffers, writer)

        def points(positions: Positions, width: int, together: int) -> None:
            if spec.operation == "lookup":
                for position in positions:
                    body.look_up(*position, width)
                return
            values = [body.value(*position, width) for position in positions]
            writer.finish_all(values, positions, width, simd, together=together)

        over_positions(spec.pixels, spec.channels, simd.lanes, points, flat=_flat(spec))
    return made[0]


class _Body:
    def __init__(self, spec: Bytes, buffers: list[Any], writer: ChainWriter) -> None:
        self._spec, self._buffers, self._writer = spec, buffers, writer

    def look_up(self, pixel: Any, channel: Any, width: int) -> None:
        index = self._writer.byte_indices(self._spec.inputs[0], pixel, channel, width)
        self._writer.put(self._buffers[1][index], pixel, channel, width)

    def value(self, pixel: Any, channel: Any, width: int) -> Any:
        spec, writer = self._spec, self._writer
        a, *others = (emit.named(writer.byte_steps(o, pixel, channel, width)) for o in spec.inputs)
        if spec.operation == "rescale":
            return emit.named(emit.fence(a * self._parameter(1, channel, width), width))
        if spec.operation == "add":
            count = spec.extras[2][0] // 3
            of_a, of_b, rest = (self._parameter(2, channel, width, i * count) for i in range(3))
            # Every term and sum is a multiple of one power of two below 2^24 of them, so nothing rounds, fused or not.
            return emit.named(a * of_a + (others[0] * of_b + rest))
        return emit.named(emit.fence(emit.named(a * others[0]) * self._parameter(2, channel, width), width))

    def _parameter(self, index: int, channel: Any, width: int, first: int = 0) -> Any:
        if self._spec.per_channel:
            return emit.load(self._buffers[index], first + channel, width)
        return emit.splat(self._buffers[index][first], width)


def _flat(spec: Bytes) -> bool:
    dense = all(
        o.index == "tensor" and o.pitch == spec.channels and o.offset == 0 and o.table is None for o in spec.inputs
    )
    how = spec.chain.store
    return dense and not spec.per_channel and how.pitch == spec.channels and how.offset == 0 and how.zero_points is None
