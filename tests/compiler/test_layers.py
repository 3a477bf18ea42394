"""Layers of every kernel family at random shapes, as they are lowered, several in one compiled module.

Odd images, channels that fill no vector, batches, every border: bytes have the bits of the integer reference, floats
are onnxruntime's within 1e-5, here with every vector this machine has and on ARM under its emulator.
"""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from helpers.emulated import emulated
from helpers.layers import BYTE_FAMILIES, FLOAT_FAMILIES, images, together
from helpers.walking import HOST, walk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgevision import target as targets
from edgevision.graph import reference
from edgevision.machine import cpu_flags, resolve

FLAGS = cpu_flags(Path("/proc/cpuinfo").read_text())
NARROWER = [targets.load(name) for name in ("x86-64-avx2", "x86-64-avx512")]
#: This machine, and others it can stand in for.
RUNNABLE = [HOST, *(made for made in NARROWER if set(made.cpu.requires) <= FLAGS)]
# A failure names its layer with everything it takes to make it again, so nothing is won by compiling smaller ones.
few = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck),
               phases=[Phase.explicit, Phase.reuse, Phase.generate])  # fmt: skip


def mixed(families):
    """Six layers, of families drawn too."""
    return st.lists(st.sampled_from(sorted(families)).flatmap(families.get), min_size=6, max_size=6)


def by_onnxruntime(model, arrays):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {entry.name: array for entry, array in zip(session.get_inputs(), arrays, strict=True)})


def same_bits(layers, run):
    model, arrays = together(layers), images(layers)
    for layer, got, wanted in zip(layers, run(model, *arrays), reference.run(model, *arrays), strict=True):
        assert got.size == wanted.size and np.array_equal(got.reshape(wanted.shape), wanted), layer


def close(layers, run):
    model, arrays = together(layers), images(layers)
    for layer, got, wanted in zip(layers, run(model, *arrays), by_onnxruntime(model, arrays), strict=True):
        # A sum is as exact as its terms are, not as what they leave of each other: relative to the largest element.
        largest = float(np.abs(wanted).max())
        np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5 * max(largest, 0.1),
                                   err_msg=str(layer))  # fmt: skip


@pytest.mark.parametrize("family", sorted(BYTE_FAMILIES))
@given(st.data(), st.sampled_from(RUNNABLE))
@few
def test_bytes_of_any_shape_have_the_bits_of_the_reference(family, data, target):
    # Depthwise kernels write out every tap, so that few take as long to compile as many others.
    count = 2 if family == "depthwise" else 4
    layers = data.draw(st.lists(BYTE_FAMILIES[family], min_size=count, max_size=count))
    same_bits(layers, lambda *given: walk(*given, target=target))


@pytest.mark.parametrize("family", sorted(FLOAT_FAMILIES))
@given(st.data(), st.sampled_from(RUNNABLE))
@few
def test_floats_of_any_shape_agree_with_onnxruntime(family, data, target):
    layers = data.draw(st.lists(FLOAT_FAMILIES[family], min_size=5, max_size=5))
    close(layers, lambda *given: walk(*given, target=target))


@pytest.mark.parametrize("board", ["rpi4", "rpi5", "arm64-i8mm", "zynq7020-ps"])
@given(mixed(BYTE_FAMILIES))
@few
def test_bytes_of_any_family_have_the_same_bits_on_arm(board, layers):
    same_bits(layers, lambda *given: emulated(*given, target=resolve(targets.load(board))))


@pytest.mark.parametrize("board", ["rpi3", "zynq7020-ps"])
@given(mixed(FLOAT_FAMILIES))
@few
def test_floats_of_any_family_agree_with_onnxruntime_on_arm(board, layers):
    close(layers, lambda *given: emulated(*given, target=resolve(targets.load(board))))
