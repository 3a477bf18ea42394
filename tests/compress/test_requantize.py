"""The engine's requantisation in torch: Python's integers forward, autograd of real arithmetic backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.compress.requantize import multipliers, requantised, whole_bias


def exactly(total, multiplier, bias, shift, limits, zero):
    """quant/INTEGER_NETWORKS.md, section "Arithmetic", in Python's integers."""
    t = ((total * multiplier + 2**shift // 2) >> shift) + bias - (0 if zero is None else 128)
    return min(max(t, limits[0]), limits[1]) - (zero or 0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    spread=st.floats(1e-6, 3.0),
    zero_in=st.integers(-128, 127),
    zero_out=st.one_of(st.none(), st.integers(-128, 127)),
)
def test_steps_are_those_of_integer_arithmetic(seed, spread, zero_in, zero_out):
    generator = torch.Generator().manual_seed(seed)
    sums = torch.randint(-(2**23), 2**23, (2, 3, 4, 5), generator=generator).float()
    sums[0] = torch.randint(-300, 300, (3, 4, 5), generator=generator).float()
    ratio = torch.rand(3, generator=generator) * spread
    constant = torch.randn(3, generator=generator) * 50
    total = torch.randint(-900, 900, (3,), generator=generator).float()
    limits = (1, 7) if zero_out is None else (-128, 127)
    got = requantised(sums, ratio, constant, total, (zero_in, zero_out), limits)
    multiplier, shift = multipliers(ratio)
    bias = whole_bias(multiplier, shift, constant, total, (zero_in, zero_out))
    assert 0 <= shift <= 31 and (multiplier.max() > 16000 or shift == 31)
    for n, c, i, j in ((n, c, i, j) for n in range(2) for c in range(3) for i in range(4) for j in range(5)):
        raw = int(sums[n, c, i, j]) + zero_in * int(total[c])
        wanted = exactly(raw, int(multiplier[c]), int(bias[c]), shift, limits, zero_out)
        assert got[n, c, i, j] == wanted


def test_the_largest_ratio_never_becomes_a_multiplier_beyond_int16():
    for ratio in (0.99999999, 32767.6 / 2**20, 0.5, 1.0):
        multiplier, _ = multipliers(torch.tensor([ratio], dtype=torch.float64))
        assert 16383 <= multiplier <= 32767


@pytest.mark.parametrize("zeros", [(-128, 5), (3, None)])
def test_gradients_are_those_of_real_arithmetic(zeros):
    limits = (1, 7) if zeros[1] is None else (-128, 127)
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randint(-400, 400, (2, 3, 5, 5), generator=generator).float(),
        torch.rand(3, generator=generator) * (0.03 if zeros[1] is None else 1.0) + 0.001,
        torch.tensor([3.5, 4.2, 4.9]),
    ]
    total = torch.tensor([5.0, -7.0, 0.0])
    cotangent = torch.randn(2, 3, 5, 5, generator=generator)
    ours, real = ([value.clone().requires_grad_() for value in given] for _ in range(2))
    # The same function without rounding; where its clamp holds is taken from the whole steps.
    low, high = (limit - (zeros[1] or 0) for limit in limits)
    free = real[0] * real[1].view(1, -1, 1, 1) + real[2].view(1, -1, 1, 1)
    inside = (free.detach() > low - 0.01) & (free.detach() < high + 0.01)
    sure = (free.detach() - low).abs().minimum((free.detach() - high).abs()) > 1.5
    (free * inside * sure * cotangent).sum().backward()
    requantised(*ours, total, zeros, limits).backward(cotangent * sure)
    for got, wanted in zip(ours, real, strict=True):
        torch.testing.assert_close(got.grad, wanted.grad, rtol=1e-4, atol=1e-3)
    assert (sure & inside).float().mean() > 0.5 and (sure & ~inside).float().mean() > 0.05
