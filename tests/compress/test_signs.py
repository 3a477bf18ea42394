"""Signs and the binarisation of attention against their definitions (BiViT, and the traps around it)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgevision.compress.signs import MASKED, boolean, kept_entries, sign, softmax_aware
from edgevision.graph import binary


def scores(seed: int = 0, shape=(2, 3, 5, 5), width: int = 32) -> torch.Tensor:
    """Products of signs: of one parity, from -width to width."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy((2 * rng.binomial(width, 0.5, shape) - width).astype(np.float32))


def test_zero_is_positive_whatever_its_own_sign_as_in_the_packed_bits():
    x = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 3.0, -3.0])
    assert sign(x).tolist() == [1, 1, 1, -1, 1, -1] == binary.sign(x.numpy()).tolist()


def test_gradient_passes_inside_the_window_only():
    x = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    (sign(x) * torch.arange(1.0, 8.0)).sum().backward()
    assert x.grad.tolist() == [0, 0, 3, 4, 5, 0, 0]


def test_an_entry_is_kept_where_its_softmax_reaches_a_quarter_of_the_largest():
    made, scale = scores(), 32**-0.5
    soft = (made * scale).double().softmax(-1)
    assert torch.equal(kept_entries(made, None, scale, 0.25), soft >= 0.25 * soft.amax(-1, keepdim=True))


def test_the_comparison_is_inclusive_and_the_largest_is_kept():
    # With a scale of ln(4) / 2 an entry 2 below the largest is at the threshold, 4 below it is not.
    made = torch.tensor([[8.0, 6.0, 4.0, -8.0]])
    assert kept_entries(made, None, math.log(4) / 2, 0.25).tolist() == [[True, True, False, False]]
    assert kept_entries(scores(3), None, 1e3, 0.25).any(-1).all()


def test_masked_entries_are_neither_kept_nor_the_largest():
    made = torch.tensor([[8.0, 0.0, -4.0], [8.0, 0.0, -4.0]])
    bias = torch.tensor([[MASKED, 0.0, 0.0], [-math.inf, 0.0, 0.0]])
    assert kept_entries(made, bias, 1.0, 0.25).tolist() == [[False, True, False]] * 2


def test_a_row_that_is_masked_throughout_is_zero_with_finite_gradients():
    made = scores().requires_grad_()
    bias = torch.zeros(5, 5)
    bias[2] = -math.inf
    attention = softmax_aware(made, bias, 0.2, 0.25)
    (attention * torch.randn(attention.shape)).sum().backward()
    assert (attention[..., 2, :] == 0).all() and made.grad.isfinite().all()


def test_the_row_scale_is_the_mean_softmax_of_what_is_kept():
    made, scale = scores(1), 32**-0.5
    soft = (made * scale).softmax(-1).numpy()
    kept = soft >= 0.25 * soft.max(-1, keepdims=True)
    expected = kept * np.true_divide((soft * kept).sum(-1), kept.sum(-1))[..., None]
    np.testing.assert_allclose(softmax_aware(made, None, scale, 0.25), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(softmax_aware(made, None, scale, 0.25, row_scale=False), kept, atol=1e-6)


@pytest.mark.parametrize("row_scale", [True, False])
def test_the_gradient_is_that_of_the_softmax(row_scale):
    made, weights = scores(2), torch.randn(2, 3, 5, 5)
    ours, plain = made.clone().requires_grad_(), made.clone().requires_grad_()
    (softmax_aware(ours, None, 0.2, 0.25, row_scale=row_scale) * weights).sum().backward()
    ((plain * 0.2).softmax(-1) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad)


def test_without_the_row_scale_the_sign_behind_lets_less_gradient_back():
    """The published code drops the scale in training: sums leave the window of the sign's gradient."""
    passed = []
    for row_scale in (True, False):
        v = sign(torch.randn(1, 1, 64, 32, generator=torch.Generator().manual_seed(1)))
        made = scores(4, (1, 1, 64, 64)).requires_grad_()
        sign(softmax_aware(made, None, 32**-0.5, 0.25, row_scale=row_scale) @ v).sum().backward()
        passed.append(float(made.grad.abs().sum()))
    assert passed[0] > 3 * passed[1]


def test_the_baseline_keeps_what_is_not_negative():
    made = torch.tensor([[3.0, 0.0, -1.0]])
    assert boolean(made, None, 0.5).tolist() == [[1, 1, 0]]
    assert boolean(made, torch.tensor([[-math.inf, -1.0, 2.0]]), 0.5).tolist() == [[0, 0, 1]]
