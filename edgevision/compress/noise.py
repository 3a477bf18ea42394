"""How far the outputs of two networks are apart."""

from __future__ import annotations

import numpy as np

#: No output is exact to more decibels than float32 arithmetic gives.
MAX_DB = 140.0


def sqnr_db(reference: np.ndarray, got: np.ndarray) -> float:
    """Signal to quantisation noise in dB: 10 log10(sum reference^2 / sum (reference - got)^2), at most `MAX_DB`.

    >>> round(sqnr_db(np.array([10.0, 0.0]), np.array([9.0, 0.0])), 6)
    20.0
    """
    reference = reference.astype(np.float64)
    noise = float(np.square(reference - got).sum())
    signal = float(np.square(reference).sum())
    if noise <= signal * 10 ** (-MAX_DB / 10):
        return MAX_DB
    return 10 * float(np.log10(signal / noise)) if signal else -MAX_DB


def kl_divergence(reference: np.ndarray, got: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence in nats of the classes `got` says from those `reference` says.

    Args:
        reference, got: logits (N, classes).

    >>> kl_divergence(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]]))
    0.0
    """
    p, q = (_log_softmax(x.reshape(len(x), -1).astype(np.float64)) for x in (reference, got))
    return max(0.0, float((np.exp(p) * (p - q)).sum(1).mean()))


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))
