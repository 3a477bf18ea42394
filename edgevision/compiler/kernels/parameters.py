"""The parameters of a kernel that ends in a chain, in the one order plans call it with.

What it works on, the chain's extras, scratch, output. Behind the weights of a kernel stand its bias and, unless the
weights are float32, the scale of its accumulators.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgevision.compiler.kernels import emit, nibbles
from edgevision.compiler.kernels.chain import ChainWriter
from edgevision.compiler.kernels.emit import Buffer

#: Name, elements and dtype.
Parameter = tuple[str, int, str]


@dataclass(frozen=True)
class Buffers:
    """The buffers of a kernel, sorted.

    Attributes:
        operands: what it works on, by name.
        extras: what its chain reads, indexed by `chain.Operand.parameter`.
    """

    spec: Any
    operands: dict[str, Buffer]
    extras: list[Buffer]
    scratch: list[Buffer]
    output: Buffer

    def writer(self, *, pixels_per_image: int, images: int) -> ChainWriter:
        """What ends the kernel; arguments as of `ChainWriter`."""
        return ChainWriter(self.spec.chain, self.extras, self.output, pixels_per_image=pixels_per_image, images=images)


def weighted(left: tuple[int, str], weights: tuple[int, str], channels: int, *rest: Parameter) -> list[Parameter]:
    """What a kernel with weights works on; `left` and `weights` are (elements, dtype), `rest` what it reads besides.

    Weights of "int4" are two to a byte (`nibbles`).

    >>> [name for name, _, _ in weighted((64, "uint8"), (32, "int8"), 4, ("zero", 4, "uint8"))]
    ['left', 'weights', 'bias', 'scale', 'zero']
    """
    bias = ("bias", channels, "float32" if left[1] == "float32" else "int32")
    scale = [] if weights[1] == "float32" else [("scale", channels, "float32")]
    return [("left", *left), ("weights", *nibbles.parameter(*weights)), bias, *scale, *rest]


@contextlib.contextmanager
def kernel(
    name: str, spec: Any, operands: Sequence[Parameter], scratch: Sequence[tuple[int, str]] = ()
) -> Iterator[tuple[Buffers, list[Any]]]:
    """As `emit.kernel`, with the extras and output of `spec` after the operands, and scratch between them.

    Args:
        spec: has `extras`, (elements, dtype) each, `output_elements` and `chain`.
        scratch: (elements, dtype) each.
    """
    parameters = [
        *operands,
        *((f"extra{i}", *extra) for i, extra in enumerate(spec.extras)),
        *((f"scratch{i}", *buffer) for i, buffer in enumerate(scratch)),
        ("output", spec.output_elements, spec.chain.store.dtype),
    ]
    with emit.kernel(name, parameters) as (buffers, made):
        first, last = len(operands), len(operands) + len(spec.extras)
        named = dict(zip((operand for operand, _, _ in operands), buffers, strict=False))
        yield Buffers(spec, named, buffers[first:last], buffers[last:-1], buffers[-1]), made
