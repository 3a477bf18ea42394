"""The arithmetic of quantised networks in numpy: the executable form of quant/NUMERICS.md.

Every function names its section there. Kernels on every target, the C-sim and the RTL must give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Version of quant/NUMERICS.md these functions follow; stands in every bundle's manifest.
VERSION = 5

F = np.float32

# erf(x) = x P(x^2) / Q(x^2) on [-4, 4]: our own weighted least-squares fit, error 4.3e-7 evaluated in binary32.
ERF_BOUND = 4.0
ERF_P = (
    1.9868125491484534e-06,
    0.0002845638373401016,
    0.003883219789713621,
    0.05310135334730148,
    0.19354206323623657,
    1.1283791065216064,
)
ERF_Q = (
    3.742038461496122e-05,
    0.0011855426710098982,
    0.015206998214125633,
    0.11534876376390457,
    0.5048547387123108,
    1.0,
)
# gelu(x) = x (c P(c^2) + 1/2), c = x clamped to [-3.953125, 3.953125], where c P(c^2) is exactly 1/2 in binary32: our
# own weighted least-squares fit of the normal distribution, error of gelu 1.7e-4, one hundredth of a usual step.
GELU_BOUND = 3.953125
GELU_P = (
    2.4315147229003742e-08,
    -1.67520011018496e-06,
    4.943811291013844e-05,
    -0.0008279801113530993,
    0.00883800070732832,
    -0.06471242755651474,
    0.39797961711883545,
)
SQRT_HALF = float(F(0.7071067811865476))
SIXTH = float(F(1 / 6))

# e^r on [-ln2/2, ln2/2], relative error 3e-9: our own fit, first two coefficients held at 1.
EXP_P = (
    0.0013814466074109077,
    0.008368780836462975,
    0.04166839271783829,
    0.1666651964187622,
    0.4999999403953552,
    1.0,
    1.0,
)
# Section 12: 16-bit steps. (w c(w))^2 is the normal distribution at -GELU_REACH (1 - w), w from 0 to 1; gelu within
# 2.9e-4: our own minimax fit. The first three coefficients have 13 fraction bits, the last 15.
GELU_REACH = 3.9
GELU_STEPS_P = (-10744, 20691, -5857, 6873)
WORD_BITS = 15
# 2^r on [-1/2, 1/2], relative error 2.9e-6: our own fit, last coefficient held at 1.
EXP2_P = (0.009582806378602982, 0.055906426161527634, 0.24024099111557007, 0.6931241750717163, 1.0)
SOFTMAX_LOW = -40.0
EXP_LOW, EXP_HIGH = -87.0, 88.0
LOG2_E = 1.4426950216293335
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.428606765330187e-06


def reciprocal(scale: np.ndarray | float) -> np.ndarray:
    """Section 2: a scale is divided by through its binary32 reciprocal, computed in binary64 and rounded once."""
    return (1.0 / np.asarray(scale, F).astype(np.float64)).astype(F)


def quantize(
    values: np.ndarray, scale: np.ndarray | float, zero_point: np.ndarray | int, low: int = 0, high: int = 255
) -> np.ndarray:
    """Section 2: float32 to a byte: clamp(rint(v * (1/scale)) + zero_point, low, high).

    >>> quantize(np.float32([0.0, 0.25, 0.75, 9.0]), 0.5, 3).tolist()
    [3, 3, 5, 21]
    """
    return clamp_steps(values.astype(F) * reciprocal(scale), zero_point, low, high)


#: A value this many steps away from zero is saturated before it is rounded; far outside any byte.
STEP_BOUND = float(2**21)


def clamp_steps(steps: np.ndarray, zero_point: np.ndarray | int, low: int, high: int) -> np.ndarray:
    """Section 2: round half to even, add the zero point, saturate; uint8."""
    bounded = np.clip(steps, F(-STEP_BOUND), F(STEP_BOUND))
    whole = np.rint(bounded).astype(np.int32) + np.asarray(zero_point, np.int32)
    return np.clip(whole, low, high).astype(np.uint8)


def dequantize(q: np.ndarray, scale: np.ndarray | float, zero_point: np.ndarray | int) -> np.ndarray:
    """Section 3: byte to float32: float(q - zero_point) * scale, one rounding."""
    return (q.astype(np.int32) - np.asarray(zero_point, np.int32)).astype(F) * np.asarray(scale, F)


def quantize_bias(bias: np.ndarray, accumulator_scale: np.ndarray) -> np.ndarray:
    """Section 4: bias in steps of the accumulator, rint in binary64, int32."""
    return np.rint(bias.astype(np.float64) / accumulator_scale.astype(np.float64)).astype(np.int64)


def requantize(
    accumulator: np.ndarray, multiplier: np.ndarray | float, zero_point: np.ndarray | int, low: int, high: int
) -> np.ndarray:
    """Section 4: int32 accumulator to a byte: clamp(rint(float(acc) * M) + zero_point); uint8.

    >>> requantize(np.int32([0, 5, 15, -100]), np.float32(0.1), 10, 0, 255).tolist()
    [10, 10, 12, 0]
    """
    return clamp_steps(accumulator.astype(np.int32).astype(F) * np.asarray(multiplier, F), zero_point, low, high)


@dataclass(frozen=True)
class GeluSteps:
    """Section 12: how the gelu of a layer is taken in 16-bit steps of its result.

    Attributes:
        fraction: fraction bits of a step, 4 to 7.
        bound: steps from which gelu is max(x, 0), with `fraction` bits.
        factor, left: bring the distance from the bound to 15 fraction bits: ((bound - |x|) factor >> 15) << left.
    """

    fraction: int
    bound: int
    factor: int
    left: int

    @classmethod
    def of(cls, scale: float) -> GeluSteps | None:
        """Of a result with this scale; None where steps are so small that the bound needs more than 16 bits.

        >>> GeluSteps.of(0.02), GeluSteps.of(0.0001)
        (GeluSteps(fraction=7, bound=24960, factor=21507, left=1), None)
        """
        for fraction in (7, 6, 5, 4):
            bound = int(np.rint(2.0**fraction * GELU_REACH / float(F(scale))))
            if 0 < bound < 1 << WORD_BITS:
                break
        else:
            return None
        left = next(n for n in range(WORD_BITS) if cls._factor(bound, n) < 1 << WORD_BITS)
        return cls(fraction, bound, cls._factor(bound, left), left)

    @staticmethod
    def _factor(bound: int, left: int) -> int:
        return ((((1 << WORD_BITS) - 1) >> left) << WORD_BITS) // bound

    def offset(self, zero_point: int) -> int:
        """What is added before the fraction is cut off: the zero point and half a step."""
        return (2 * zero_point + 1) << (self.fraction - 1)

    def gelu(self, x: np.ndarray) -> np.ndarray:
        """Gelu of int16 steps, without the offset; int64."""
        x = x.astype(np.int64)
        size = np.abs(x)
        away = _word_product(np.maximum(self.bound - size, 0), self.factor) << self.left
        cubic, square, line, rest = GELU_STEPS_P
        value = _word_product(cubic, away) + square
        value = (_word_product(value, away) + line) << 2
        root = _word_product(_word_product(value, away) + rest, away)
        return np.maximum(x, 0) - _word_product(size, _word_product(root, root))


def _word_product(a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
    return (np.asarray(a, np.int64) * np.asarray(b, np.int64) + (1 << (WORD_BITS - 1))) >> WORD_BITS


def requantize_gelu(
    accumulator: np.ndarray, multiplier: np.ndarray | float, steps: GeluSteps, zero_point: int, low: int, high: int
) -> np.ndarray:
    """Section 12: int32 accumulator to a byte through gelu; `multiplier` includes 2^fraction.

    >>> requantize_gelu(np.int32([-300, -100, 0, 100]), np.float32(0.01 / 0.02 * 128), GeluSteps.of(0.02), 9, 0, 255)
    array([ 9,  1,  9, 51], dtype=uint8)
    """
    fine = np.clip(accumulator.astype(np.int32).astype(F) * np.asarray(multiplier, F), F(-(2**15)), F(2**15 - 1))
    total = steps.gelu(np.rint(fine).astype(np.int64)) + steps.offset(zero_point)
    whole = np.minimum(total, (1 << WORD_BITS) - 1) >> steps.fraction
    return np.clip(whole, low, high).astype(np.uint8)


def lookup_table(
    function: Callable[[np.ndarray], np.ndarray], scale: float, zero_point: int, out_scale: float, out_zero_point: int
) -> np.ndarray:
    """Section 7: the 256 bytes of a nonlinear function from byte to byte, computed in binary64, rint."""
    x = (np.arange(256, dtype=np.float64) - zero_point) * np.float64(F(scale))
    steps = np.rint(function(x) / np.float64(F(out_scale))) + out_zero_point
    return np.clip(steps, 0, 255).astype(np.uint8)


# Section 5: the float functions, operation by operation in binary32.


def _polynomial(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    value = np.full_like(x, F(coefficients[0]))
    for coefficient in coefficients[1:]:
        value = value * x + F(coefficient)
    return value


def erf(x: np.ndarray) -> np.ndarray:
    """Section 5: error function."""
    x = np.clip(x.astype(F), F(-ERF_BOUND), F(ERF_BOUND))
    square = x * x
    return (x * _polynomial(square, ERF_P)) / _polynomial(square, ERF_Q)


def gelu(x: np.ndarray) -> np.ndarray:
    """Section 5: x times the normal distribution, a polynomial without division.

    >>> [round(float(v), 3) for v in gelu(np.float32([-1, 0, 2, 9]))]
    [-0.159, 0.0, 1.954, 9.0]
    """
    x = x.astype(F)
    near = np.clip(x, F(-GELU_BOUND), F(GELU_BOUND))
    return x * (near * _polynomial(near * near, GELU_P) + F(0.5))


def exp(x: np.ndarray) -> np.ndarray:
    """Section 5: e^x, argument clamped to [-87, 88]."""
    x = np.clip(x.astype(F), F(EXP_LOW), F(EXP_HIGH))
    n = np.rint(x * F(LOG2_E))
    rest = x - n * F(LN2_HIGH)
    rest = rest - n * F(LN2_LOW)
    bits = _polynomial(rest, EXP_P).view(np.int32) + (n.astype(np.int32) << np.int32(23))
    return bits.view(F)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Section 5: 1 / (1 + e^-x)."""
    return F(1.0) / (exp(F(0.0) - x.astype(F)) + F(1.0))


def silu(x: np.ndarray) -> np.ndarray:
    """Section 5: x * sigmoid(x)."""
    return x * sigmoid(x)


def tanh(x: np.ndarray) -> np.ndarray:
    """Section 5: 2 sigmoid(2x) - 1."""
    s = sigmoid(x + x)
    return (s + s) - F(1.0)


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    """Section 5: clip(x/6 + 1/2, 0, 1)."""
    return np.clip(x * F(SIXTH) + F(0.5), F(0.0), F(1.0))


def hard_swish(x: np.ndarray) -> np.ndarray:
    """Section 5: x * hard_sigmoid(x)."""
    return x * hard_sigmoid(x)


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(x, F(0.0))


def relu6(x: np.ndarray) -> np.ndarray:
    """min(max(x, 0), 6)."""
    return np.minimum(np.maximum(x, F(0.0)), F(6.0))


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": relu,
    "relu6": relu6,
    "gelu": gelu,
    "erf": erf,
    "exp": exp,
    "sigmoid": sigmoid,
    "silu": silu,
    "tanh": tanh,
    "hard_sigmoid": hard_sigmoid,
    "hard_swish": hard_swish,
}


# Section 9: functions of a whole row.

#: Running values of a sum over a row: element i goes to value i mod 16.
RUNNING = 16


def row_sum(values: np.ndarray) -> np.ndarray:
    """Section 9: binary32 sum over the last axis in the fixed order; keeps the axis.

    >>> row_sum(np.ones((1, 20), np.float32)).tolist()
    [[20.0]]
    """
    count = values.shape[-1]
    running = np.zeros((*values.shape[:-1], RUNNING), F)
    for first in range(0, count, RUNNING):
        piece = values[..., first : first + RUNNING].astype(F)
        running[..., : piece.shape[-1]] += piece
    width = RUNNING
    while width > 1:
        width //= 2
        running = running[..., :width] + running[..., width : 2 * width]
    return running


def layer_norm(x: np.ndarray, gamma: np.ndarray | None, beta: np.ndarray | None, epsilon: float) -> np.ndarray:
    """Section 9: layer normalisation over the last axis.

    >>> layer_norm(np.float32([[1, 2, 3, 4]]), None, None, 0.0).round(3).tolist()
    [[-1.3420000076293945, -0.44699999690055847, 0.44699999690055847, 1.3420000076293945]]
    """
    x = x.astype(F)
    share = F(1.0 / x.shape[-1])
    away = x - row_sum(x) * share
    variance = row_sum(away * away) * share
    value = away * (F(1.0) / np.sqrt(variance + F(epsilon)))
    value = value if gamma is None else value * gamma.astype(F)
    return value if beta is None else value + beta.astype(F)


def softmax_bits(count: int) -> int:
    """Section 9: fraction bits of the numerators of a softmax over `count` elements.

    >>> softmax_bits(197), softmax_bits(4096)
    (21, 18)
    """
    return min(21, 30 - int(np.ceil(np.log2(max(count, 1)))))


def softmax(x: np.ndarray) -> np.ndarray:
    """Section 9: softmax over the last axis.

    >>> softmax(np.float32([[0, 0, 0, 0]])).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    x = x.astype(F)
    scaled = np.maximum((x - x.max(axis=-1, keepdims=True)) * F(LOG2_E), F(SOFTMAX_LOW))
    n = np.rint(scaled)
    powers = _polynomial(scaled - n, tuple(c * 2.0 ** softmax_bits(x.shape[-1]) for c in EXP2_P))
    steps = np.rint((powers.view(np.int32) + (n.astype(np.int32) << np.int32(23))).view(F)).astype(np.int64)
    factor = F(1.0) / steps.sum(axis=-1, keepdims=True).astype(F)
    return steps.astype(F) * factor
