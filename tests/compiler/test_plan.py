"""The memory plan: nothing alive at once overlaps, and on real networks it meets the live-set bound."""

from hypothesis import given
from hypothesis import strategies as st

from edgevision.compiler.plan import Span, aligned, live_bound, place
from edgevision.compiler.program import ALIGNMENT

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
