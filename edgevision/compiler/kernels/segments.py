"""GELU of float networks by a table in registers, for cores whose permutation reads sixteen floats (AVX-512).

gelu(x) = max(x, 0) - t Phi(-t) with t = |x|, Phi the normal distribution: of the bump t Phi(-t), each of sixteen
segments is a polynomial of its own, whose coefficients one `vpermps` fetches for sixteen lanes. Half the time of a
quotient of polynomials, whose multiplications and division share one pair of ports.
"""

from __future__ import annotations

from tvm.script.ir_builder import tirx as T

from edgevision.compiler.kernels import emit
from edgevision.compiler.kernels.emit import Expr

#: Lanes of the vectors this is for: segments, too.
LANES = 16
#: Distance between the centres of two segments; the first centre is zero.
_STEP = 0.36
#: The end of the last segment, where the bump is taken as zero: 6.7e-8 by then.
_REACH = 15.499 * _STEP
#: Per power of the distance from the centre, in steps, from the fourth to none: the coefficient of every segment. Our
#: own least-squares fit at Chebyshev nodes in binary64, the first segment held at zero at its centre, the last at its
#: end; within 3.2e-7 of the bump, in binary32.
_COEFFICIENTS = (
    (
        0.001095364, 0.0008087882, 0.0001393506, -0.0004316219, -0.0006108613, -0.0004509023,
        -0.0001878418, -3.029102e-06, 6.414659e-05, 5.951097e-05, 3.488077e-05, 1.551549e-05,
        5.558501e-06, 1.649012e-06, 4.114678e-07, -1.823027e-06,
    ),
    (
        1.203275e-05, 0.004016202, 0.005957119, 0.005273758, 0.003052948, 0.0008557198,
        -0.0004175555, -0.0007601442, -0.0006052387, -0.00034446, -0.0001549802, -5.734341e-05,
        -1.780157e-05, -4.691412e-06, -1.05757e-06, -6.825519e-07,
    ),
    (
        -0.05170517, -0.04531822, -0.02955622, -0.01202764, 0.0006742447, 0.006343691,
        0.006685978, 0.004699547, 0.002572453, 0.001154155, 0.0004345692, 0.0001391135,
        3.816403e-05, 9.019934e-06, 1.843392e-06, 6.848053e-07,
    ),
    (
        0.1800001, 0.08093585, 0.005082178, -0.03614055, -0.04635681, -0.03822578,
        -0.02456032, -0.01301121, -0.00582308, -0.002229503, -0.0007356521, -0.0002101662,
        -5.21475e-05, -1.126252e-05, -2.120619e-06, -2.888305e-07,
    ),
    (
        0.0, 0.1293925, 0.169749, 0.1512768, 0.1079045, 0.06467458,
        0.03323448, 0.01478671, 0.005726521, 0.001936381, 0.000572791, 0.0001484007,
        3.37024e-05, 6.712914e-06, 1.173154e-06, 1.724721e-07,
    ),
)  # fmt: skip


def gelu(x: Expr) -> Expr:
    """X times the normal distribution at x, of sixteen lanes; a NaN stays one."""
    x = emit.named(x)
    bits = emit.reinterpret(x, "int32", LANES) & emit.i32(0x7FFFFFFF, LANES)
    size = emit.named(emit.reinterpret(bits, "float32", LANES))
    near = emit.named(T.min(size, emit.f32(_REACH, LANES)))
    scaled = near * emit.f32(1 / _STEP, LANES)
    # The low bits of the sum are the number of the segment, which is all that the permutation looks at.
    shifted = emit.named(emit.fence(scaled + emit.f32(emit.ROUND_MAGIC, LANES), LANES))
    away = emit.named(scaled - emit.fence(shifted - emit.f32(emit.ROUND_MAGIC, LANES), LANES))
    segment = emit.named(emit.reinterpret(shifted, "int32", LANES))
    bump = _fetched(_COEFFICIENTS[0], segment)
    for row in _COEFFICIENTS[1:]:
        bump = bump * away + _fetched(row, segment)
    # The larger of zero and x in this order, because the instruction gives its second operand where one is a NaN.
    return emit.named(T.max(emit.f32(0.0, LANES), x) - bump)


def _fetched(row: tuple[float, ...], segment: Expr) -> Expr:
    table = T.Shuffle([T.float32(value) for value in row], [T.int32(lane) for lane in range(LANES)])
    return emit.named(emit.intrinsic("llvm.x86.avx512.permvar.sf.512", "float32", LANES, table, segment))
