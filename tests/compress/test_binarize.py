"""Binary layers: what they compute, how their scales begin, and the bits that are exported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgevision.compress.binarize import BinaryConv2d, BinaryLinear, BinaryWeightConv2d, BinaryWeightLinear
from edgevision.graph import binary

LAYERS = [BinaryLinear, BinaryWeightLinear, BinaryConv2d, BinaryWeightConv2d]


def made(kind, depth: int = 13, outputs: int = 5, *, bias: bool = True, learned: bool = True):
    torch.manual_seed(depth)
    image = issubclass(kind, BinaryConv2d)
    layer = nn.Conv2d(depth, outputs, 1, bias=bias) if image else nn.Linear(depth, outputs, bias=bias)
    nn.init.normal_(layer.weight, mean=0.3)
    x = torch.randn(2, depth, 3, 4) if image else torch.randn(2, 7, depth)
    return layer, kind.of(layer, learned=learned), x


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("depth", [3, 8, 13, 65])
def test_forward_is_that_of_the_packed_bits_for_any_depth(kind, depth):
    _, layer, x = made(kind, depth)
    with torch.no_grad():
        layer.scale[1] *= -1
        layer.eval()
        got = layer(x).numpy()
    run = binary.conv if issubclass(kind, BinaryConv2d) else binary.linear
    parts = (layer.packed.numpy(), layer.row_scale.numpy(), layer.row_bias.numpy())
    np.testing.assert_allclose(got, run(x.numpy(), *parts, depth, signed=kind.signed), rtol=1e-5, atol=1e-5)
    assert layer.packed.shape == (5, (depth + 7) // 8) and layer.row_scale[1] < 0


@pytest.mark.parametrize("kind", LAYERS)
def test_bits_are_the_signs_of_weights_centred_per_output_channel(kind):
    float_layer, layer, _ = made(kind)
    weight = float_layer.weight.detach().flatten(1).numpy()
    expected = binary.pack_bits(weight - weight.mean(1, keepdims=True))
    assert np.array_equal(layer.packed.numpy(), expected)


def test_scales_begin_as_the_mean_magnitude_of_the_loaded_weights_before_centring():
    float_layer, layer, _ = made(BinaryLinear)
    torch.testing.assert_close(layer.scale, float_layer.weight.abs().mean(1))
    assert torch.equal(layer.weight, float_layer.weight) and layer.weight is not float_layer.weight


def test_learned_scales_are_parameters_from_the_start_and_survive_a_checkpoint():
    _, layer, x = made(BinaryLinear)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    before = layer.scale.detach().clone()
    layer(x).square().mean().backward()
    optimizer.step()
    assert not torch.equal(layer.scale, before)
    again = BinaryLinear.of(nn.Linear(13, 5))
    again.load_state_dict(layer.state_dict())
    again.eval()
    torch.testing.assert_close(again(x), layer(x))
    assert torch.equal(again.row_scale, layer.scale)


def test_a_scale_of_zero_stays_zero():
    """It is no sign that the scale was never set: nothing is set in a forward pass."""
    _, layer, x = made(BinaryLinear, bias=False)
    with torch.no_grad():
        layer.scale.zero_()
    assert not layer(x).any() and not layer.scale.any()


def test_the_baseline_s_scale_follows_the_weights_without_a_gradient():
    _, layer, x = made(BinaryLinear, learned=False)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    with torch.no_grad():
        layer.weight *= 2
    torch.testing.assert_close(layer.channel_scale(), layer.weight.abs().mean(1))
    layer(x).sum().backward()
    assert layer.weight.grad.isfinite().all() and layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_without_bias_gets_none(kind):
    _, layer, _ = made(kind, bias=False)
    assert layer.bias is None and "bias" not in layer.state_dict() and not layer.row_bias.any()


def test_the_clip_of_the_gradient_is_on_the_centred_weight():
    layer = BinaryLinear(torch.tensor([[10.2, 9.8, 12.0, 8.0]]))
    layer(torch.ones(1, 4)).backward()
    # 10 is the mean: the first two are 0.2 from it, the others 2.
    gradient = torch.tensor([1.0, 1.0, 0.0, 0.0]) * layer.scale.detach()
    torch.testing.assert_close(layer.weight.grad, (gradient - gradient.mean())[None])
