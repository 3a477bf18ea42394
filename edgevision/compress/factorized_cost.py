"""Whether a factorized layer is computed from its factors or from the kernel they make, by what it costs."""

from __future__ import annotations

from edgevision.compress.factorized_graph import Shape

_FLOAT = 1.0
_BYTES = 1.0


def for_floats(shape: Shape) -> bool:
    return True


def for_integers(shape: Shape) -> bool:
    return True
