"""Weights rounded so that a layer's output stays, not so that each weight does: coordinate descent on the output error.

For inputs x (one row per output pixel) the squared error of a layer is a quadratic form in its weights,
tr(D H D') with D the change of the weights and H the second moments of x. One weight after another is set to the
integer of least error while the others stand still; so the error never rises. This is the problem of AdaRound (Nagel et
al., arXiv 2004.10568), which relaxes it, and of GPTQ (Frantar et al., arXiv 2210.17323), solved as in QuantEase (Behdin
et al., arXiv 2309.01885): from moments alone, so that memory does not grow with the number of images.
"""

from __future__ import annotations

import numpy as np

#: Scales tried, as shares of the one whose largest step is the largest weight.
SHARES = np.linspace(0.4, 1.0, 25)
#: Descents over all weights.
SWEEPS = 6
#: Added to the diagonal of the moments, relative to its mean: inputs that few images vary are not to be fitted.
DAMPING = 0.01
#: Weights whose updates are gathered before the others see them; for speed alone.
_BLOCK = 64


def rounded(
    target: np.ndarray, moments: np.ndarray, high: int, *, low: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Integers and scales per channel whose product is nearest to `target` in the metric of `moments`.

    Args:
        target: (channels, K) float.
        moments: (K, K), of the inputs; not changed.
        high: largest integer.
        low: least integer; -high without it.

    Returns:
        Integers int8 (channels, K), scales float32 (channels,).
    """
    low = -high if low is None else low
    target = target.astype(np.float64)
    damped = moments.astype(np.float64).copy()
    diagonal = np.diagonal(damped)
    mean = float(diagonal.mean()) or 1.0
    # What never varies would leave its weights free.
    np.fill_diagonal(damped, diagonal + DAMPING * mean)
    scale = best_scale(target, damped, low, high)
    steps = _descended(target / scale[:, None], damped, low, high)
    return steps.astype(np.int8), scale.astype(np.float32)


def best_scale(target: np.ndarray, moments: np.ndarray, low: int, high: int) -> np.ndarray:
    """For each channel the scale, among `SHARES`, at which rounding to the nearest has the least error, (channels,)."""
    largest = np.abs(target).max(axis=1)
    widest = np.where(largest > 0, np.maximum(largest / high, np.finfo(np.float32).tiny), 1.0)
    best, least = widest.copy(), np.full(len(target), np.inf)
    for share in SHARES[::-1]:
        scale = (widest * share).astype(np.float32).astype(np.float64)
        error = output_error(np.clip(np.rint(target / scale[:, None]), low, high) * scale[:, None] - target, moments)
        best = np.where(error < least, scale, best)
        least = np.minimum(error, least)
    return best


def output_error(change: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Squared error of each channel's output, (channels,), for a change of weights (channels, K)."""
    return np.einsum("ck,ck->c", change @ moments, change)


def _descended(target: np.ndarray, moments: np.ndarray, low: int, high: int) -> np.ndarray:
    """The integers, as float64, found from rounding to the nearest; `target` is in steps."""
    depth = target.shape[1]
    steps = np.clip(np.rint(target), low, high)
    diagonal = np.diagonal(moments)
    # The gradient of half the error: what the others leave to be made up.
    gradient = (steps - target) @ moments
    for _ in range(SWEEPS):
        changed = False
        for first in range(0, depth, _BLOCK):
            last = min(first + _BLOCK, depth)
            inner = gradient[:, first:last].copy()
            before = steps[:, first:last].copy()
            for k in range(first, last):
                new = np.clip(np.rint(steps[:, k] - inner[:, k - first] / diagonal[k]), low, high)
                moved = new - steps[:, k]
                if moved.any():
                    inner += moved[:, None] * moments[k, first:last]
                    steps[:, k] = new
            moved = steps[:, first:last] - before
            if moved.any():
                changed = True
                gradient += moved @ moments[first:last]
        if not changed:
            break
    return steps
