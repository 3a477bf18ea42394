"""From the scales of a quantised layer to the engine's multiplier, shift and bias (quant/INTEGER_NETWORKS.md)."""

from __future__ import annotations

import numpy as np

from edgevision.engine.checks import LARGEST_SHIFT
from edgevision.engine.network import Parameters
from edgevision.errors import Unsupported

_LARGEST = 32767


def scaled(
    name: str, weight: np.ndarray, ratio: np.ndarray, bias: np.ndarray, zeros: tuple[int, int | None],
    shift: int | None = None,
) -> tuple[Parameters, int]:  # fmt: skip
    """Parameters of a convolution, and its shift.

    Args:
        name: of the layer, for errors.
        weight: steps (channels, depth, kernel, kernel).
        ratio: scale of the input times that of the weight over that of the result, per channel; of a map of dilations
            the scale of the result is 1.
        bias: in units of the result's scale, per channel.
        zeros: zero points (int8) of the input and the result; None of a map of dilations.
        shift: as the published accelerator has 16; None for the largest that keeps every multiplier an int16.

    Raises:
        Unsupported: a multiplier or a bias leaves its int16; the channels are named.
    """
    ratio = np.asarray(ratio, np.float64)
    if shift is None:
        shift = next((n for n in range(LARGEST_SHIFT, -1, -1) if np.rint(np.abs(ratio).max() * 2**n) <= _LARGEST), 0)
    # Odd, because then no sum but a multiple of 2^(shift - 1) is a tie, which other arithmetic rounds to even.
    exact = ratio * 2.0**shift
    multiplier = np.where(np.abs(exact) < 0.5, 0.0, 2 * np.floor(exact / 2) + 1)
    total = weight.reshape(len(weight), -1).astype(np.int64).sum(axis=1)
    # The zero point's share is scaled by what the engine will multiply with, not by what was asked for.
    unrounded = np.asarray(bias, np.float64) - multiplier * 2.0**-shift * zeros[0] * total
    constant = np.rint(unrounded + (0 if zeros[1] is None else zeros[1] + 128))
    reasons = [
        f"layer '{name}', channel {channel}: {kind} {value:.0f} is beyond {_LARGEST}"
        for kind, values in (("multiplier", multiplier), ("bias", constant))
        for channel, value in enumerate(values)
        if abs(value) > _LARGEST
    ]
    if reasons:
        raise Unsupported(
            "the engine's int16 numbers cannot hold this layer", fix="a smaller shift, or other scales", reasons=reasons
        )
    return Parameters(multiplier.astype(np.int16), constant.astype(np.int16), weight.astype(np.int8)), shift
