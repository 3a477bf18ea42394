"""The int32 accumulator of an integer layer: the bias it starts from, and the proof that it never overflows."""

from __future__ import annotations

import numpy as np

from edgevision.graph import numerics
from edgevision.graph.qdq import Quant

_LARGEST_BYTE = 255


def overflow(weight: np.ndarray, bias: np.ndarray, quant: Quant) -> str | None:
    """Why some input could overflow an int32 accumulator; None where the weights prove that none can.

    Kernels multiply bytes as they are and put the zero point's share into the bias, so both are bounded together.
    """
    steps = weight.reshape(weight.shape[0], -1).astype(np.int64)
    size, total = np.abs(steps).sum(axis=1), steps.sum(axis=1)
    shifted = bias.astype(np.int64) - quant.zero_point.astype(np.int64).reshape(-1) * total
    reach = np.maximum(np.abs(bias.astype(np.int64)), np.abs(shifted)) + _LARGEST_BYTE * size
    worst = int(np.argmax(reach))
    if reach[worst] < 2**31:
        return None
    return (
        f"the sum of channel {worst} can reach {int(reach[worst])}, beyond an int32 accumulator "
        f"({steps.shape[1]} products); cut the layer in two along its input channels, or leave it in float"
    )


def bounded_bias(
    weight: np.ndarray, steps: np.ndarray, bias: np.ndarray, exact: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantise the bias to int32; a channel whose bias would overflow gets coarser steps (NUMERICS.md section 4)."""
    quantised = numerics.quantize_bias(bias, steps) if exact is None else np.broadcast_to(exact, steps.shape)
    too_large = np.abs(quantised) >= 2**30
    if np.any(too_large):
        weight, steps = weight.copy(), steps.copy()
        for channel in np.flatnonzero(too_large):
            factor = 2.0 ** np.ceil(np.log2(abs(float(quantised[channel])) / 2**30))
            weight[channel] = np.rint(weight[channel] / factor).astype(weight.dtype)
            steps[channel] *= factor
        quantised = numerics.quantize_bias(bias, steps)
    return weight, steps, quantised.astype(np.int32)
