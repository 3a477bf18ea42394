"""Chains, byte arithmetic, pooling and layout changes against numpy, over odd shapes."""

import numpy as np
import pytest
from helpers.kernels import call, cores
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.compiler.kernels import bytes as byte_kernels
from edgevision.compiler.kernels import elementwise, layout, pool
from edgevision.compiler.kernels.chain import Apply, Chain, Operand, Store
from edgevision.graph import numerics
from edgevision.graph.geometry import Window

CORES = pytest.mark.parametrize("simd", cores(), ids=lambda s: f"{s.lanes}x{s.registers}-{s.dot}")
few = settings(max_examples=8, deadline=None)


def one_input(simd, values, chain, extras=()):
    """Run `chain` over a flat float tensor."""
    channels = values.size
    inputs = [values, *extras]
    shapes = tuple((a.size, str(a.dtype)) for a in inputs)
    spec = elementwise.Elementwise(1, channels, 1, Operand(0, "tensor", channels), chain, shapes, channels)
    return call(elementwise.build("k", spec, simd), [*inputs, np.zeros(channels, chain.store.dtype)])


@CORES
@pytest.mark.parametrize("name", sorted(numerics.FUNCTIONS))
def test_exact_functions_are_the_reference_bit_for_bit(simd, name):
    values = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, 100, -100]]).astype(np.float32)
    got = one_input(simd, values, Chain((Apply(name),), Store(pitch=values.size), exact=True))
    assert np.array_equal(got.view(np.uint32), numerics.FUNCTIONS[name](values).view(np.uint32))


@CORES
@pytest.mark.parametrize("name", ["gelu", "sigmoid", "silu", "tanh", "hard_swish"])
def test_fused_functions_stay_close_to_the_reference(simd, name):
    values = np.linspace(-12, 12, 997).astype(np.float32)
    got = one_input(simd, values, Chain((Apply(name),), Store(pitch=values.size)))
    # Float networks have a gelu of their own, by the error function; the exact one is a coarser polynomial.
    halves = (values * np.float32(0.5)) * (numerics.erf(values * np.float32(numerics.SQRT_HALF)) + np.float32(1))
    wanted = halves if name == "gelu" else numerics.FUNCTIONS[name](values)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@CORES
def test_float_gelu_keeps_nan_and_is_the_identity_or_zero_far_from_zero(simd):
    values = np.float32([np.nan, np.inf, 3e38, 7, -7, -3e38, 0, -0.0, *np.linspace(-6, 6, 24)])
    got = one_input(simd, values, Chain((Apply("gelu"),), Store(pitch=values.size)))
    assert np.isnan(got[0])
    np.testing.assert_array_equal(got[1:4], values[1:4])
    np.testing.assert_allclose(got[4:8], 0, atol=1e-7)


@CORES
def test_exact_chain_is_never_contracted_into_a_fused_multiply_add(simd):
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(513).astype(np.float32) for _ in range(3))
    n = a.size
    operations = (Apply("mul", Operand(1, "tensor", n)), Apply("add", Operand(2, "tensor", n)))
    got = one_input(simd, a, Chain(operations, Store(pitch=n), exact=True), [b, c])
    assert np.array_equal(got, a * b + c)


@CORES
@given(st.integers(0, 2**31), st.integers(0, 255), st.integers(1, 500).map(lambda n: n / 1000))
@few
def test_quantising_rounds_ties_to_even_and_saturates(simd, seed, zero, scale):
    rng = np.random.default_rng(seed)
    ties = (rng.integers(-400, 400, 50) + 0.5) * np.float32(scale)
    values = np.concatenate([ties, [0, 1e9, -1e9]]).astype(np.float32)
    limits = np.array([-zero, 255 - zero, numerics.reciprocal(scale), zero], np.float32)
    got = one_input(simd, values, Chain((), Store("uint8", 1, True, pitch=values.size), exact=True), [limits])
    assert np.array_equal(got, numerics.quantize(values, scale, zero))


@CORES
@given(
    st.integers(1, 30), st.integers(1, 90), st.booleans(), st.sampled_from(["add", "mul"]), st.booleans(),
    st.integers(0, 2**31),
)  # fmt: skip
@few
def test_byte_arithmetic_is_the_reference_bit_for_bit(simd, pixels, channels, per_channel, operation, bounded, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 256, (pixels, channels)).astype(np.uint8) for _ in range(2))
    za, zb, zo = (int(v) for v in rng.integers(0, 256, 3))
    count = channels if per_channel else 1
    if operation == "add":
        triples = [numerics.add_multipliers(*rng.uniform(0.01, 1, 3)) for _ in range(count)]
        multipliers = np.array([t[:2] for t in triples], np.int32).T.copy()
        scale = np.array([2.0 ** -t[2] for t in triples], np.float32)
        total = (a.astype(np.int32) - za) * multipliers[0] + (b.astype(np.int32) - zb) * multipliers[1]
        given = [byte_kernels.add_factors(multipliers, scale, (za, zb))]
    else:
        scale = rng.uniform(1e-3, 0.1, count).astype(np.float32)
        total = (a.astype(np.int32) - za) * (b.astype(np.int32) - zb)
        given = [scale]
    quants = [np.float32([1, za]), np.float32([1, zb])]
    low, high = sorted(int(v) for v in rng.integers(0, 256, 2))
    limits = np.array([low - zo, high - zo, 1, zo], np.float32)
    inputs = [a, b, *given, *quants, limits]
    points = (None, None) if operation == "add" else (3, 4)
    spec = byte_kernels.Bytes(
        operation, pixels, channels, 1,
        (Operand(0, "tensor", channels, quant=points[0], dtype="uint8"),
         Operand(1, "tensor", channels, quant=points[1], dtype="uint8")),
        per_channel, Chain((), Store("uint8", 5, pitch=channels, bounded=bounded), exact=True),
        tuple((x.size, str(x.dtype)) for x in inputs), a.size,
    )  # fmt: skip
    got = call(byte_kernels.build("k", spec, simd), [*inputs, np.zeros(a.size, np.uint8)])
    assert np.array_equal(got.reshape(a.shape), numerics.requantize(total, scale, zo, low, high))


@CORES
def test_look_up_reads_the_table(simd):
    rng = np.random.default_rng(1)
    x, table = rng.integers(0, 256, 301).astype(np.uint8), rng.permutation(256).astype(np.uint8)
    spec = byte_kernels.Bytes(
        "lookup", 7, 43, 1, (Operand(0, "tensor", 43, dtype="uint8"),), False,
        Chain((), Store("uint8", pitch=43), exact=True), ((301, "uint8"), (256, "uint8")), 301,
    )  # fmt: skip
    got = call(byte_kernels.build("k", spec, simd), [x, table, np.zeros(301, np.uint8)])
    assert np.array_equal(got, table[x])


@CORES
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 37), st.integers(0, 2**31))
@few
def test_global_average_of_bytes_is_the_reference_bit_for_bit(simd, images, height, width, channels, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (images, height, width, channels)).astype(np.uint8)
    zero, scale = int(rng.integers(0, 256)), np.float32([0.013])
    window = Window(images, height, width, 1, 1, (height, width), (1, 1), (1, 1), 0, 0)
    limits = np.array([-50, 205, 1, 50], np.float32)
    offset = np.array([height * width * zero], np.int32)
    spec = pool.Pool(
        "global_average", window, channels, "uint8", channels, 0, x.size, images * channels,
        Chain((), Store("uint8", 2, pitch=channels), exact=True), ((1, "float32"), (1, "int32"), (4, "float32")),
    )  # fmt: skip
    got = call(pool.build("k", spec, simd), [x, scale, offset, limits, np.zeros(images * channels, np.uint8)])
    total = x.astype(np.int64).sum(axis=(1, 2)) - height * width * zero
    assert np.array_equal(got.reshape(images, channels), numerics.requantize(total, scale, 50, 0, 255))


@CORES
@pytest.mark.parametrize("kind", ["max", "average"])
def test_sliding_pool_leaves_the_border_out(simd, kind):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 7, 9, 19)).astype(np.float32)
    window = Window(2, 7, 9, 4, 5, (3, 3), (2, 2), (1, 1), 1, 1)
    spec = pool.Pool(kind, window, 19, "float32", 19, 0, x.size, 2 * 4 * 5 * 19, Chain(store=Store(pitch=19)))
    got = call(pool.build("k", spec, simd), [x, np.zeros(760, np.float32)]).reshape(2, 4, 5, 19)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    reduce = np.nanmax if kind == "max" else np.nanmean
    for row in range(4):
        for column in range(5):
            patch = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            np.testing.assert_allclose(got[:, row, column], reduce(patch, axis=(1, 2)), rtol=1e-5, atol=1e-6)


@CORES
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 20))
@few
def test_layouts_there_and_back(simd, images, pixels, channels):
    x = np.random.default_rng(0).standard_normal((images, channels, pixels)).astype(np.float32)
    common = (images, pixels, channels, "float32", channels, 0, x.size)
    there = call(layout.build("k", layout.Layout(True, *common), simd), [x, np.zeros(x.size, np.float32)])
    assert np.array_equal(there.reshape(images, pixels, channels), x.transpose(0, 2, 1))
    back = call(layout.build("k", layout.Layout(False, *common), simd), [there, np.zeros(x.size, np.float32)])
    assert np.array_equal(back, x.reshape(-1))
