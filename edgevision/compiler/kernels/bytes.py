"""Integer arithmetic on byte tensors: sum, product, another scale, and table look-up (NUMERICS.md sections 6 to 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.chain import Chain, ChainWriter, Operand
from edgevision.compiler.kernels.elementwise import over_positions
from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Bytes:
    """One operation between byte tensors over (pixels, channels).

    Attributes:
        operation: add, mul, rescale or lookup.
        inputs: one operand (lookup, rescale) or two; parameters 0 and 1.
        per_channel: whether multipliers and scale have one value per channel.
        extras: (elements, dtype) of every input: the operands, then `add`: int32 multipliers (2, n) and scale (n);
            `mul` and `rescale`: scale (n); `lookup`: the table (256); then the chain's.
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


def build(name: str, spec: Bytes, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    parameters = [(f"extra{i}", elements, dtype) for i, (elements, dtype) in enumerate(spec.extras)]
    parameters.append(("output", spec.output_elements, spec.chain.store.dtype))
    with emit.kernel(name, parameters) as (buffers, made):
        writer = ChainWriter(
            spec.chain, buffers[:-1], buffers[-1], pixels_per_image=spec.pixels // spec.images, images=spec.images
        )
        body = _Body(spec, buffers, writer)
        over_positions(spec.pixels, spec.channels, simd.lanes, body.point, flat=_flat(spec))
    return made[0]


class _Body:
    def __init__(self, spec: Bytes, buffers: list[Any], writer: ChainWriter) -> None:
        self._spec, self._buffers, self._writer = spec, buffers, writer

    def point(self, pixel: Any, channel: Any, width: int) -> None:
        spec = self._spec
        if spec.operation == "lookup":
            index = self._writer.byte_steps(spec.inputs[0], pixel, channel, width)
            emit.store(
                self._buffers[-1],
                pixel * spec.chain.store.pitch + spec.chain.store.offset + channel,
                self._buffers[1][index],
                width,
            )
            return
        a, *others = (emit.named(self._writer.byte_steps(o, pixel, channel, width)) for o in spec.inputs)
        b = others[0] if others else None
        if spec.operation == "rescale":
            total, scale = a, self._parameter(1, channel, width)
        elif spec.operation == "add":
            count = spec.extras[3][0]
            total = a * self._parameter(2, channel, width) + b * self._parameter(2, channel, width, count)
            scale = self._parameter(3, channel, width)
        else:
            total = a * b
            scale = self._parameter(2, channel, width)
        value = emit.fence(emit.cast(emit.named(total), "float32", width) * scale, width)
        self._writer.finish(emit.named(value), pixel, channel, width)

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
