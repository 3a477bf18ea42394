"""Square layers of public checkpoints, read by the convention of the code they come from."""

import pytest
import torch

from edgevision.errors import Unsupported, UsageError
from edgevision.zoo.codenet import VARIANTS, CoDeNet
from edgevision.zoo.conventions import CONVENTIONS, adopt, fit
from edgevision.zoo.deform import DeformConv2d, deform_conv

GRID = torch.tensor([[u, v] for u in (-1.0, 0.0, 1.0) for v in (-1.0, 0.0, 1.0)]).reshape(1, 18, 1, 1)


def loaded(seed=0, **options):
    """A layer with a checkpoint's weights, whose predictor reaches beyond every clamp."""
    torch.manual_seed(seed)
    layer = DeformConv2d(6, 6, **options)
    torch.nn.init.normal_(layer.predictor.weight, std=4)
    return layer


def offsets_of_the_ablation_code(value):
    """Offsets on top of an ordinary convolution: s = clamp(v, 0, 8), s k."""
    return value.clamp(0, 8) * GRID


def offsets_of_the_quantized_code(value):
    """s = hardtanh(v, -7, 8), (s - 1) k."""
    return (torch.nn.functional.hardtanh(value, -7, 8) - 1) * GRID


def offsets_of_the_paper(value):
    """The distance itself: clamp(v, 0, 7), (d - 1) k."""
    return (value.clamp(0, 7) - 1) * GRID


@pytest.mark.parametrize("predictor_kernel", [1, 3])
@pytest.mark.parametrize(
    ("convention", "offsets"),
    [
        ("ablation", offsets_of_the_ablation_code),
        ("quantized", offsets_of_the_quantized_code),
        ("paper", offsets_of_the_paper),
    ],
)
def test_a_layer_taken_over_computes_what_it_did_in_the_code_it_comes_from(convention, offsets, predictor_kernel):
    layer = loaded(rounded=False, predictor_kernel=predictor_kernel)
    x = torch.randn(2, 6, 9, 11)
    with torch.no_grad():
        value = layer.predictor(x)
        wanted = deform_conv(x, offsets(value), layer.weight)
        assert adopt(layer, convention) == ()
        torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("convention", ["quantized", "ablation"])
def test_limits_beyond_seven_are_refused_with_the_names_of_the_layers(convention):
    network = CoDeNet(VARIANTS["codenet_a"], classes=2)
    notes = adopt(network, convention)
    assert [note.split(":")[0] for note in notes] == ["decoder.0.0.0", "decoder.1.0.0", "decoder.2.0.0"]
    with pytest.raises(Unsupported) as caught:
        fit(network)
    assert len(caught.value.reasons) == 3
    assert caught.value.reasons[0].startswith("decoder.0.0.0: from")


def test_clamped_when_asked_and_only_where_the_limits_were_reached():
    layer = loaded(rounded=False)
    x = torch.randn(1, 6, 8, 8)
    adopt(layer, "ablation")
    with torch.no_grad():
        before = layer.dilation(x)
        assert fit(layer, clamp=True) == (
            "layer: dilations from 1 to 9 are cut to 1 to 7", "layer: dilations are rounded from here on",
        )  # fmt: skip
        assert layer.deployable
        assert torch.equal(layer.dilation(x), before.clamp(1, 7).round())


def test_the_convention_of_the_paper_is_what_is_deployed():
    layer = loaded()
    adopt(layer, "paper")
    assert fit(layer) == ()
    assert layer.limits == (0, 7)


def test_unknown_conventions_and_networks_without_square_layers_are_refused():
    with pytest.raises(UsageError, match=r"'quantised'.*quantized"):
        adopt(loaded(), "quantised")
    with pytest.raises(UsageError, match="without"):
        adopt(torch.nn.Linear(2, 2), next(iter(CONVENTIONS)))
