import pytest
import torch

from edgevision.zoo.codenet import FAMILIES, VARIANTS, CoDeNet, build, count_macs
from edgevision.zoo.family import Wanted

PUBLISHED = {
    "codenet_a": (0.76, 0.29), "codenet_b": (0.76, 0.29), "codenet_c": (0.76, 1.14),
    "codenet_d": (2.90, 3.54), "codenet_e": (2.90, 3.58),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_are_the_published_ones_and_macs_within_four_percent(name):
    network = CoDeNet(VARIANTS[name], classes=20).eval()
    size, macs = PUBLISHED[name]
    # Half a byte per parameter, in MiB: the figure of the table.
    assert round(sum(p.numel() for p in network.parameters()) / 2 / 2**20, 2) == size
    # Published counts lie 1 to 4 % above those of the convolutions alone; what else they count is not published.
    assert 0 <= macs - count_macs(network, VARIANTS[name].side) / 1e9 < 0.04 * macs


def test_maps_have_a_quarter_of_the_side_and_heads_in_order():
    network = CoDeNet(VARIANTS["codenet_a"], classes=3).eval()
    x = torch.randn(1, 3, 64, 96)
    centres, sizes, offsets = network.maps(x)
    assert centres.shape == (1, 3, 16, 24) and sizes.shape == offsets.shape == (1, 2, 16, 24)
    assert torch.equal(network(x), torch.cat([centres, sizes, offsets], 1))


def test_the_plain_network_is_the_untrained_square_one_without_predictors():
    torch.manual_seed(0)
    square, plain = (build(Wanted(name, (64, 64), 3)).eval() for name in ("codenet_a", "codenet_a_plain"))
    state = {key: value for key, value in square.state_dict().items() if "predictor" not in key}
    plain.load_state_dict(state)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(plain(x), square(x), atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_parameter():
    network = CoDeNet(VARIANTS["codenet_b"], classes=3)
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.decoder[1][0][0].predictor.bias.grad.abs().sum() > 0


def test_the_backbone_has_torchvisions_keys():
    keys = set(CoDeNet(VARIANTS["codenet_b"], classes=3).backbone.state_dict())
    expected = {
        "conv1.0.weight", "conv1.1.running_var", "stage2.0.branch1.0.weight", "stage2.0.branch1.2.weight",
        "stage3.7.branch2.0.weight", "stage3.7.branch2.3.weight", "stage4.3.branch2.5.weight", "conv5.0.weight",
    }  # fmt: skip
    assert expected <= keys and not any(key.startswith(("stage2.1.branch1", "fc")) for key in keys)


def test_every_variant_belongs_to_one_family():
    names = [name for family in FAMILIES for name in family.names if not name.endswith("_plain")]
    assert sorted(names) == sorted(VARIANTS)
