"""Layers of one-bit weights and activations, after BiViT (He et al., ICCV 2023, arXiv 2211.07091).

sign(x) is +1 where x >= 0 and -1 elsewhere, a negative zero being +1 and a NaN -1. In a graph the layers are ONNX
functions of the domain `edgevision`, whose bodies (`graph.binaryfunctions`) are standard operators: any runtime gives
the reference, and the compiler knows them by their names.

=================== =========================================================================================
BinaryLinear        scale[n] * sum over k of sign(x[..., k]) w[n, k] + bias[n]; x (..., K), result (..., N)
BinaryWeightLinear  scale[n] * sum over k of x[..., k] w[n, k] + bias[n]
BinaryConv          BinaryLinear along the channels of x (B, K, H, W)
BinaryWeightConv    BinaryWeightLinear along the channels of x (B, K, H, W)
BinaryAttention     sum over the kept j of sign(v_j), of q, k, v (B, h, n, d) and a bias that broadcasts to the scores
BinaryAttentionBias table[index[i, j], h], or -inf where bit j of masks[kind[w], i] is set: a bias (w, h, i, j) in parts
=================== =========================================================================================

Weights are packed: bit i, the least significant first, of byte j of a row is element 8 j + i, 1 for +1 and 0 for -1;
rows are output channels of ceil(K / 8) bytes, whose unused bits are zero and never counted. Sums are whole numbers;
the product with the scale and the sum with the bias are rounded to binary32 one after the other.

Attention keeps j where the score s_j = sign(q) . sign(k_j) + bias_j / scale reaches max(s) + ln(beta) / scale, which is
where its softmax would reach beta times the largest of its row. Entries whose bias is -100 or less are masked: never
kept and not part of the maximum; a row of nothing else sums to zero.
"""

from __future__ import annotations

import numpy as np

DOMAIN = "edgevision"
VERSION = 1
#: Layers of packed weights with one-bit activations, and with activations as they are.
SIGNED_LAYERS = ("BinaryLinear", "BinaryConv")
WEIGHT_LAYERS = ("BinaryWeightLinear", "BinaryWeightConv")
ATTENTION = "BinaryAttention"
#: A bias of attention from its parts (`graph.binarybias`); all its inputs are constants.
BIAS = "BinaryAttentionBias"
OPERATORS = (*SIGNED_LAYERS, *WEIGHT_LAYERS, ATTENTION, BIAS)
#: A bias of this or less masks its entry of the scores.
MASKED = -100.0


def sign(x: np.ndarray) -> np.ndarray:
    """+1 where x >= 0, else -1, as float32.

    >>> sign(np.float32([2, 0, -0.0, -3, np.nan])).tolist()
    [1.0, 1.0, 1.0, -1.0, -1.0]
    """
    return np.where(x >= 0, np.float32(1), np.float32(-1))


def pack_bits(values: np.ndarray) -> np.ndarray:
    """Signs along the last axis as bytes: (..., K) -> uint8 (..., ceil(K / 8)).

    >>> pack_bits(np.float32([[1, -1, 1, 1, -1, -1, -1, -1, 1]])).tolist()
    [[13, 1]]
    """
    return np.packbits(values >= 0, axis=-1, bitorder="little")


def unpack_bits(packed: np.ndarray, depth: int) -> np.ndarray:
    """The signs as float32: uint8 (..., ceil(depth / 8)) -> (..., depth)."""
    bits = np.unpackbits(packed, axis=-1, count=depth, bitorder="little")
    return np.where(bits == 1, np.float32(1), np.float32(-1))


def linear(
    x: np.ndarray, packed: np.ndarray, scale: np.ndarray, bias: np.ndarray, depth: int, *, signed: bool = True
) -> np.ndarray:
    """BinaryLinear, or with `signed` off BinaryWeightLinear: (..., depth) -> (..., N) float32."""
    left = sign(x) if signed else x
    sums = left.astype(np.float64) @ unpack_bits(packed, depth).astype(np.float64).T
    return sums.astype(np.float32) * scale + bias


def conv(
    x: np.ndarray, packed: np.ndarray, scale: np.ndarray, bias: np.ndarray, depth: int, *, signed: bool = True
) -> np.ndarray:
    """BinaryConv, or with `signed` off BinaryWeightConv: (B, depth, H, W) -> (B, N, H, W) float32."""
    made = linear(np.moveaxis(x, 1, -1), packed, scale, bias, depth, signed=signed)
    return np.moveaxis(made, -1, 1)


def margin(scale: float, beta: float) -> np.float32:
    """ln(beta) / scale: how far below the largest score of its row one may be, zero or less, in binary32."""
    return np.float32(np.log(np.float32(beta))) / np.float32(scale)


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray | None = None, *, scale: float, beta: float = 0.25
) -> np.ndarray:
    """BinaryAttention: (B, h, n, d) three times, and a bias that broadcasts to (B, h, n, n) -> (B, h, n, d) float32."""
    scores = sign(q) @ np.swapaxes(sign(k), -1, -2)
    masked = np.zeros((1,) * scores.ndim, bool)
    if bias is not None:
        masked = bias <= MASKED
        scores = np.where(masked, np.float32(-np.inf), scores + bias / np.float32(scale))
    kept = (scores >= scores.max(axis=-1, keepdims=True) + margin(scale, beta)) & ~masked
    return kept.astype(np.float32) @ sign(v)


def attention_bias(table: np.ndarray, index: np.ndarray, masks: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """BinaryAttentionBias: float32 (windows, heads, queries, keys); for the parts see `binarybias.StoredBias`."""
    keys = index.shape[1]
    masked = np.unpackbits(masks, axis=-1, count=keys, bitorder="little").astype(bool)[kind.astype(np.int64)]
    values = np.moveaxis(table[index.astype(np.int64)], -1, 0)
    return np.where(masked[:, None], np.float32(-np.inf), values[None]).astype(np.float32)
