"""Proof, from the weights alone, that no image can overflow the engine's registers; layers that fail are refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgevision.engine.network import Convolution, IntegerNetwork, Requantise
from edgevision.errors import Unsupported

#: Bits of the published engine's sums (CoDeNet, arXiv 2006.08357), and of the register behind the shift.
SUM_BITS, SHIFTED_BITS = 24, 32


@dataclass(frozen=True)
class Bound:
    """Bits, sign included, that a layer's registers need for the worst image.

    Attributes:
        sum_bits: of the sum of products, whatever order they are added in.
        shifted_bits: of the sum times its multiplier, shifted, with the bias.
    """

    layer: str
    sum_bits: int
    shifted_bits: int


def bounds(network: IntegerNetwork) -> list[Bound]:
    """What every layer with numbers needs."""
    found = []
    for layer in network.header.layers:
        if not isinstance(layer, Convolution | Requantise):
            continue
        given = network.parameters[layer.name]
        reach = np.full(given.multiplier.shape, 128, np.int64)
        if given.weight is not None:
            # Every partial sum stays below the sum of the largest products, in any order.
            reach = 128 * np.abs(given.weight.astype(np.int64)).reshape(len(given.weight), -1).sum(axis=1)
        half = 1 << layer.shift >> 1
        shifted = (reach * np.abs(given.multiplier.astype(np.int64)) + half >> layer.shift) + 1
        shifted += np.abs(given.bias.astype(np.int64)) + 128
        found.append(Bound(layer.name, _bits(int(reach.max())), _bits(int(shifted.max()))))
    return found


def require_bounds(network: IntegerNetwork, sum_bits: int = SUM_BITS) -> None:
    """Refuse a network whose sums could leave `sum_bits`, or the 32 bits behind the shift.

    Raises:
        Unsupported: every layer that could is named.
    """
    reasons = []
    for bound in bounds(network):
        if bound.sum_bits > sum_bits:
            reasons.append(
                f"layer '{bound.layer}': its sums need {bound.sum_bits} bits, the accumulator has {sum_bits}"
            )
        if bound.shifted_bits > SHIFTED_BITS:
            reasons.append(
                f"layer '{bound.layer}': scaled sums need {bound.shifted_bits} bits, the register has {SHIFTED_BITS}"
            )
    if reasons:
        raise Unsupported(
            "an image could overflow the accumulators of the engine",
            fix="fewer input channels or smaller weights in these layers, or an engine with 32-bit sums",
            reasons=reasons,
        )


def _bits(largest: int) -> int:
    """Bits of a signed register that holds -`largest` to `largest`.

    >>> _bits(127), _bits(128)
    (8, 9)
    """
    return largest.bit_length() + 1
