"""Generated dense and depthwise kernels on every Arm core, run by its emulator, against numpy's integers and floats."""

import dataclasses

import msgspec
import numpy as np
import pytest
from helpers.emulated import Call, outputs_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevision import target as targets
from edgevision.compiler.kernels import conv, depthwise, gemm
from edgevision.compiler.kernels.chain import Chain, Store
from edgevision.compiler.kernels.inner import k_group, left_shift, pack, tile_shape
from edgevision.compiler.kernels.panel import pack_channels
from edgevision.compiler.simd import simd_of
from edgevision.graph import numerics
from edgevision.graph.geometry import Window
from edgevision.graph.ir import Node
from edgevision.graph.reference import convolve

BOARDS = ["rpi3", "rpi4", "rpi5", "arm64-i8mm", "zynq7020-ps"]
LIMITS = np.array([0 - 7, 255 - 7, 1.0, 7], np.float32)
BYTES = Store("uint8", 0, bounded=True)


@dataclasses.dataclass(frozen=True)
class Case:
    """Shape of one kernel. `kernel` 0 is a matrix product of `height` rows."""

    kernel: int
    images: int
    height: int
    width: int
    depth: int
    channels: int
    stride: int
    pad: int
    deep: bool
    full_range: bool
    seed: int


@st.composite
def cases(draw):
    kernel = draw(st.sampled_from([0, 0, 1, 2, 3, 5]))
    pad = draw(st.integers(0, kernel // 2))
    least = max(1, kernel - 2 * pad)
    return Case(
        kernel, draw(st.integers(1, 2)), draw(st.integers(least, 9)), draw(st.integers(least, 11)),
        draw(st.integers(1, 37)), draw(st.integers(2, 29)), draw(st.integers(1, 2)), pad,
        draw(st.booleans()), draw(st.booleans()), draw(st.integers(0, 2**31)),
    )  # fmt: skip


def window_of(case):
    sizes = [(extent + 2 * case.pad - case.kernel) // case.stride + 1 for extent in (case.height, case.width)]
    return Window(
        case.images, case.height, case.width, *sizes, (case.kernel,) * 2, (case.stride,) * 2, (1, 1), case.pad, case.pad
    )


def node_of(case, group):
    attributes = {"strides": [case.stride] * 2, "dilations": [1, 1], "pads": [case.pad] * 4, "group": group}
    return Node("Conv", "c", [], [], attributes)


def product(case, simd, x, w, bias, integer, scale):
    rows, depth = x.shape
    channels = len(w)
    tile = tile_shape(simd, rows, channels, integer=integer)
    depth_padded = -(-depth // k_group(simd, integer=integer)) * k_group(simd, integer=integer)
    padded = np.zeros((channels, depth_padded), w.dtype)
    padded[:, :depth] = w
    spec = gemm.Gemm(
        rows, depth, channels, x.dtype.name, w.dtype.name, tile, depth, 0, x.size, rows * channels,
        chain_of(integer, channels), ((4, "float32"),) if integer else (), full_range=case.full_range,
    )  # fmt: skip
    shifted = bias + left_shift(simd) * w.astype(np.int64).sum(axis=1) if integer else bias
    inputs = [x, pack(simd, padded, tile[1], integer=integer), channel_values(simd, tile, shifted, bias.dtype)]
    if integer:
        inputs += [channel_values(simd, tile, scale, np.float32), LIMITS]
    exact = x.astype(np.float64) @ w.T.astype(np.float64) + bias
    return gemm.build("k", spec, simd), inputs, exact


def convolution(case, simd, x, w, bias, integer, scale, zero):
    window, channels = window_of(case), len(w)
    group = k_group(simd, integer=integer)
    tile = tile_shape(simd, window.out_width, channels, integer=integer)
    padded = np.zeros((channels, case.kernel, case.kernel, -(-case.depth // group) * group), w.dtype)
    padded[..., : case.depth] = w.transpose(0, 2, 3, 1)
    pixels = case.height * case.width
    spec = conv.Conv(
        window, case.depth, channels, x.dtype.name, w.dtype.name, tile, case.depth, 1, pixels * case.depth, 0, x.size,
        window.images * window.out_height * window.out_width * channels, chain_of(integer, channels),
        ((4, "float32"),) if integer else (), integer, full_range=case.full_range,
    )  # fmt: skip
    rest = zero - left_shift(simd) if integer else 0
    taps = w.astype(np.int64).sum(axis=1).reshape(channels, -1) * rest
    shifted = bias - taps.sum(axis=1) if integer else bias
    inputs = [
        x.transpose(0, 2, 3, 1), pack(simd, padded.reshape(channels, -1), tile[1], integer=integer),
        channel_values(simd, tile, shifted, bias.dtype),
    ]  # fmt: skip
    if integer:
        corrections = np.stack([channel_values(simd, tile, tap, np.int32) for tap in taps.T])
        inputs += [channel_values(simd, tile, scale, np.float32), corrections, LIMITS]
    exact = summed(case, x, w, integer, zero, 1)
    return conv.build("k", spec, simd), inputs, exact.transpose(0, 2, 3, 1) + bias


def by_channel(case, simd, x, w, bias, integer, scale, zero):
    window, channels = window_of(case), len(w)
    spec = depthwise.Depthwise(
        window, channels, x.dtype.name, w.dtype.name, channels, 0, x.size,
        window.images * window.out_height * window.out_width * channels, chain_of(integer, channels),
        ((4, "float32"),) if integer else (), integer,
    )  # fmt: skip
    taps = np.ascontiguousarray(w.reshape(channels, -1).T)
    inputs = [x.transpose(0, 2, 3, 1), taps, bias]
    if integer:
        corrections = taps.astype(np.int32) * zero
        inputs = [*inputs[:2], (bias - corrections.sum(axis=0)).astype(np.int32), scale, corrections, LIMITS]
    exact = summed(case, x, w, integer, zero, channels)
    return depthwise.build("k", spec, simd), inputs, exact.transpose(0, 2, 3, 1) + bias


def summed(case, x, w, integer, zero, group):
    if integer:
        return convolve(x.astype(np.int64) - zero, w.astype(np.int64), node_of(case, group))
    return convolve((8 * x).astype(np.int64), (8 * w).astype(np.int64), node_of(case, group)) / 64


def channel_values(simd, tile, values, dtype):
    return pack_channels(values.astype(dtype), simd.lanes, tile[1])


def chain_of(integer, channels):
    store = dataclasses.replace(BYTES, pitch=channels, limits=0) if integer else Store(pitch=channels)
    return Chain((), store, exact=integer)


def built(case, simd, integer):
    """The call of a case, what numpy gets, and the size of what was summed."""
    rng = np.random.default_rng(case.seed)
    zero = int(rng.integers(0, 256))
    if case.kernel == 0:
        x, w = (case.height * case.width, case.depth), (case.channels, case.depth)
    else:
        x = (case.images, case.depth if case.deep else case.channels, case.height, case.width)
        w = (case.channels, case.depth if case.deep else 1, case.kernel, case.kernel)
    if integer:
        x, w = rng.integers(0, 256, x).astype(np.uint8), rng.integers(-128, 128, w).astype(np.int8)
        w = w if case.full_range else np.maximum(w, -127)
        bias, scale = rng.integers(-999, 999, case.channels).astype(np.int32), rng.uniform(1e-4, 1e-2, case.channels)
    else:
        # Eighths, so that the reference for integers serves and every sum is exact in binary32.
        x, w = (rng.integers(-32, 33, shape).astype(np.float32) / 8 for shape in (x, w))
        bias, scale = rng.standard_normal(case.channels).astype(np.float32), np.zeros(1)
    scale = scale.astype(np.float32)
    if case.kernel == 0:
        function, inputs, exact = product(case, simd, x, w, bias, integer, scale)
    else:
        make = convolution if case.deep else by_channel
        function, inputs, exact = make(case, simd, x, w, bias, integer, scale, zero)
    expected = numerics.requantize(exact.astype(np.int64), scale, 7, 0, 255) if integer else exact
    return Call(function, inputs, exact.size, "uint8" if integer else "float32"), expected.reshape(-1)


def check(board, chosen):
    target = targets.load(board)
    simd = simd_of(target)
    kinds = [(case, integer) for case in chosen for integer in (True, False)]
    made = [built(case, simd, integer) for case, integer in kinds]
    results = outputs_of([call for call, _ in made], target)
    for (case, integer), (_, expected), got in zip(kinds, made, results, strict=True):
        if integer:
            assert np.array_equal(got, expected), case
        else:
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=str(case))


@pytest.mark.parametrize("board", BOARDS)
@given(st.lists(cases(), min_size=3, max_size=3))
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
def test_kernels_of_any_shape_have_the_bits_of_numpy_on_arm(board, chosen):
    check(board, chosen)


#: Whole tiles with remainders in every direction, padding, batches, one row alone, and depths under one k-group.
CHOSEN = [
    Case(0, 1, 10, 13, 37, 41, 1, 0, True, False, 1),
    Case(0, 1, 1, 1, 20, 26, 1, 0, True, True, 2),
    Case(0, 1, 3, 3, 1, 2, 1, 0, True, False, 3),
    Case(3, 2, 5, 9, 3, 13, 1, 1, True, False, 4),
    Case(3, 2, 9, 9, 1, 19, 2, 1, False, False, 5),
    Case(5, 1, 6, 9, 1, 9, 1, 2, False, True, 6),
]


@pytest.mark.parametrize("board", BOARDS)
def test_chosen_shapes_have_the_bits_of_numpy_on_arm(board):
    check(board, CHOSEN)


@pytest.mark.parametrize("board", ["rpi4", "zynq7020-ps"])
@pytest.mark.parametrize(("weight", "full_range"), [(-127, False), (-128, True)])
def test_the_largest_byte_products_do_not_overflow_sixteen_bits(board, weight, full_range):
    target = targets.load(board)
    simd = simd_of(target)
    case = Case(0, 1, 4, 5, 24, 12, 1, 0, True, full_range, 0)
    x, w = np.zeros((20, 24), np.uint8), np.full((12, 24), weight, np.int8)
    bias, scale = np.full(12, 128 * 24 * weight, np.int32), np.full(12, 1e-3, np.float32)
    function, inputs, exact = product(case, simd, x, w, -bias, True, scale)
    (got,) = outputs_of([Call(function, inputs, 240, "uint8")], target)
    assert np.array_equal(got, numerics.requantize(exact.astype(np.int64).reshape(-1), 1e-3, 7, 0, 255))


def test_a_core_that_issues_in_order_gets_the_same_results():
    board = targets.load("rpi3")
    swift = msgspec.structs.replace(board, cpu=msgspec.structs.replace(board.cpu, in_order=False))
    case = dataclasses.replace(CHOSEN[0], seed=9)
    results = [outputs_of([built(case, simd_of(t), False)[0]], t)[0] for t in (board, swift)]
    assert np.array_equal(*results)
