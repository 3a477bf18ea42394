from __future__ import annotations

import pytest
import torch
from torch import nn

from edgevision.errors import UsageError
from edgevision.zoo import load_model
from edgevision.zoo.wave_net import WIDTHS, WaveNet


def test_parameters_are_those_of_its_convolutions():
    spatial = 3 * 16 * 9 + 16
    spatial += sum(2 * (width * width * 9 + width) for width in (*WIDTHS, *WIDTHS[:-1]))
    spatial += sum(a * b * 9 + b for a, b in ((16, 32), (32, 64), (64, 128)))
    pointwise = sum(a * b + a for a, b in ((16, 32), (32, 64), (64, 128))) + 16 * 4 + 4
    assert sum(p.numel() for p in WaveNet(later=4).parameters()) == spatial + pointwise


def test_every_place_of_the_output_sees_the_whole_of_a_small_square():
    torch.manual_seed(0)
    net, x = WaveNet(later=1), torch.randn(1, 3, 32, 32, requires_grad=True)
    net(x)[0, 0, 0, 0].backward()
    # Waves of 1.4 side lengths a second cross less than half of the square in four intervals of 0.05 s.
    assert x.grad[0, 0, :20, :20].abs().min() > 0


def test_fresh_networks_predict_little_and_their_features_do_not_grow():
    torch.manual_seed(0)
    net, seen = WaveNet(later=4), []
    net.decoder[0].register_forward_hook(lambda layer, inputs, output: seen.append(output))
    assert net(torch.randn(4, 3, 64, 64)).std() < 1
    assert 0.3 < seen[0].std() < 3


def test_spatial_layers_are_plain_convolutions():
    kinds = {type(layer) for layer in WaveNet(later=4).modules() if not list(layer.children())}
    assert kinds == {nn.Conv2d}


def test_sides_that_cannot_be_halved_are_refused():
    with pytest.raises(UsageError, match="multiple of 8, got 20x20"):
        load_model("wave_net", image_size=20)
