"""Kernels as the x86-64 target files have them generated: the right instructions, and the reference's bits when run."""

from pathlib import Path

import numpy as np
import pytest
import tvm

from edgevision import target as targets
from edgevision.compiler.kernels import depthwise_bytes, gemm
from edgevision.compiler.kernels.chain import Chain, Store
from edgevision.compiler.kernels.inner import k_group
from edgevision.compiler.kernels.panel import pack, pack_channels, tile_shape
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.graph import numerics
from edgevision.graph.geometry import Window
from edgevision.graph.ir import Node
from edgevision.graph.reference import convolve
from edgevision.machine import cpu_flags

FLAGS = cpu_flags(Path("/proc/cpuinfo").read_text())
#: Target, the instruction its integer kernels are made of, and what must not appear.
EXPECTED = [
    ("x86-64-avx2", "vpmaddwd", ("vpdpbusd", "zmm", "vpmaddubsw")),
    ("x86-64-avx512", "vpmaddwd", ("vpdpbusd", "vpmaddubsw")),
    ("x86-64-vnni", "vpdpbusd", ("vpmaddwd",)),
]
RELU = np.array([0, 255, 1, 0], np.float32)


def built(function, target):
    """The kernel's assembly, and the function where this machine can run it."""
    module = tvm.tirx.build(tvm.IRModule({"k": function}), target=tvm_target(target))
    runs = set(target.cpu.requires) <= FLAGS
    return module.inspect_source("asm"), module["k"] if runs else None


def run(function, arrays):
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(a).reshape(-1)) for a in arrays]
    function(*tensors)
    return tensors[-1].numpy()


@pytest.mark.parametrize(("name", "instruction", "absent"), EXPECTED)
def test_the_dense_tile_of_a_target_is_made_of_its_dot_product(name, instruction, absent):
    target = targets.load(name)
    simd, (rows, depth, channels) = simd_of(target), (13, 37, 53)
    rng = np.random.default_rng(3)
    left = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
    left[0], weight = 255, rng.integers(-127, 128, (channels, depth)).astype(np.int8)
    weight[0] = 127  # sums of pairs that 16 bits could not hold
    bias, scale = rng.integers(-900, 900, channels).astype(np.int32), np.full(channels, 3e-5, np.float32)
    tile = tile_shape(rows, channels, simd.lanes, simd.registers)
    spec = gemm.Gemm(
        rows, depth, channels, "uint8", "int8", tile, depth, 0, left.size + 4, rows * channels,
        Chain((), Store("uint8", 0, pitch=channels), exact=True), ((4, "float32"),),
    )  # fmt: skip
    assembly, function = built(gemm.build("k", spec, simd), target)
    assert instruction in assembly and not [word for word in absent if word in assembly]
    if function is None:
        pytest.skip(f"this machine lacks what {name} requires")
    got = run(function, [
        np.append(left, np.zeros(4, np.uint8)), pack(weight, simd.lanes, tile[1], k_group(simd, integer=True)),
        pack_channels(bias, simd.lanes, tile[1]), pack_channels(scale, simd.lanes, tile[1]), RELU,
        np.zeros(rows * channels, np.uint8),
    ])  # fmt: skip
    accumulator = left.astype(np.int64) @ weight.T.astype(np.int64) + bias
    assert np.array_equal(got.reshape(rows, channels), numerics.requantize(accumulator, scale, 0, 0, 255))


@pytest.mark.parametrize(("name", "instruction", "absent"), EXPECTED)
def test_byte_depthwise_of_a_target_is_made_of_its_dot_product(name, instruction, absent):
    target, channels = targets.load(name), 44
    simd, window = simd_of(target), Window(1, 9, 10, 9, 10, (5, 5), (1, 1), (1, 1), 2, 2)
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (1, channels, 9, 10))
    weight = rng.integers(-127, 128, (channels, 1, 5, 5)).astype(np.int8)
    node = Node("Conv", "c", [], [], {"strides": (1, 1), "dilations": (1, 1), "pads": [2] * 4, "group": channels})
    accumulator = convolve(x - 9, weight.astype(np.int64), node).transpose(0, 2, 3, 1)
    spec = depthwise_bytes.DepthwiseBytes(
        window, channels, channels, 0, x.size, x.size, Chain((), Store("uint8", 0, pitch=channels), exact=True),
        ((4, "float32"),),
    )  # fmt: skip
    assembly, function = built(depthwise_bytes.build("k", spec, simd), target)
    assert instruction in assembly and not [word for word in absent if word in assembly]
    if function is None:
        pytest.skip(f"this machine lacks what {name} requires")
    scale = np.full(channels, 2e-3, np.float32)
    got = run(function, [
        x.transpose(0, 2, 3, 1).astype(np.uint8), depthwise_bytes.pack(weight[:, 0], simd),
        (-9 * weight.astype(np.int32).sum(axis=(1, 2, 3))).astype(np.int32), scale, np.full(channels, 9, np.uint8),
        RELU, np.zeros(x.size, np.uint8),
    ])  # fmt: skip
    assert np.array_equal(got.reshape(accumulator.shape), numerics.requantize(accumulator, scale, 0, 0, 255))
