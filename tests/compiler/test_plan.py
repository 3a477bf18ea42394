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
from edgevision.graph.export import export

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


@pytest.mark.parametrize("name", ["cas_vit_xs", "efficientnet_lite0"])
def test_arena_of_the_zoo_is_within_15_percent_of_what_is_alive_at_once(name, monkeypatch):
    monkeypatch.setattr(build, "compile_kernels", lambda *_, **__: ())
    network = zoo.load_model(name, weights="random")
    folded, _ = fold_batch_norm(network.module, torch.zeros(network.input.shape))
    program = compiler.compile_graph(export(dataclasses.replace(network, module=folded)).graph, target.load("rpi4"))
    assert 0 < program.live_bytes <= program.arena_bytes <= 1.15 * program.live_bytes
