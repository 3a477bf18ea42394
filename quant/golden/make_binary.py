"""Make binary.json: golden vectors of NUMERICS.md section 13 by exact rational arithmetic, independent of numpy.

Run from anywhere: `python quant/golden/make_binary.py`. Uses only the standard library and make.py beside it; the file
it writes is committed.
"""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from pathlib import Path

from make import binary32, bits, gelu, single

SEED = 13
MASKED = -100


def sign(x: Fraction | float) -> int:
    """+1 of zero, whatever its own sign."""
    return 1 if x >= 0 else -1


def packed(signs: list[int]) -> list[int]:
    """Bytes, the first sign in the least significant bit; unused bits zero."""
    padded = signs + [-1] * (-len(signs) % 8)
    return [sum(1 << i for i in range(8) if padded[at + i] > 0) for at in range(0, len(padded), 8)]


def affine(s: int, scale: Fraction, bias: Fraction) -> Fraction:
    """What a sum of signs becomes: each operation rounded."""
    return binary32(binary32(scale * s) + bias)


def kept(products: list[int], bias: list[float], scale: Fraction, beta: float) -> list[int]:
    """Which keys of a row attention keeps."""
    scores = [binary32(p + binary32(single(b) / scale)) if b > MASKED else None
              for p, b in zip(products, bias, strict=True)]  # fmt: skip
    there = [score for score in scores if score is not None]
    if not there:
        return [0] * len(scores)
    limit = binary32(max(there) + binary32(single(math.log(beta)) / scale))
    return [int(score is not None and score >= limit) for score in scores]


def linear_vector(rng: random.Random, depth: int) -> dict:
    """A row of x with zeros of both signs, and three output channels."""
    x = [rng.choice([0.0, -0.0, rng.gauss(0, 1), rng.gauss(0, 1)]) for _ in range(depth)]
    x = [float(single(value)) if value else value for value in x]
    weights = [[rng.choice([1, -1]) for _ in range(depth)] for _ in range(3)]
    scales, biases = ([single(rng.gauss(0, 0.3)) for _ in range(3)] for _ in range(2))
    sums = [sum(sign(value) * w for value, w in zip(x, row, strict=True)) for row in weights]
    made = [affine(*parts) for parts in zip(sums, scales, biases, strict=True)]
    return {
        "x": [math.copysign(0.0, value) if value == 0 else value for value in x],
        "packed": [packed(row) for row in weights], "scale": [float(s) for s in scales],
        "bias": [float(b) for b in biases], "y": [bits(value) for value in made],
    }  # fmt: skip


def signs_vector(rng: random.Random, depth: int) -> dict:
    """The sign of gelu(scale s + bias) for every sum s there is; a zero is positive, as far below it gelu is."""
    scale, bias = single(rng.choice([1, -1]) * rng.uniform(0.01, 1)), single(rng.gauss(0, 1))
    values = [gelu(affine(depth - 2 * count, scale, bias)) for count in range(depth + 1)]
    return {"depth": depth, "scale": float(scale), "bias": float(bias), "signs": [sign(value) for value in values]}


def attention_vector(rng: random.Random, keys: int, width: int, masking: str) -> dict:
    """One query."""
    q, *rest = ([rng.choice([1, -1]) for _ in range(width)] for _ in range(1 + 2 * keys))
    k, v = rest[:keys], rest[keys:]
    bias = [0.0] * keys if masking == "none" else [float(single(rng.gauss(0, 0.5))) for _ in range(keys)]
    if masking == "some":
        bias[::2] = [-100.0] * len(bias[::2])
    elif masking == "all":
        bias = [-100.0] * keys
    scale = single(width**-0.5)
    products = [sum(a * b for a, b in zip(q, key, strict=True)) for key in k]
    chosen = kept(products, bias, scale, 0.25)
    y = [sum(chosen[j] * v[j][c] for j in range(keys)) for c in range(width)]
    return {"q": q, "k": k, "v": v, "bias": bias, "scale": float(scale), "beta": 0.25, "kept": chosen, "y": y}


def vectors() -> dict:
    """All vectors, deterministic."""
    rng = random.Random(SEED)
    return {
        "linear": [linear_vector(rng, depth) for depth in (1, 7, 8, 31, 32, 33, 64, 100)],
        "signs": [signs_vector(rng, depth) for depth in (1, 8, 33, 64, 128) for _ in range(6)],
        "attention": [
            attention_vector(rng, keys, width, masking)
            for keys, width in ((1, 8), (5, 8), (9, 33), (12, 32), (17, 64))
            for masking in ("none", "bias", "some", "all")
        ],
    }


if __name__ == "__main__":
    text = json.dumps(vectors(), separators=(",", ":"))
    Path(__file__).with_name("binary.json").write_text(text.replace("},{", "},\n{") + "\n", encoding="utf-8")
