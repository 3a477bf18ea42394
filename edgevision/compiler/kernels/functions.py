"""Elementwise functions in binary32, as polynomials every vector unit can run.

Each is a fixed sequence of additions, multiplications, one division at most, and integer bit operations. In exact
arithmetic every operation is rounded on its own, so numpy's float32 gives the same bits (`graph/numerics.py` holds
the same sequences); otherwise the compiler may fuse multiply and add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit, segments
from edgevision.compiler.kernels.emit import Expr
from edgevision.graph import numerics as N


class Arithmetic:
    """The four operations, rounded one by one when `exact`, free to fuse otherwise."""

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact

    def rounded(self, value: Expr, width: int) -> Expr:
        """Fix the rounding of `value` here when exact."""
        return emit.fence(value, width) if self.exact else value

    def add(self, a: Expr, b: Expr, width: int) -> Expr:
        """a + b."""
        return self.rounded(a + b, width)

    def sub(self, a: Expr, b: Expr, width: int) -> Expr:
        """a - b."""
        return self.rounded(a - b, width)

    def mul(self, a: Expr, b: Expr, width: int) -> Expr:
        """a * b."""
        return self.rounded(a * b, width)

    def div(self, a: Expr, b: Expr, width: int) -> Expr:
        """a / b."""
        return self.rounded(a / b, width)

    def binary(self, name: str, a: Expr, b: Expr, width: int) -> Expr:
        """One of add, sub, mul, div, max, min."""
        if name == "max":
            return T.max(a, b)
        if name == "min":
            return T.min(a, b)
        operation: Callable[[Expr, Expr, int], Expr] = getattr(self, name)
        return operation(a, b, width)

    def polynomial(self, x: Expr, coefficients: Sequence[float], width: int) -> Expr:
        """Horner's rule, highest coefficient first."""
        value = emit.f32(coefficients[0], width)
        for coefficient in coefficients[1:]:
            value = self.add(self.mul(value, x, width), emit.f32(coefficient, width), width)
        return emit.named(value)


def relu(_math: Arithmetic, x: Expr, width: int) -> Expr:
    """max(x, 0)."""
    return T.max(x, emit.f32(0.0, width))


def relu6(_math: Arithmetic, x: Expr, width: int) -> Expr:
    """min(max(x, 0), 6)."""
    return T.min(T.max(x, emit.f32(0.0, width)), emit.f32(6.0, width))


def clamped(x: Expr, low: float, high: float, width: int) -> Expr:
    """X bounded to [low, high]."""
    return emit.named(T.max(T.min(x, emit.f32(high, width)), emit.f32(low, width)))


def erf(math: Arithmetic, x: Expr, width: int) -> Expr:
    """Error function as x * P(x^2) / Q(x^2) on [-4, 4] (coefficients: `numerics.ERF_P`, `ERF_Q`)."""
    x = clamped(x, -N.ERF_BOUND, N.ERF_BOUND, width)
    square = emit.named(math.mul(x, x, width))
    p = math.polynomial(square, N.ERF_P, width)
    q = math.polynomial(square, N.ERF_Q, width)
    return emit.named(math.div(math.mul(x, p, width), q, width))


def gelu(math: Arithmetic, x: Expr, width: int) -> Expr:
    """x/2 * (1 + erf(x / sqrt 2)); exact arithmetic has a polynomial of its own, without a division."""
    x = emit.named(x)
    if math.exact:
        near = clamped(x, -N.GELU_BOUND, N.GELU_BOUND, width)
        share = math.mul(near, math.polynomial(math.mul(near, near, width), N.GELU_P, width), width)
        return math.mul(x, math.add(share, emit.f32(0.5, width), width), width)
    if width == segments.LANES:
        return segments.gelu(x)
    inner = erf(math, math.mul(x, emit.f32(N.SQRT_HALF, width), width), width)
    half = math.mul(x, emit.f32(0.5, width), width)
    return math.mul(half, math.add(inner, emit.f32(1.0, width), width), width)


def exp(math: Arithmetic, x: Expr, width: int) -> Expr:
    """e^x as 2^n * P(r), n the nearest integer to x / ln 2, r the rest in two parts of ln 2."""
    x = clamped(x, N.EXP_LOW, N.EXP_HIGH, width)
    shifted = math.mul(x, emit.f32(N.LOG2_E, width), width)
    # The rounding trick needs the sum as it is, whatever the mode.
    shifted = emit.named(emit.fence(emit.fence(shifted, width) + emit.f32(emit.ROUND_MAGIC, width), width))
    n = emit.named(math.sub(shifted, emit.f32(emit.ROUND_MAGIC, width), width))
    rest = math.sub(x, math.mul(n, emit.f32(N.LN2_HIGH, width), width), width)
    rest = emit.named(math.sub(rest, math.mul(n, emit.f32(N.LN2_LOW, width), width), width))
    p = math.polynomial(rest, N.EXP_P, width)
    steps = emit.reinterpret(shifted, "int32", width) - emit.i32(emit.ROUND_MAGIC_BITS, width)
    bits = emit.reinterpret(p, "int32", width) + T.shift_left(steps, emit.i32(23, width))
    return emit.named(emit.reinterpret(bits, "float32", width))


def sigmoid(math: Arithmetic, x: Expr, width: int) -> Expr:
    """1 / (1 + e^-x)."""
    e = exp(math, emit.f32(0.0, width) - x, width)
    return emit.named(math.div(emit.f32(1.0, width), math.add(e, emit.f32(1.0, width), width), width))


def silu(math: Arithmetic, x: Expr, width: int) -> Expr:
    """X * sigmoid(x)."""
    x = emit.named(x)
    return math.mul(x, sigmoid(math, x, width), width)


def tanh(math: Arithmetic, x: Expr, width: int) -> Expr:
    """2 * sigmoid(2x) - 1."""
    s = sigmoid(math, x + x, width)
    return math.sub(s + s, emit.f32(1.0, width), width)


def hard_sigmoid(math: Arithmetic, x: Expr, width: int) -> Expr:
    """clip(x/6 + 1/2, 0, 1), the form of HardSwish."""
    line = math.add(math.mul(x, emit.f32(N.SIXTH, width), width), emit.f32(0.5, width), width)
    return T.max(T.min(line, emit.f32(1.0, width)), emit.f32(0.0, width))


def hard_swish(math: Arithmetic, x: Expr, width: int) -> Expr:
    """X * hard_sigmoid(x)."""
    x = emit.named(x)
    return math.mul(x, hard_sigmoid(math, x, width), width)


FUNCTIONS: dict[str, Callable[[Arithmetic, Expr, int], Expr]] = {
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
