"""Make numerics.json: golden vectors of NUMERICS.md by exact rational arithmetic, independent of numpy.

Run from anywhere: `python quant/golden/make.py`. Uses only the standard library; the file it writes is committed.
"""

from __future__ import annotations

import json
import math
import random
import struct
from fractions import Fraction
from pathlib import Path

SEED = 20


def rint(x: Fraction) -> int:
    """Nearest integer, ties to even."""
    return round(x)


def binary32(x: Fraction) -> Fraction:
    """Nearest binary32 value, ties to even; normal range only."""
    if x == 0:
        return Fraction(0)
    exponent = math.floor(math.log2(abs(x)))
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    ulp = Fraction(2) ** (exponent - 23)
    return rint(x / ulp) * ulp


def binary64(x: Fraction) -> Fraction:
    """Nearest binary64 value."""
    return Fraction(x.numerator / x.denominator) if x else Fraction(0)


def clamp(x, low, high):
    """X bounded to [low, high]."""
    return max(low, min(high, x))


def single(x: float) -> Fraction:
    """A Python float as the nearest binary32."""
    return Fraction(struct.unpack("f", struct.pack("f", x))[0])


def quantize(v: Fraction, s: Fraction, z: int, low: int = 0, high: int = 255) -> int:
    """Section 2."""
    r = binary32(binary64(1 / s))
    return clamp(rint(clamp(binary32(v * r), -(2**21), 2**21)) + z, low, high)


def requantize(acc: int, m: Fraction, z: int, low: int, high: int) -> int:
    """Section 4."""
    t = binary32(binary32(Fraction(acc)) * m)
    return clamp(rint(clamp(t, -(2**21), 2**21)) + z, low, high)


def horner(x: Fraction, coefficients: list[float]) -> Fraction:
    """Horner's rule, every operation rounded."""
    value = single(coefficients[0])
    for c in coefficients[1:]:
        value = binary32(binary32(value * x) + single(c))
    return value


ERF_P = [1.9868125491484534e-06, 0.0002845638373401016, 0.003883219789713621, 0.05310135334730148, 0.19354206323623657,
         1.1283791065216064]  # fmt: skip
ERF_Q = [3.742038461496122e-05, 0.0011855426710098982, 0.015206998214125633, 0.11534876376390457, 0.5048547387123108,
         1.0]  # fmt: skip
GELU_P = [2.4315147229003742e-08, -1.67520011018496e-06, 4.943811291013844e-05, -0.0008279801113530993,
          0.00883800070732832, -0.06471242755651474, 0.39797961711883545]  # fmt: skip
EXP2_P = [0.009582806378602982, 0.055906426161527634, 0.24024099111557007, 0.6931241750717163, 1.0]
EXP_P = [0.0013814466074109077, 0.008368780836462975, 0.04166839271783829, 0.1666651964187622, 0.4999999403953552, 1.0,
         1.0]  # fmt: skip


def erf(x: Fraction) -> Fraction:
    """Section 5."""
    x = clamp(x, Fraction(-4), Fraction(4))
    y = binary32(x * x)
    return binary32(binary32(x * horner(y, ERF_P)) / horner(y, ERF_Q))


def gelu(x: Fraction) -> Fraction:
    """Section 5."""
    c = clamp(x, -Fraction(3.953125), Fraction(3.953125))
    share = binary32(c * horner(binary32(c * c), GELU_P))
    return binary32(x * binary32(share + Fraction(1, 2)))


def exp(x: Fraction) -> Fraction:
    """Section 5."""
    x = clamp(x, Fraction(-87), Fraction(88))
    n = rint(binary32(x * single(1.4426950216293335)))
    rest = binary32(x - binary32(n * single(0.693145751953125)))
    rest = binary32(rest - binary32(n * single(1.428606765330187e-06)))
    return horner(rest, EXP_P) * Fraction(2) ** n


def sigmoid(x: Fraction) -> Fraction:
    """Section 5."""
    return binary32(1 / binary32(exp(-x) + 1))


def root(x: Fraction) -> Fraction:
    """Square root, rounded to binary32."""
    scale = Fraction(4) ** 60
    return binary32(Fraction(math.isqrt(math.floor(x * scale))) / Fraction(2) ** 60)


def row_sum(row: list[Fraction]) -> Fraction:
    """Section 9."""
    running = [Fraction(0)] * 16
    for index, value in enumerate(row):
        running[index % 16] = binary32(running[index % 16] + value)
    while len(running) > 1:
        half = len(running) // 2
        running = [binary32(a + b) for a, b in zip(running[:half], running[half:], strict=True)]
    return running[0]


def layer_norm(row: list[Fraction], gamma: list[Fraction], beta: list[Fraction], epsilon: Fraction) -> list[Fraction]:
    """Section 9."""
    share = binary32(Fraction(1, len(row)))
    mean = binary32(row_sum(row) * share)
    away = [binary32(x - mean) for x in row]
    variance = binary32(row_sum([binary32(d * d) for d in away]) * share)
    factor = binary32(1 / root(binary32(variance + epsilon)))
    return [binary32(binary32(binary32(d * factor) * g) + b) for d, g, b in zip(away, gamma, beta, strict=True)]


def softmax(row: list[Fraction]) -> list[Fraction]:
    """Section 9."""
    k = min(21, 30 - math.ceil(math.log2(len(row))))
    steps = []
    for x in row:
        scaled = max(binary32(binary32(x - max(row)) * single(1.4426950216293335)), Fraction(-40))
        n = rint(scaled)
        power = horner(binary32(scaled - n), [c * 2.0**k for c in EXP2_P])
        steps.append(rint(power * Fraction(2) ** n))
    factor = binary32(1 / binary32(Fraction(sum(steps))))
    return [binary32(step * factor) for step in steps]


def gelu_steps(acc: int, m: Fraction, so: Fraction, zo: int) -> int:
    """Section 12; `m` without the fraction bits."""
    f = next(n for n in (7, 6, 5, 4) if rint(binary64(Fraction(3.9) / so * 2**n)) < 2**15)
    bound = rint(binary64(Fraction(3.9) / so * 2**f))
    h = next(n for n in range(15) if ((2**15 - 1) // 2**n) * 2**15 // bound < 2**15)
    factor = ((2**15 - 1) // 2**h) * 2**15 // bound
    x = clamp(rint(binary32(binary32(Fraction(acc)) * m * 2**f)), -(2**15), 2**15 - 1)

    def p(a: int, b: int) -> int:
        return math.floor(Fraction(a * b, 2**15) + Fraction(1, 2))

    w = p(max(bound - abs(x), 0), factor) * 2**h
    v = p(-10744, w) + 20691
    v = 4 * (p(v, w) - 5857)
    v = p(p(v, w) + 6873, w)
    g = max(x, 0) - p(abs(x), p(v, v))
    return clamp(math.floor(Fraction(min(g + (2 * zo + 1) * 2 ** (f - 1), 2**15 - 1), 2**f)), 0, 255)


def line(q: list[int], ratios: list[Fraction], zeros: list[int], zo: int, term: Fraction) -> int:
    """Section 6: a weighted sum of bytes."""
    n = next((n for n in range(14, 0, -1) if max(map(abs, ratios)) * 2**n <= 8000), 0)
    factors = [max(-8000, min(8000, rint(r * 2**n))) for r in ratios]
    c = zo * 2**n + 2**n // 2 - sum(z * m for z, m in zip(zeros, factors, strict=True))
    c = max(-(2**30), min(2**30, c + max(-(2**30), min(2**30, rint(term * 2**n)))))
    return clamp((sum(x * m for x, m in zip(q, factors, strict=True)) + c) // 2**n, 0, 255)


def product(a: int, b: int, za: int, zb: int, zo: int, ratio: Fraction) -> int:
    """Section 6: a product of two bytes."""
    choices = [(f, 0) for f in range(6, 0, -1)] + [(1, e) for e in range(1, 13)]
    scaled = [(f, e, rint(ratio * Fraction(2) ** (f + 16 - e))) for f, e in choices]
    f, e, m = next((found for found in scaled if found[2] < 2**15), (1, 13, 2**15 - 1))
    h = max(-(2**15), min(2**15 - 1, ((a - za) * (b - zb) * 2**e + 1) // 2))
    v = (h * m + 2**14) // 2**15
    return clamp((v + (2 * zo + 1) * 2 ** (f - 1)) // 2**f, 0, 255)


def sign_of(x: Fraction | int) -> int:
    """Section 13."""
    return 1 if x >= 0 else -1


def tanh(x: Fraction) -> Fraction:
    """Section 5."""
    s = sigmoid(binary32(x + x))
    return binary32(binary32(s + s) - 1)


def silu(x: Fraction) -> Fraction:
    """Section 5."""
    return binary32(x * sigmoid(x))


def hard_sigmoid(x: Fraction) -> Fraction:
    """Section 5."""
    return clamp(binary32(binary32(x * single(0.16666667)) + Fraction(1, 2)), Fraction(0), Fraction(1))


def hard_swish(x: Fraction) -> Fraction:
    """Section 5."""
    return binary32(x * hard_sigmoid(x))


def bits(x: Fraction) -> int:
    """Bit pattern of a binary32 value."""
    return struct.unpack("I", struct.pack("f", float(x)))[0]


def vectors() -> dict:
    """All vectors, deterministic."""
    rng = random.Random(SEED)
    found: dict = {"version": 5, "quantize": [], "dequantize": [], "requantize": [], "functions": {}}
    for _ in range(200):
        s, z = single(rng.choice([2.0**-6, rng.uniform(1e-4, 0.3)])), rng.randrange(256)
        v = single(float(s) * rng.choice([rng.uniform(-300, 300), rng.randrange(-300, 300) + 0.5]))
        low, high = sorted(rng.sample(range(256), 2)) if rng.random() < 0.3 else (0, 255)
        found["quantize"].append([float(v), float(s), z, low, high, quantize(v, s, z, low, high)])
        q = rng.randrange(256)
        found["dequantize"].append([q, float(s), z, bits(binary32(binary32(Fraction(q - z)) * s))])
    accumulators = [0, 1, -1, 2**24 - 1, 2**24 + 1, 2**31 - 1, -(2**31)]
    for acc in accumulators + [rng.randrange(-(2**26), 2**26) for _ in range(200)]:
        m, z = single(rng.choice([2.0**-12, 0.5, rng.uniform(1e-7, 1e-3)])), rng.randrange(256)
        found["requantize"].append([acc, float(m), z, 0, 255, requantize(acc, m, z, 0, 255)])
    found["line"], found["product"] = [], []
    for _ in range(300):
        sa, sb, so = (single(10 ** rng.uniform(-3, 0)) for _ in range(3))
        a, b, za, zb, zo = (rng.randrange(256) for _ in range(5))
        term = single(rng.choice([0, rng.uniform(-3, 3)]))
        sign = rng.choice([1, -1])
        out = line([a, b], [binary64(sa / so), sign * binary64(sb / so)], [za, zb], zo, binary64(term / so))
        found["line"].append([a, b, float(sa), float(sb), float(so), za, zb, zo, sign, float(term), out])
        so = single(float(sa) * float(sb) * 10 ** rng.uniform(-1, 3))
        out = product(a, b, za, zb, zo, binary64(binary64(sa * sb) / so))
        found["product"].append([a, b, float(sa), float(sb), float(so), za, zb, zo, out])
    for name, function in (("erf", erf), ("gelu", gelu), ("exp", exp), ("sigmoid", sigmoid)):
        points = [single(x) for x in (0.0, 1.0, -1.0, 0.5, 4.0, -4.0, 10.0, -10.0)]
        points += [single(rng.uniform(-8, 8)) for _ in range(100)]
        found["functions"][name] = [[bits(x), bits(function(x))] for x in points]
    found["gelu_steps"] = []
    for so in (0.002, 0.0041, 0.0125, 0.031, 0.2, 1.5):
        so32, zo = single(so), rng.randrange(256)
        m = single(rng.uniform(1e-3, 1.0))
        reach = math.ceil(6 / so / float(m))
        accumulators = [0, 1, -1, 2**30, -(2**30), reach, -reach, *(rng.randrange(-reach, reach) for _ in range(40))]
        found["gelu_steps"] += [[acc, float(m), float(so32), zo, gelu_steps(acc, m, so32, zo)] for acc in accumulators]
    found["rows"] = {"layer_norm": [], "softmax": []}
    for count in (1, 5, 16, 37, 200):
        row, gamma, beta = ([single(rng.gauss(0.3, 2)) for _ in range(count)] for _ in range(3))
        made = layer_norm(row, gamma, beta, single(1e-5))
        found["rows"]["layer_norm"].append([[bits(x) for x in part] for part in (row, gamma, beta, made)])
        found["rows"]["softmax"].append([[bits(x) for x in part] for part in (row, softmax(row))])
    found["whole_steps"] = []
    for _ in range(200):
        acc, m, zo = (
            rng.randrange(-(2**20), 2**20),
            single(rng.choice([2.0**-12, rng.uniform(1e-7, 1e-3)])),
            rng.randrange(256),
        )
        steps = rng.choice([rng.randrange(-300, 300), rng.randrange(-(2**20) + 1, 2**20)])
        low, high = rng.choice([(0, 255), (zo, 255)])
        found["whole_steps"].append([acc, float(m), zo, steps, low, high, requantize(acc, m, zo + steps, low, high)])
    for function in (tanh, silu, hard_sigmoid, hard_swish):
        points = [single(x) for x in (0.0, 1.0, -1.0, 3.0, -3.0, 10.0, -10.0)]
        points += [single(rng.uniform(-8, 8)) for _ in range(60)]
        found["functions"][function.__name__] = [[bits(x), bits(function(x))] for x in points]
    return found


if __name__ == "__main__":
    text = json.dumps(vectors(), separators=(",", ":"))
    Path(__file__).with_name("numerics.json").write_text(text.replace("],[", "],\n["), encoding="utf-8")
