"""Weights of four bits: two to a byte in the program, and the bits of the reference on every core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.emulated import emulated
from helpers.graphs import model_of, node, quantized
from helpers.walking import HOST, walk
from hypothesis import given
from hypothesis import strategies as st

from edgevision import compiler
from edgevision import target as targets
from edgevision.compiler.kernels import nibbles
from edgevision.graph import reference
from edgevision.machine import cpu_flags, resolve

FLAGS = cpu_flags(Path("/proc/cpuinfo").read_text())
RUNNABLE = [HOST, *(t for t in map(targets.load, ("x86-64-avx2", "x86-64-avx512")) if set(t.cpu.requires) <= FLAGS)]
SIZE = 9


def layers(low: int = -8, high: int = 7):
    """A dense, a depthwise and a pointwise convolution with odd borders, then a linear layer; weights from -8 to 7."""
    rng = np.random.default_rng(0)
    shapes = {"dense": (38, 3, 3, 3), "depthwise": (38, 1, 3, 3), "pointwise": (26, 38, 1, 1), "linear": (10, 26)}
    constants = {"x.s": np.float32(0.03), "x.z": np.uint8(121)}
    nodes = [*quantized("x", "x.dq", "x.s", "x.z")]
    source = "x.dq"
    for name, shape in shapes.items():
        if name == "linear":
            nodes += [node("GlobalAveragePool", [source], ["mean"]), node("Flatten", ["mean"], ["flat"]),
                      *quantized("flat", "flat.dq", "x.s", "x.z")]  # fmt: skip
            source = "flat.dq"
        constants |= {
            f"{name}.w": rng.integers(low, high + 1, shape).astype(np.int8),
            f"{name}.ws": rng.uniform(0.02, 0.06, shape[0]).astype(np.float32),
            f"{name}.wz": np.zeros(shape[0], np.int8),
            f"{name}.b": rng.standard_normal(shape[0]).astype(np.float32),
            f"{name}.s": np.float32(0.05),
            f"{name}.z": np.uint8(110),
        }
        nodes.append(node("DequantizeLinear", [f"{name}.w", f"{name}.ws", f"{name}.wz"], [f"{name}.dq"], axis=0))
        inputs, kind = [source, f"{name}.dq", f"{name}.b"], "Gemm" if name == "linear" else "Conv"
        how = {"transB": 1} if name == "linear" else {
            "pads": [shape[2] // 2] * 4, "strides": [1 + (name == "depthwise")] * 2,
            "group": 38 if name == "depthwise" else 1,
        }  # fmt: skip
        nodes.append(node(kind, inputs, [name], **how))
        nodes += quantized(name, f"{name}.out", f"{name}.s", f"{name}.z")
        source = f"{name}.out"
    return model_of(nodes, (1, 3, SIZE, SIZE), [source], **constants)


IMAGE = np.random.default_rng(1).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)


@pytest.mark.parametrize("target", RUNNABLE, ids=lambda target: target.name)
def test_weights_of_four_bits_give_the_bytes_of_the_reference(target):
    graph = layers()
    for got, wanted in zip(walk(graph, IMAGE, target=target), reference.run(graph, IMAGE), strict=True):
        assert np.array_equal(got.reshape(wanted.shape), wanted) and np.unique(wanted).size > 5


@pytest.mark.parametrize("board", ["rpi3", "rpi5", "arm64-i8mm", "zynq7020-ps"])
def test_they_do_on_arm(board):
    graph = layers()
    found = emulated(graph, IMAGE, target=resolve(targets.load(board)))
    for got, wanted in zip(found, reference.run(graph, IMAGE), strict=True):
        assert np.array_equal(got.reshape(wanted.shape), wanted)


def test_a_weight_takes_half_the_bytes_of_one_that_needs_eight_bits():
    narrow, wide = (len(compiler.compile_graph(graph, HOST).constants) for graph in (layers(), layers(-9)))
    stored = 38 * 27 + 38 * 9 + 26 * 38 + 10 * 26
    assert wide - narrow >= 0.48 * stored


@given(st.lists(st.integers(-8, 7), min_size=1, max_size=40))
def test_two_weights_share_a_byte_and_come_back(values):
    weights = np.array([*values, *values], np.int8)
    packed = nibbles.pack(weights, "int4")
    assert packed.dtype == np.uint8 and packed.size == weights.size // 2
    assert np.array_equal(np.stack([packed & 15, packed >> 4], 1).reshape(-1).astype(np.int8) - 8, weights)
