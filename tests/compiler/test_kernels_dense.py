"""Generated dense kernels against numpy, over odd shapes, batches, views and several vector widths."""

import numpy as np
import pytest
from helpers.kernels import call, cores
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.compiler.kernels import conv, depthwise, depthwise_bytes, gemm, rowdot, x86
from edgevision.compiler.kernels.chain import Apply, Chain, Operand, Store
from edgevision.compiler.kernels.inner import k_group
from edgevision.compiler.kernels.panel import pack, pack_channels, tile_shape
from edgevision.graph import numerics
from edgevision.graph.geometry import Window
from edgevision.graph.ir import Node
from edgevision.graph.reference import convolve

CORES = pytest.mark.parametrize("simd", cores(), ids=lambda s: f"{s.lanes}x{s.registers}-{s.dot}")
BYTE_SUMS = pytest.mark.parametrize(
    "simd", [s for s in cores() if x86.group_of(s)], ids=lambda s: f"{s.lanes}x{s.registers}-{s.dot}"
)
few = settings(max_examples=8, deadline=None)


def limits(low, high, zero):
    return np.array([low - zero, high - zero, 1.0, zero], np.float32)


@CORES
@given(st.integers(1, 40), st.integers(1, 35), st.integers(2, 70), st.integers(0, 3), st.integers(0, 2**31))
@few
def test_float_gemm_reads_views_and_matches_numpy(simd, rows, depth, channels, offset, seed):
    rng = np.random.default_rng(seed)
    pitch = depth + offset + 2
    left = rng.standard_normal((rows, pitch)).astype(np.float32)
    weight, bias = rng.standard_normal((channels, depth)).astype(np.float32), rng.standard_normal(channels)
    tile = tile_shape(rows, channels, simd.lanes, simd.registers)
    residual = rng.standard_normal((rows, channels)).astype(np.float32)
    chain = Chain((Apply("relu"), Apply("add", Operand(0, "tensor", channels))), Store(pitch=channels))
    spec = gemm.Gemm(
        rows, depth, channels, "float32", "float32", tile, pitch, offset, left.size, rows * channels, chain,
        ((residual.size, "float32"),),
    )  # fmt: skip
    got = call(
        gemm.build("k", spec, simd),
        [left, pack(weight, simd.lanes, tile[1]), pack_channels(bias.astype(np.float32), simd.lanes, tile[1]), residual,
         np.zeros(rows * channels, np.float32)],
    )  # fmt: skip
    expected = np.maximum(left[:, offset : offset + depth].astype(np.float64) @ weight.T + bias, 0) + residual
    np.testing.assert_allclose(got.reshape(rows, channels), expected, rtol=1e-5, atol=1e-5)


@CORES
@given(st.integers(1, 40), st.integers(1, 35), st.integers(2, 70), st.integers(0, 255), st.integers(0, 2**31))
@few
def test_integer_gemm_is_the_reference_bit_for_bit(simd, rows, depth, channels, zero, seed):
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    weight = rng.integers(-127, 128, (channels, depth)).astype(np.int8)
    bias = rng.integers(-(2**16), 2**16, channels).astype(np.int32)
    scale = rng.uniform(1e-4, 1e-2, channels).astype(np.float32)
    tile = tile_shape(rows, channels, simd.lanes, simd.registers)
    chain = Chain((), Store("uint8", 0, pitch=channels, bounded=bool(seed % 2)), exact=True)
    spec = gemm.Gemm(
        rows, depth, channels, "uint8", "int8", tile, depth, 0, left.size, rows * channels, chain, ((4, "float32"),)
    )
    got = call(
        gemm.build("k", spec, simd),
        [left, pack(weight, simd.lanes, tile[1], k_group(simd, integer=True)), pack_channels(bias, simd.lanes, tile[1]),
         pack_channels(scale, simd.lanes, tile[1]), limits(3, 250, zero), np.zeros(rows * channels, np.uint8)],
    )  # fmt: skip
    accumulator = left.astype(np.int64) @ weight.T.astype(np.int64) + bias
    assert np.array_equal(got.reshape(rows, channels), numerics.requantize(accumulator, scale, zero, 3, 250))


WINDOWS = st.tuples(
    st.integers(1, 2), st.integers(1, 9), st.integers(1, 17), st.sampled_from([1, 2, 3, 5]), st.integers(1, 2),
    st.integers(1, 2), st.integers(0, 2),
)  # fmt: skip


def geometry(images, height, width, kernel, stride, dilation, pad):
    """A window, or None when the kernel is larger than the padded image."""
    sizes = [(extent + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for extent in (height, width)]
    if min(sizes) < 1 or pad > dilation * (kernel - 1):
        return None
    return Window(images, height, width, *sizes, (kernel, kernel), (stride,) * 2, (dilation,) * 2, pad, pad)


def node_of(window, group):
    pads = [window.top, window.left, window.top, window.left]
    return Node("Conv", "c", [], [], {
        "strides": window.stride, "dilations": window.dilation, "pads": pads, "group": group,
    })  # fmt: skip


@CORES
@given(WINDOWS, st.integers(1, 9), st.integers(2, 37), st.booleans(), st.integers(0, 2**31))
@few
def test_convolution_handles_every_border_in_float_and_bytes(simd, shape, depth, channels, planes, seed):
    window = geometry(*shape)
    if window is None:
        return
    rng = np.random.default_rng(seed)
    zero, elements = int(rng.integers(0, 256)), window.images * window.out_height * window.out_width * channels
    x = rng.integers(0, 256, (window.images, depth, window.height, window.width)).astype(np.uint8)
    weight = rng.integers(-127, 128, (channels, depth, *window.kernel)).astype(np.int8)
    bias = rng.integers(-1000, 1000, channels).astype(np.int32)
    tile = tile_shape(window.out_width, channels, simd.lanes, simd.registers)
    accumulator = convolve(x.astype(np.int64) - zero, weight.astype(np.int64), node_of(window, 1))
    accumulator = (accumulator + bias.reshape(1, -1, 1, 1)).transpose(0, 2, 3, 1)
    group = k_group(simd, integer=True)
    padded = np.zeros((channels, *window.kernel, -(-depth // group) * group), np.int8)
    padded[..., :depth] = weight.transpose(0, 2, 3, 1)
    taps = weight.astype(np.int64).sum(axis=1).reshape(channels, -1)
    rows = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(-1)
    # Kernels of bytes load four at a time; the runner keeps the slack a lone tensor lacks.
    slack = np.concatenate([rows, np.zeros(8, np.uint8)])
    spec = conv.Conv(
        window, depth, channels, "uint8", "int8", tile, depth, 1, window.height * window.width * depth, 0, slack.size,
        elements, Chain((), Store("uint8", 0, pitch=channels), exact=True), ((4, "float32"),), True,
    )  # fmt: skip
    got = call(
        conv.build("k", spec, simd),
        [slack, pack(padded.reshape(channels, -1), simd.lanes, tile[1], group),
         pack_channels((bias - zero * taps.sum(axis=1)).astype(np.int32), simd.lanes, tile[1]),
         pack_channels(np.full(channels, 1e-3, np.float32), simd.lanes, tile[1]),
         np.stack([pack_channels((zero * t).astype(np.int32), simd.lanes, tile[1]) for t in taps.T]),
         limits(0, 255, 100), np.zeros(elements, np.uint8)],
    )  # fmt: skip
    assert np.array_equal(got.reshape(accumulator.shape), numerics.requantize(accumulator, 1e-3, 100, 0, 255))
    xf, wf = x.astype(np.float32) / 255, weight.astype(np.float32) / 127
    pitches = (1, window.height * window.width) if planes else (depth, 1)
    spec = conv.Conv(
        window, depth, channels, "float32", "float32", tile, *pitches, window.height * window.width * depth, 0, x.size,
        elements, Chain(store=Store(pitch=channels)),
    )  # fmt: skip
    got = call(
        conv.build("k", spec, simd),
        [xf if planes else xf.transpose(0, 2, 3, 1),
         pack(wf.transpose(0, 2, 3, 1).reshape(channels, -1), simd.lanes, tile[1]),
         pack_channels(bias.astype(np.float32), simd.lanes, tile[1]), np.zeros(elements, np.float32)],
    )  # fmt: skip
    exact = convolve(x.astype(np.int64), weight.astype(np.int64), node_of(window, 1)) / (255 * 127)
    expected = exact.transpose(0, 2, 3, 1) + bias
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=1e-5, atol=1e-4)


@CORES
@given(WINDOWS, st.integers(1, 37), st.integers(0, 2), st.integers(0, 2**31))
@few
def test_depthwise_convolution_handles_every_border_in_float_and_bytes(simd, shape, channels, offset, seed):
    window = geometry(*shape)
    if window is None:
        return
    rng = np.random.default_rng(seed)
    zero = rng.integers(0, 256, channels)
    pitch = channels + 3
    elements = window.images * window.out_height * window.out_width * channels
    wide = rng.integers(0, 256, (window.images, window.height, window.width, pitch)).astype(np.uint8)
    x = wide[..., offset : offset + channels].transpose(0, 3, 1, 2)
    weight = rng.integers(-127, 128, (channels, 1, *window.kernel)).astype(np.int8)
    bias = rng.integers(-1000, 1000, channels).astype(np.int32)
    shifted = x.astype(np.int64) - zero.reshape(1, -1, 1, 1)
    accumulator = convolve(shifted, weight.astype(np.int64), node_of(window, channels))
    accumulator = (accumulator + bias.reshape(1, -1, 1, 1)).transpose(0, 2, 3, 1)
    taps = weight.reshape(channels, -1).T.astype(np.int64)
    spec = depthwise.Depthwise(
        window, channels, "uint8", "int8", pitch, offset, wide.size, elements,
        Chain((), Store("uint8", 0, pitch=channels), exact=True), ((4, "float32"),), True,
    )  # fmt: skip
    got = call(
        depthwise.build("k", spec, simd),
        [wide, taps.astype(np.int8), (bias - (taps * zero).sum(axis=0)).astype(np.int32),
         np.full(channels, 0.01, np.float32), (taps * zero).astype(np.int32), limits(0, 255, 7),
         np.zeros(elements, np.uint8)],
    )  # fmt: skip
    assert np.array_equal(got.reshape(accumulator.shape), numerics.requantize(accumulator, 0.01, 7, 0, 255))
    spec = depthwise.Depthwise(
        window, channels, "float32", "float32", pitch, offset, wide.size, elements, Chain(store=Store(pitch=channels))
    )
    got = call(
        depthwise.build("k", spec, simd),
        [wide.astype(np.float32), taps.astype(np.float32), bias.astype(np.float32), np.zeros(elements, np.float32)],
    )
    exact = convolve(x.astype(np.int64), weight.astype(np.int64), node_of(window, channels))
    exact = exact.transpose(0, 2, 3, 1) + bias
    np.testing.assert_allclose(got.reshape(exact.shape), exact, rtol=1e-5, atol=1e-2)


@BYTE_SUMS
@given(WINDOWS, st.integers(4, 70), st.integers(0, 2), st.integers(0, 2**31))
@few
def test_depthwise_sums_of_bytes_are_the_reference_bit_for_bit(simd, shape, channels, offset, seed):
    window = geometry(*shape)
    if window is None or not depthwise_bytes.suits(channels, simd):
        return
    rng = np.random.default_rng(seed)
    zero = rng.integers(0, 256, channels)
    pitch = channels + 3
    elements = window.images * window.out_height * window.out_width * channels
    wide = rng.integers(0, 256, (window.images, window.height, window.width, pitch)).astype(np.uint8)
    x = wide[..., offset : offset + channels].transpose(0, 3, 1, 2).astype(np.int64)
    weight = rng.integers(-127, 128, (channels, 1, *window.kernel)).astype(np.int8)
    bias = rng.integers(-1000, 1000, channels).astype(np.int32)
    accumulator = convolve(x - zero.reshape(1, -1, 1, 1), weight.astype(np.int64), node_of(window, channels))
    accumulator = (accumulator + bias.reshape(1, -1, 1, 1)).transpose(0, 2, 3, 1)
    spec = depthwise_bytes.DepthwiseBytes(
        window, channels, pitch, offset, wide.size, elements,
        Chain((), Store("uint8", 0, pitch=channels, bounded=bool(seed % 2)), exact=True), ((4, "float32"),),
    )  # fmt: skip
    shifted = bias - weight.astype(np.int64).sum(axis=(1, 2, 3)) * zero
    got = call(
        depthwise_bytes.build("k", spec, simd),
        [wide, depthwise_bytes.pack(weight[:, 0], simd), shifted.astype(np.int32), np.full(channels, 0.01, np.float32),
         *([zero.astype(np.uint8)] if window.leaves_frame else []), limits(0, 255, 7), np.zeros(elements, np.uint8)],
    )  # fmt: skip
    assert np.array_equal(got.reshape(accumulator.shape), numerics.requantize(accumulator, 0.01, 7, 0, 255))


@CORES
@given(st.integers(1, 23), st.integers(1, 50), st.integers(0, 2**31))
@few
def test_single_channel_product_in_float_and_bytes(simd, rows, depth, seed):
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    weight, bias = rng.integers(-127, 128, depth).astype(np.int8), np.array([77], np.int32)
    accumulator = left.astype(np.int64) @ weight.astype(np.int64) + 77
    chain = Chain((), Store("uint8", 0, pitch=1), exact=True)
    spec = rowdot.RowDot(rows, depth, "uint8", "int8", depth, 0, left.size, rows, chain, ((4, "float32"),))
    got = call(
        rowdot.build("k", spec, simd),
        [
            left,
            rowdot.pack(weight, simd, integer=True),
            bias,
            np.float32([2e-3]),
            limits(0, 255, 9),
            np.zeros(rows, np.uint8),
        ],
    )
    assert np.array_equal(got, numerics.requantize(accumulator, 2e-3, 9, 0, 255))
    spec = rowdot.RowDot(rows, depth, "float32", "float32", depth, 0, left.size, rows, Chain(store=Store(pitch=1)))
    got = call(
        rowdot.build("k", spec, simd),
        [left.astype(np.float32), weight.astype(np.float32), bias.astype(np.float32), np.zeros(rows, np.float32)],
    )
    np.testing.assert_allclose(got, accumulator, rtol=1e-5, atol=0.1)


@CORES
def test_byte_weights_of_a_float_layer_are_scaled_after_the_sum(simd):
    rng = np.random.default_rng(3)
    left = rng.standard_normal((7, 19)).astype(np.float32)
    weight, bias = rng.integers(-127, 128, (21, 19)).astype(np.int8), rng.standard_normal(21).astype(np.float32)
    scale = rng.uniform(0.01, 0.1, 21).astype(np.float32)
    tile = tile_shape(7, 21, simd.lanes, simd.registers)
    spec = gemm.Gemm(7, 19, 21, "float32", "int8", tile, 19, 0, left.size, 147, Chain(store=Store(pitch=21)))
    got = call(
        gemm.build("k", spec, simd),
        [left, pack(weight, simd.lanes, tile[1]), pack_channels(bias, simd.lanes, tile[1]),
         pack_channels(scale, simd.lanes, tile[1]), np.zeros(147, np.float32)],
    )  # fmt: skip
    np.testing.assert_allclose(got.reshape(7, 21), left @ (weight * scale[:, None]).T + bias, rtol=1e-5, atol=1e-4)
