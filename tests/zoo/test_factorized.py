"""Factorized convolutions: the format's definition, their dense twins, what they start from, what they refuse."""

import pytest
import torch
from helpers.factorized import one_way_after_another
from torch import nn

from edgevision.errors import UsageError
from edgevision.zoo.factorized import (
    FactorizedConv1d,
    FactorizedConv2d,
    FactorizedConv3d,
    FactorizedConvTranspose2d,
    largest_rank,
)

SHAPES = [((3, 5), (2, 1), (1, 2), 3), (3, 1, 1, 1), ((1, 4), 1, 0, 2), (5, 3, 2, 4)]


@pytest.mark.parametrize(("kernel", "stride", "padding", "rank"), SHAPES)
@pytest.mark.parametrize("kind", [FactorizedConv2d, FactorizedConvTranspose2d])
def test_it_computes_one_way_after_another(kind, kernel, stride, padding, rank):
    torch.manual_seed(0)
    layer, x = kind(5, 7, kernel, stride, padding, rank), torch.randn(2, 5, 9, 11)
    torch.testing.assert_close(layer(x), one_way_after_another(layer, x), rtol=1e-5, atol=1e-5)


def test_output_padding_is_that_of_torch():
    layer = FactorizedConvTranspose2d(4, 6, 3, 2, 1, 2, output_padding=1)
    x = torch.randn(1, 4, 5, 7)
    assert layer(x).shape == (1, 6, 10, 14) and layer.out_size((5, 7)) == (10, 14)
    torch.testing.assert_close(layer(x), one_way_after_another(layer, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "kind", "shape"),
    [
        (FactorizedConv1d(5, 6, 3, 2, 1, 2), nn.Conv1d, (2, 5, 17)),
        (FactorizedConv2d(5, 6, 3, 2, 1, 4, bias=False), nn.Conv2d, (2, 5, 9, 8)),
        (FactorizedConv3d(5, 6, (1, 2, 3), 1, (0, 1, 1), 4), nn.Conv3d, (2, 5, 4, 6, 7)),
        (FactorizedConvTranspose2d(5, 6, 4, 2, 1, 3), nn.ConvTranspose2d, (2, 5, 6, 7)),
    ],
)
def test_the_dense_twin_is_torchs_layer_and_computes_the_same(layer, kind, shape):
    dense, x = layer.to_dense(), torch.randn(shape)
    assert type(dense) is kind and (dense.bias is None) == (layer.bias is None)
    torch.testing.assert_close(layer(x), dense(x), rtol=1e-5, atol=1e-5)
    assert tuple(layer(x).shape[2:]) == layer.out_size(shape[2:])


def test_the_kernel_is_the_sum_of_products_of_its_factors():
    layer = FactorizedConv3d(3, 4, (2, 3, 4), rank=5)
    wanted = torch.einsum("orc,ori,orj,ork->ocijk", layer.channel, *layer.filters)
    torch.testing.assert_close(layer.kernel(), wanted)


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("kind", [FactorizedConv2d, FactorizedConvTranspose2d])
def test_it_starts_with_the_variance_of_he(kind, rank):
    torch.manual_seed(0)
    layer = kind(64, 1024, 3, 2, 1, rank)
    pixels_per_tap = 4 if layer.transposed else 1
    assert layer.kernel().var().item() * 64 * 9 / pixels_per_tap == pytest.approx(2, rel=0.03)


def test_products_start_apart_and_balanced():
    torch.manual_seed(0)
    layer = FactorizedConv2d(16, 8, 3, rank=4)
    lengths = torch.stack([f.norm(dim=-1) for f in (layer.channel, *layer.filters)])
    torch.testing.assert_close(lengths, lengths[:1].expand(3, -1, -1))
    assert torch.linalg.matrix_rank(layer.filters[0]).min() == 3


def test_balancing_leaves_the_kernel_as_it_is_also_with_a_product_of_zeros():
    layer = FactorizedConv2d(6, 5, 3, rank=2)
    with torch.no_grad():
        layer.channel.mul_(100)
        layer.filters[1][2, 1] = 0
    before = layer.kernel().detach().clone()
    layer.balance()
    torch.testing.assert_close(layer.kernel(), before)
    assert not layer.channel[2, 1].any() and layer.channel.isfinite().all()


def test_every_factor_is_trained():
    layer = FactorizedConv2d(4, 4, 3, rank=2)
    layer(torch.randn(1, 4, 6, 6)).square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in layer.parameters())


def test_scaled_outputs_are_scaled():
    layer, x = FactorizedConv2d(4, 3, 3, rank=2, bias=False), torch.randn(1, 4, 6, 6)
    scale, shift = torch.tensor([2.0, -0.5, 0.0]), torch.tensor([1.0, 2.0, 3.0])
    wanted = layer(x) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
    layer.scale_outputs(scale, shift)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((8, 8, 3, 1, 1, 0), "rank of 1 to 9.*got 0"),
        ((8, 8, 3, 1, 1, 10), "rank of 1 to 9.*got 10"),
        ((8, 8, 1, 1, 0, 1), "one tap"),
        ((0, 8, 3), "at least one channel"),
        ((8, 8, (3, 3, 3)), "2 sides"),
        ((8, 8, 3, 0), "stride"),
        ((8, 8, 3, 1, -1), "padding"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(arguments, reason):
    with pytest.raises(UsageError, match="(?s)" + reason):
        FactorizedConv2d(*arguments)


def test_the_largest_rank_makes_every_kernel():
    """Unit filters along the short ways, the kernel's own slices along the channels."""
    assert largest_rank(7, (3, 2)) == 6
    layer, kernel = FactorizedConv2d(7, 4, (3, 2), rank=6), torch.randn(4, 7, 3, 2)
    with torch.no_grad():
        layer.filters[0].copy_(torch.eye(3).repeat_interleave(2, 0))
        layer.filters[1].copy_(torch.eye(2).repeat(3, 1))
        layer.channel.copy_(kernel.flatten(2).transpose(1, 2))
    torch.testing.assert_close(layer.kernel(), kernel)
