"""The memory plan: nothing alive at once overlaps, and on real networks it meets the live-set bound."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgevision import compiler, target, zoo
from edgevision.compiler import build
from edgevision.compiler.plan import Span, aligned, live_bound, place
from edgevision.compiler.program import ALIGNMENT
from edgevision.compress.fold import fold_batch_norm
from edgevision.compress.quantize import quantize
from edgevision.data import open_data
from edgevision.graph.export import export
from edgevision.recipe import Quantize

SPANS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 10)).map(
        lambda t: Span(t[0], t[1], t[1] + t[2])
    ),
    max_size=25,
)


@given(SPANS)
def test_tensors_alive_together_never_overlap(spans):
    offsets, size = place(spans)
    for i, a in enumerate(spans):
        assert offsets[i] % ALIGNMENT == 0
        assert offsets[i] + a.size <= size
        for j in range(i):
            b = spans[j]
            if a.overlaps(b) and a.size and b.size:
                apart = offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]
                assert apart, (i, j)


@given(SPANS)
def test_arena_is_never_smaller_than_the_live_set(spans):
    assert place(spans)[1] >= live_bound(spans)


def test_chain_of_layers_reuses_two_slots():
    spans = [Span(1000, i, i + 1) for i in range(20)]
    assert place(spans)[1] == live_bound(spans) == 2 * aligned(1000)


def float_graph(name, image_size=None):
    network = zoo.load_model(name, weights="random", image_size=image_size)
    folded, _ = fold_batch_norm(network.module, torch.zeros(network.input.shape))
    return export(dataclasses.replace(network, module=folded)).graph, network.preprocessing


def tight(graph, monkeypatch):
    """The arena of `graph` is at most 1.15 times the live set; no kernel is compiled."""
    monkeypatch.setattr(build, "compile_kernels", lambda *_, **__: ())
    program = compiler.compile_graph(graph, target.load("rpi4"))
    return 0 < program.live_bytes <= program.arena_bytes <= 1.15 * program.live_bytes


@pytest.mark.parametrize("name", ["cas_vit_xs", "efficientnet_lite0"])
def test_arena_of_the_zoo_is_within_15_percent_of_what_is_alive_at_once(name, monkeypatch):
    assert tight(float_graph(name)[0], monkeypatch)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "deit_tiny", "swin_tiny", "convnext_tiny"])
def test_arena_in_float_and_in_bytes_is_within_15_percent(name, monkeypatch):
    graph, preprocessing = float_graph(name, image_size=64)
    assert tight(graph, monkeypatch)
    images = open_data("digits", preprocessing).split("calibration")
    # Ranges say nothing about where tensors lie: one image is enough.
    assert tight(quantize(graph, Quantize(calibration_images=1), images), monkeypatch)
