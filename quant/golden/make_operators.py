"""Make operators.json: small layers of every integer operator of NUMERICS.md, by exact rational arithmetic.

Run from anywhere: `python quant/golden/make_operators.py`. Uses the standard library and `make.py` beside it. A case
holds bytes, scales and weights, and the bytes (or binary32 patterns) that must come out.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from fractions import Fraction
from pathlib import Path

from make import binary32, binary64, bits, clamp, gelu_steps, line, product, quantize, requantize, rint, sign_of, single

SEED = 21


def places(shape):
    """Every index of an array of `shape`, row by row."""
    return itertools.product(*map(range, shape))


class Array:
    """Numbers by index."""

    def __init__(self, shape, values):
        self.shape, self.values = tuple(shape), dict(zip(places(shape), values, strict=True))

    def __getitem__(self, index):
        return self.values[index]

    def flat(self):
        """Values row by row."""
        return [self.values[index] for index in places(self.shape)]


class Bytes(Array):
    """A quantised tensor, of one scale and zero point."""

    def __init__(self, rng, shape, scale=None, zero=None):
        super().__init__(shape, [rng.randrange(256) for _ in range(math.prod(shape))])
        self.scale = single(rng.uniform(0.005, 0.05)) if scale is None else scale
        self.zero = rng.randrange(60, 200) if zero is None else zero

    def steps(self, index):
        """Steps from the zero point; none outside the frame."""
        return self.values[index] - self.zero if index in self.values else 0

    def told(self):
        """As it stands in the file."""
        return {"shape": self.shape, "q": self.flat(), "scale": float(self.scale), "zero": self.zero}


class Weight(Array):
    """Weights of int8 with a scale for each output channel."""

    def __init__(self, rng, shape, channels):
        super().__init__(shape, [rng.randrange(-127, 128) for _ in range(math.prod(shape))])
        self.scales = [single(rng.uniform(0.001, 0.01)) for _ in range(channels)]

    def told(self):
        """As it stands in the file."""
        return {"shape": self.shape, "q": self.flat(), "scale": [float(s) for s in self.scales]}


def bounded(bias: Fraction, scale: Fraction, weights: list[int]) -> tuple[int, Fraction, list[int]]:
    """Section 4: a channel's bias in steps of its accumulator, its scale and weights, widened where it is too large."""
    factor = 1
    while abs(bias / (scale * factor)) >= 2**30:
        factor *= 2
    return rint(binary64(bias / binary64(scale * factor))), scale * factor, [rint(Fraction(w, factor)) for w in weights]


def multiplier(sx: Fraction, sw: Fraction, so: Fraction) -> Fraction:
    """Section 4."""
    return binary32(binary64(binary64(sx * sw) / so))


def ended(acc: int, sx: Fraction, sw: Fraction, out, relu: bool, gelu: bool) -> int:
    """A sum as a byte, or as the pattern of a float where `out` is None."""
    if out is None:
        return bits(binary32(binary32(Fraction(acc)) * binary32(sx * sw)))
    so, zo = out
    if gelu:
        return gelu_steps(acc, multiplier(sx, sw, so), so, zo)
    return requantize(acc, multiplier(sx, sw, so), zo, quantize(Fraction(0), so, zo) if relu else 0, 255)


def result_of(rng, scale=None):
    """Scale and zero point of a result."""
    return single(rng.uniform(0.05, 0.3)) if scale is None else scale, rng.randrange(256)


def told(operator, inputs, shape, made, out, **more):
    """A case."""
    output = {"shape": shape, "bits" if out is None else "q": made}
    if out is not None:
        output |= {"scale": float(out[0]), "zero": out[1]}
    return {"operator": operator, "inputs": [x.told() for x in inputs], "output": output, **more}


def conv(rng, name, shape, channels, *, kernel=3, stride=1, pad=1, dilation=1, group=1, relu=False, gelu=False,
         to_float=False, large_bias=False):  # fmt: skip
    """Section 4, and 12 where a GELU follows."""
    x = Bytes(rng, shape)
    depth = shape[1] // group
    w = Weight(rng, (channels, depth, kernel, kernel), channels)
    bias = [single(rng.uniform(-2, 2)) for _ in range(channels)]
    if large_bias:
        bias[0] = single(4e6)
    size = [(n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for n in shape[2:]]
    out = None if to_float else result_of(rng, single(0.05) if gelu else None)
    taps = [(c, u, v) for c in range(depth) for u in range(kernel) for v in range(kernel)]
    made = []
    for n, o, i, j in places((shape[0], channels, *size)):
        b, scale, weights = bounded(bias[o], x.scale * w.scales[o], [w[(o, *tap)] for tap in taps])
        first = o // (channels // group) * depth
        acc = b + sum(
            x.steps((n, first + c, i * stride + u * dilation - pad, j * stride + v * dilation - pad)) * value
            for (c, u, v), value in zip(taps, weights, strict=True)
        )
        made.append(ended(acc, scale, Fraction(1), out, relu, gelu))
    attributes = {"strides": [stride] * 2, "pads": [pad] * 4, "dilations": [dilation] * 2, "group": group}
    return told(name, [x], (shape[0], channels, *size), made, out, weight=w.told(), bias=[float(b) for b in bias],
                attributes=attributes, relu=relu, gelu=gelu)  # fmt: skip


def gemm(rng, rows, depth, channels, *, gelu=False, to_float=False):
    """Section 4."""
    x, w = Bytes(rng, (rows, depth)), Weight(rng, (channels, depth), channels)
    bias = [single(rng.uniform(-2, 2)) for _ in range(channels)]
    out = None if to_float else result_of(rng, single(0.06) if gelu else None)
    made = []
    for n, o in places((rows, channels)):
        b, scale, weights = bounded(bias[o], x.scale * w.scales[o], [w[o, k] for k in range(depth)])
        acc = b + sum(x.steps((n, k)) * value for k, value in enumerate(weights))
        made.append(ended(acc, scale, Fraction(1), out, False, gelu))
    return told("gemm", [x], (rows, channels), made, out, weight=w.told(), bias=[float(b) for b in bias], gelu=gelu)


def conv_transpose(rng, shape, channels, kernel=3, stride=2, pad=1):
    """Section 4: a sum over the taps that reach a pixel."""
    x, w = Bytes(rng, shape), Weight(rng, (shape[1], channels, kernel, kernel), channels)
    bias = [single(rng.uniform(-2, 2)) for _ in range(channels)]
    size, out, made = [(n - 1) * stride - 2 * pad + kernel for n in shape[2:]], result_of(rng), []
    for n, o, i, j in places((shape[0], channels, *size)):
        b, scale, _ = bounded(bias[o], x.scale * w.scales[o], [])
        acc = b
        for c, u, v in places((shape[1], kernel, kernel)):
            y, z = i + pad - u, j + pad - v
            if y % stride == 0 and z % stride == 0:
                acc += x.steps((n, c, y // stride, z // stride)) * w[c, o, u, v]
        made.append(ended(acc, scale, Fraction(1), out, False, False))
    return told("conv_transpose", [x], (shape[0], channels, *size), made, out, weight=w.told(),
                bias=[float(b) for b in bias], attributes={"strides": [stride] * 2, "pads": [pad] * 4})  # fmt: skip


def square(rng, shape, stride=1):
    """Section 11, the map in bytes of scale 1."""
    x, d = Bytes(rng, shape), Bytes(rng, (shape[0], 1, -(-shape[2] // stride), -(-shape[3] // stride)), Fraction(1), 0)
    d.values = {at: rng.randrange(8) for at in d.values}
    w, out, made = Weight(rng, (shape[1], 1, 3, 3), shape[1]), result_of(rng), []
    for n, c, i, j in places((shape[0], shape[1], *d.shape[2:])):
        reach = d[n, 0, i, j]
        acc = sum(
            x.steps((n, c, i * stride + (u - 1) * reach, j * stride + (v - 1) * reach)) * w[c, 0, u, v]
            for u, v in places((3, 3))
        )
        made.append(ended(acc, x.scale * w.scales[c], Fraction(1), out, False, False))
    return told("square_deform", [x, d], (shape[0], shape[1], *d.shape[2:]), made, out, weight=w.told(),
                attributes={"stride": stride})  # fmt: skip


def pair(rng, operator, shape):
    """Section 6: Add, Sub and Mul of two byte tensors."""
    a, b, (so, zo) = Bytes(rng, shape), Bytes(rng, shape), result_of(rng, single(rng.uniform(0.02, 0.08)))
    made = []
    for at in places(shape):
        if operator == "mul":
            ratio = binary64(binary64(a.scale * b.scale) / so)
            made.append(product(a[at], b[at], a.zero, b.zero, zo, ratio))
        else:
            sign = -1 if operator == "sub" else 1
            ratios = [binary64(a.scale / so), sign * binary64(b.scale / so)]
            made.append(line([a[at], b[at]], ratios, [a.zero, b.zero], zo, Fraction(0)))
    return told(operator, [a, b], shape, made, (so, zo))


def rescale(rng, shape, relu):
    """Section 6: another scale, a ReLU folded in."""
    x, (so, zo) = Bytes(rng, shape), result_of(rng, single(0.03))
    low = zo if relu else 0
    made = [max(low, line([x[at]], [binary64(x.scale / so)], [x.zero], zo, Fraction(0))) for at in places(shape)]
    return told("rescale", [x], shape, made, (so, zo), relu=relu)


#: In binary64: no result of these lies so near a tie that an ulp decides.
FUNCTIONS = {
    "Sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "Tanh": math.tanh,
    "HardSwish": lambda x: x * min(max(x / 6 + 0.5, 0.0), 1.0),
    "Gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
}


def lookup(rng, name):
    """Section 7: every byte there is."""
    x, (so, zo) = Bytes(rng, (1, 1, 16, 16), single(0.04), 131), result_of(rng, single(1 / 90))
    x.values = {at: index for index, at in enumerate(x.values)}
    made = []
    for at in places(x.shape):
        steps = FUNCTIONS[name](x.steps(at) * float(x.scale)) / float(so)
        assert abs(steps - math.floor(steps) - 0.5) > 1e-6
        made.append(clamp(round(steps) + zo, 0, 255))
    return told("lookup", [x], x.shape, made, (so, zo), function=name)


def global_average(rng, shape, to_float):
    """Section 8."""
    x, count = Bytes(rng, shape), shape[2] * shape[3]
    out, made = None if to_float else result_of(rng, single(0.01)), []
    for n, c in places(shape[:2]):
        acc = sum(x.steps((n, c, i, j)) for i, j in places(shape[2:]))
        if out is None:
            made.append(bits(binary32(binary32(Fraction(acc)) * binary32(binary64(x.scale / count)))))
        else:
            made.append(requantize(acc, binary32(binary64(x.scale / binary64(count * out[0]))), out[1], 0, 255))
    return told("global_average", [x], (*shape[:2], 1, 1), made, out)


def window(rng, operator, shape, *, include=False):
    """Section 8: mean or maximum of windows of 3, two pixels apart."""
    x = Bytes(rng, shape)
    out = (x.scale, x.zero) if operator == "max_pool" else result_of(rng, single(0.02))
    size, made = [(n - 1) // 2 + 1 for n in shape[2:]], []
    for n, c, i, j in places((*shape[:2], *size)):
        taps = [(n, c, 2 * i + u - 1, 2 * j + v - 1) for u, v in places((3, 3))]
        inside = [at for at in taps if at in x.values]
        if operator == "max_pool":
            made.append(max(x[at] for at in inside))
            continue
        count = 9 if include else len(inside)
        m = binary32(binary64(x.scale / binary64(count * out[0])))
        made.append(requantize(sum(x.steps(at) for at in inside), m, out[1], 0, 255))
    return told(operator, [x], (*shape[:2], *size), made, out, attributes={"count_include_pad": int(include)})


def resize(rng, shape, scale):
    """Section 8: linear, coordinates between the pixels' centres."""
    x, out = Bytes(rng, shape), result_of(rng, single(0.03))

    def near(index, size):
        place = binary32(binary32(binary32(Fraction(index) + Fraction(1, 2)) / scale) - Fraction(1, 2))
        place = clamp(place, Fraction(0), Fraction(size - 1))
        first = math.floor(place)
        far = rint(binary32(place - first) * 2**11)
        return (first, 2**11 - far), (min(first + 1, size - 1), far)

    size, made = [n * scale for n in shape[2:]], []
    m = binary32(binary64(x.scale / out[0]) / 2**22)
    for n, c, i, j in places((*shape[:2], *size)):
        acc = sum(wy * wx * x.steps((n, c, y, z)) for y, wy in near(i, shape[2]) for z, wx in near(j, shape[3]))
        made.append(requantize(acc, m, out[1], 0, 255))
    return told("resize", [x], (*shape[:2], *size), made, out, attributes={"scale": scale})


def concat(rng, shape):
    """Section 8: pieces of other scales are rescaled first, as a table of section 7 would."""
    a, b, (so, zo) = Bytes(rng, shape), Bytes(rng, shape), result_of(rng, single(0.04))
    made = []
    for x in (a, b):
        for at in places(shape):
            made.append(line([x[at]], [binary64(x.scale / so)], [x.zero], zo, Fraction(0)))
    return told("concat", [a, b], (shape[0], 2 * shape[1], *shape[2:]), made, (so, zo))


def matmul(rng, a_shape, b_shape, to_float):
    """Section 10."""
    a, b = Bytes(rng, a_shape), Bytes(rng, b_shape)
    out, made = None if to_float else result_of(rng, single(0.08)), []
    shape = (*a_shape[:-1], b_shape[-1])
    for *lead, i, j in places(shape):
        acc = sum(a.steps((*lead, i, k)) * b.steps((*lead, k, j)) for k in range(a_shape[-1]))
        made.append(ended(acc, a.scale, b.scale, out, False, False))
    return told("matmul", [a, b], shape, made, out)


def binary_linear(rng, rows, depth, channels, weights_only):
    """Section 13: signs times signs, or bytes times signs, with a scale and a bias for each channel."""
    x = Bytes(rng, (rows, depth))
    w = Array((channels, depth), [rng.choice((1, -1)) for _ in range(channels * depth)])
    scales, bias = ([single(rng.uniform(*at)) for _ in range(channels)] for at in ((0.01, 0.1), (-1, 1)))
    made = []
    for n, o in places((rows, channels)):
        if weights_only:
            b = rint(binary64(bias[o] / binary64(x.scale * scales[o])))
            acc = b + sum(x.steps((n, k)) * w[o, k] for k in range(depth))
            made.append(bits(binary32(binary32(Fraction(acc)) * binary32(x.scale * scales[o]))))
        else:
            acc = sum(sign_of(x.steps((n, k))) * w[o, k] for k in range(depth))
            made.append(bits(binary32(binary32(scales[o] * acc) + bias[o])))
    name = "binary_weight_linear" if weights_only else "binary_linear"
    return told(name, [x], (rows, channels), made, None, signs=w.flat(), scale=[float(s) for s in scales],
                bias=[float(b) for b in bias])  # fmt: skip


def binary_attention(rng, tokens, depth):
    """Section 13, without a bias."""
    q, k, v = (Bytes(rng, (1, 1, tokens, depth)) for _ in range(3))
    scale, beta = single(0.25), single(0.25)
    margin = binary32(single(math.log(float(beta))) / scale)
    made = []
    for i in range(tokens):
        scores = [
            sum(sign_of(q.steps((0, 0, i, c))) * sign_of(k.steps((0, 0, j, c))) for c in range(depth))
            for j in range(tokens)
        ]
        kept = [j for j, s in enumerate(scores) if s >= binary32(max(scores) + margin)]
        made += [bits(Fraction(sum(sign_of(v.steps((0, 0, j, c))) for j in kept))) for c in range(depth)]
    return told("binary_attention", [q, k, v], (1, 1, tokens, depth), made, None, attributes={"scale": float(scale)})


def cases() -> list[dict]:
    """All cases, deterministic."""
    rng = random.Random(SEED)
    found = [
        conv(rng, "conv", (1, 5, 7, 6), 6, stride=2),
        conv(rng, "conv", (1, 17, 5, 5), 20, kernel=1, pad=0, relu=True),
        conv(rng, "conv", (1, 4, 6, 6), 6, group=2),
        conv(rng, "conv", (1, 3, 7, 7), 5, dilation=2, to_float=True),
        conv(rng, "conv", (1, 8, 4, 4), 9, kernel=1, pad=0, gelu=True),
        conv(rng, "conv", (1, 2, 3, 3), 3, large_bias=True),
        conv(rng, "depthwise", (1, 19, 7, 7), 19, group=19),
        conv(rng, "depthwise", (1, 6, 9, 8), 6, group=6, kernel=5, pad=2, stride=2, relu=True),
        gemm(rng, 1, 37, 11),
        gemm(rng, 5, 24, 18, gelu=True),
        gemm(rng, 2, 16, 7, to_float=True),
        conv_transpose(rng, (1, 4, 4, 5), 3),
        square(rng, (1, 5, 8, 9)),
        square(rng, (1, 3, 9, 7), stride=2),
        *(pair(rng, operator, (1, 3, 5, 7)) for operator in ("add", "sub", "mul")),
        *(rescale(rng, (1, 3, 4, 9), relu) for relu in (False, True)),
        *(lookup(rng, name) for name in FUNCTIONS),
        *(global_average(rng, (1, 7, 5, 6), to_float) for to_float in (False, True)),
        window(rng, "max_pool", (1, 5, 7, 8)),
        window(rng, "average_pool", (1, 5, 7, 8)),
        window(rng, "average_pool", (1, 3, 6, 5), include=True),
        resize(rng, (1, 3, 4, 5), 2),
        concat(rng, (1, 3, 4, 4)),
        *(matmul(rng, (1, 2, 5, 12), (1, 2, 12, 9), to_float) for to_float in (False, True)),
        *(binary_linear(rng, 3, 43, 10, weights_only) for weights_only in (False, True)),
        binary_attention(rng, 9, 16),
    ]
    return found


if __name__ == "__main__":
    text = json.dumps({"cases": cases()}, separators=(",", ":"))
    Path(__file__).with_name("operators.json").write_text(text.replace('{"operator"', '\n{"operator"') + "\n")
