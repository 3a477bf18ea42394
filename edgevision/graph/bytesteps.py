"""Arithmetic from bytes to bytes (quant/NUMERICS.md section 6): lines, which are weighted sums, and products.

Both end in a shift, so no float is made; the factors are small enough for kernels that work on 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Largest factor of a line; most bits it is shifted by; largest term.
MOST_FACTOR, MOST_SHIFT, MOST_TERM = 8000, 14, 2**30
#: Most fraction bits of a product before it is rounded to a step, and most bits it is shifted left by.
MOST_FRACTION, MOST_LEFT = 6, 13
WORD = 15


@dataclass(frozen=True)
class Line:
    """A weighted sum of bytes: q = clamp((sum of q_i factors[i] + term) >> shift, low, high).

    Attributes:
        factors: int32 (operands, n), at most `MOST_FACTOR` in magnitude; n is 1, or the number of channels.
        term: int32 (n,), with zero points, the constant term and the half that rounds.
        shift: int32 (n,), from 0 to `MOST_SHIFT`.
    """

    factors: np.ndarray
    term: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(
        cls, ratios: np.ndarray, zeros: Sequence[int], zero_out: np.ndarray | int,
        terms: np.ndarray | float = 0.0, *, per_channel_out: bool = False,
    ) -> Line:  # fmt: skip
        """The integers of section 6.

        Args:
            ratios: binary64 (operands, n): steps of the result that a step of each operand makes.
            zeros: zero point of each operand.
            zero_out: zero points of the result.
            terms: binary64 (n,), in steps of the result.
            per_channel_out: whether the result has a scale per channel, and so a shift of its own.

        >>> line = Line.of(np.array([[0.5], [1.0]]), (10, 20), 3)
        >>> line.factors.ravel().tolist(), line.term.tolist(), line.shift.tolist()
        ([2048, 4096], [-88064], [12])
        >>> int(line(np.uint8(14), np.uint8(21)))
        6
        """
        size = np.abs(ratios).max(axis=0)
        size = size if per_channel_out else np.full_like(size, size.max())
        shift = np.array([next((n for n in range(MOST_SHIFT, 0, -1) if s * 2.0**n <= MOST_FACTOR), 0) for s in size])
        factors = np.clip(np.rint(ratios * 2.0**shift), -MOST_FACTOR, MOST_FACTOR).astype(np.int64)
        term = (np.asarray(zero_out, np.int64) << shift) + (np.int64(1) << shift >> 1)
        term = term - np.array(zeros, np.int64) @ factors
        added = np.clip(np.rint(np.asarray(terms, np.float64) * 2.0**shift), -MOST_TERM, MOST_TERM)
        term = np.clip(term + added.astype(np.int64), -MOST_TERM, MOST_TERM)
        return cls(factors.astype(np.int32), term.astype(np.int32), shift.astype(np.int32))

    def __call__(self, *q: np.ndarray, axis: int = -1, low: int = 0, high: int = 255) -> np.ndarray:
        """The result for bytes of one rank, channels along `axis`; uint8."""
        rank = max(np.ndim(x) for x in q)
        total = along(self.term, rank, axis)
        for x, factor in zip(q, self.factors, strict=True):
            total = total + np.asarray(x, np.int32) * along(factor, rank, axis)
        return np.clip(total >> along(self.shift, rank, axis), low, high).astype(np.uint8)


@dataclass(frozen=True)
class Product:
    """A product of two bytes, halved and then multiplied by a factor of 15 bits, both with rounding.

    Attributes:
        zeros: zero points of the operands.
        factor: int32 (n,), below 2^15; n is 1, or the number of channels.
        fraction: int32 (n,), fraction bits of the product in steps of the result, 1 to `MOST_FRACTION`.
        left: int32 (n,), bits the product of the steps is shifted left by; zero but for scales far apart.
        term: int32 (n,), zero point of the result and the half that rounds, with `fraction` bits.
    """

    zeros: tuple[int, int]
    factor: np.ndarray
    fraction: np.ndarray
    left: np.ndarray
    term: np.ndarray

    @classmethod
    def of(cls, ratios: np.ndarray, zeros: tuple[int, int], zero_out: np.ndarray | int) -> Product:
        """The integers of section 6 for `ratios`, binary64 (n,): steps of the result in a product of one.

        >>> product = Product.of(np.array([1 / 255]), (0, 128), 7)
        >>> product.factor.tolist(), product.fraction.tolist(), product.term.tolist()
        ([16448], [6], [480])
        >>> int(product(np.uint8(255), np.uint8(130)))
        9
        """
        found = [_scaled(float(ratio)) for ratio in ratios]
        factor, fraction, left = (np.array(part, np.int32) for part in zip(*found, strict=True))
        term = (2 * np.asarray(zero_out, np.int32) + 1) << (fraction - 1)
        return cls(zeros, factor, fraction, left, term.astype(np.int32))

    def __call__(
        self, a: np.ndarray, b: np.ndarray, *, axis: int = -1, low: int = 0, high: int = 255
    ) -> np.ndarray:  # fmt: skip
        """The result for bytes of one rank, channels along `axis`; uint8."""
        rank = max(np.ndim(a), np.ndim(b))
        factor, fraction, left, term = (
            along(x, rank, axis) for x in (self.factor, self.fraction, self.left, self.term)
        )
        product = (np.asarray(a, np.int32) - self.zeros[0]) * (np.asarray(b, np.int32) - self.zeros[1])
        half = np.clip(((product << left) + 1) >> 1, -(1 << WORD), (1 << WORD) - 1)
        fine = (half * factor + (1 << (WORD - 1))) >> WORD
        return np.clip((fine + term) >> fraction, low, high).astype(np.uint8)


def _scaled(ratio: float) -> tuple[int, int, int]:
    """(factor, fraction, left) of one ratio."""
    choices = [(fraction, 0) for fraction in range(MOST_FRACTION, 0, -1)] + [(1, left) for left in range(1, MOST_LEFT)]
    for fraction, left in choices:
        factor = int(np.rint(ratio * 2.0 ** (fraction + WORD + 1 - left)))
        if factor < 1 << WORD:
            return factor, fraction, left
    return (1 << WORD) - 1, 1, MOST_LEFT


def along(values: np.ndarray, rank: int, axis: int | None) -> np.ndarray:
    """One value, or one per channel shaped to broadcast along `axis` of a tensor of `rank`."""
    values = np.asarray(values)
    if values.size == 1:
        return values.reshape(())
    if axis is None:
        return values
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)
