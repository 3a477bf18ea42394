"""Chains, byte arithmetic, pooling and layout changes against numpy, over odd shapes."""

import numpy as np
import pytest
from helpers.kernels import call, cores
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.compiler.kernels import bytes as byte_kernels
from edgevision.compiler.kernels import bytewords, elementwise, layout, pool, x86
from edgevision.compiler.kernels.chain import Apply, Chain, Operand, Store
from edgevision.graph import numerics
from edgevision.graph.bytesteps import Line, Product
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


def byte_kernel(simd, operation, numbers, rows, channels, indices, per_channel=False):
    """The operation over byte tensors of (pixels, channels), (pixels, 1) or (1, channels); bytes."""
    pixels = max(row.shape[0] for row in rows)
    inputs = [*rows, *numbers]
    operands = tuple(
        Operand(i, index, row.shape[1], dtype="uint8") for i, (row, index) in enumerate(zip(rows, indices, strict=True))
    )
    extras = tuple((x.size, str(x.dtype)) for x in inputs)
    spec = byte_kernels.Bytes(operation, pixels, channels, 1, operands, per_channel, len(numbers) > 1, extras)
    got = call(byte_kernels.build("k", spec, simd), [*inputs, np.zeros(pixels * channels, np.uint8)])
    return got.reshape(pixels, channels)


@CORES
@given(
    st.integers(1, 30), st.integers(1, 90), st.sampled_from(["one", "per channel", "per channel out"]),
    st.integers(1, 2), st.floats(-5, 4), st.integers(0, 2**31),
)  # fmt: skip
@few
def test_lines_of_bytes_are_the_reference_bit_for_bit(simd, pixels, channels, kind, operands, reach, seed):
    rng = np.random.default_rng(seed)
    rows = [
        rng.choice([0, 255, *rng.integers(0, 256, 9)], (pixels, channels)).astype(np.uint8) for _ in range(operands)
    ]
    zeros, zero_out = rng.integers(0, 256, operands).tolist(), int(rng.integers(0, 256))
    count = 1 if kind == "one" else channels
    ratios = rng.uniform(-1, 1, (operands, count)) * 2.0**reach
    terms = rng.uniform(-300, 300, count) if kind == "per channel" else 0.0
    line = Line.of(ratios, zeros, zero_out, terms, per_channel_out=kind == "per channel out")
    low, high = sorted(int(v) for v in rng.integers(0, 256, 2))
    kernels = [byte_kernels, *([bytewords] if x86.group_of(simd) and bytewords.fits_line(line) else [])]
    numbers = [kernel.line_numbers(line, low, high) for kernel in kernels]
    got = byte_kernel(simd, "line", numbers, rows, channels, ["tensor"] * operands, count > 1)
    assert np.array_equal(got, line(*rows, low=low, high=high))


@CORES
@given(
    st.integers(1, 30), st.integers(1, 90), st.sampled_from(["tensor", "pixel", "image"]), st.booleans(),
    st.floats(-12, 3), st.integers(0, 2**31),
)  # fmt: skip
@few
def test_products_of_bytes_are_the_reference_bit_for_bit(simd, pixels, channels, index, per_channel, reach, seed):
    rng = np.random.default_rng(seed)
    shapes = {"tensor": (pixels, channels), "pixel": (pixels, 1), "image": (1, channels)}
    a, b = (rng.integers(0, 256, shapes[kind]).astype(np.uint8) for kind in ("tensor", index))
    za, zb, zo = (int(v) for v in rng.integers(0, 256, 3))
    product = Product.of(rng.uniform(0.5, 1, channels if per_channel else 1) * 2.0**reach, (za, zb), zo)
    low, high = sorted(int(v) for v in rng.integers(0, 256, 2))
    kernels = [byte_kernels, *([bytewords] if x86.group_of(simd) and bytewords.fits_product(product) else [])]
    numbers = [kernel.product_numbers(product, low, high) for kernel in kernels]
    got = byte_kernel(simd, "product", numbers, [a, b], channels, ["tensor", index], product.factor.size > 1)
    assert np.array_equal(got, product(a, b, low=low, high=high))


def test_words_hold_ordinary_scales_and_no_others():
    assert bytewords.fits_line(Line.of(np.array([[1.0], [0.3]]), (3, 200), 90))
    assert not bytewords.fits_line(Line.of(np.array([[100.0], [0.3]]), (3, 200), 90))
    assert not bytewords.fits_line(Line.of(np.array([[1.0]]), (3,), 90, np.array([1e6])))
    assert bytewords.fits_product(Product.of(np.array([1 / 255]), (0, 0), 3))
    assert not bytewords.fits_product(Product.of(np.array([4.0]), (0, 0), 3))


@CORES
def test_look_up_reads_the_table(simd):
    rng = np.random.default_rng(1)
    x, table = rng.integers(0, 256, 301).astype(np.uint8), rng.permutation(256).astype(np.uint8)
    got = byte_kernel(simd, "lookup", [table], [x.reshape(7, 43)], 43, ["tensor"]).reshape(-1)
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
@given(st.integers(1, 3), st.integers(1, 150), st.integers(1, 6), st.sampled_from(["float32", "uint8"]))
@few
def test_layouts_there_and_back(simd, images, pixels, channels, dtype):
    x = np.random.default_rng(0).integers(0, 256, (images, channels, pixels)).astype(dtype)
    common = (images, pixels, channels, dtype, channels, 0, x.size)
    there = call(layout.build("k", layout.Layout(True, *common), simd), [x, np.zeros(x.size, dtype)])
    assert np.array_equal(there.reshape(images, pixels, channels), x.transpose(0, 2, 1))
    back = call(layout.build("k", layout.Layout(False, *common), simd), [there, np.zeros(x.size, dtype)])
    assert np.array_equal(back, x.reshape(-1))
