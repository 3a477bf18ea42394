"""What can be bypassed, what it costs, and what goes first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgevision.compress.prune import prune_blocks
from edgevision.compress.prune_units import MACS_PER_ELEMENT, Nothing, bypassed, find_units, modelled_time, outermost
from edgevision.compress.work import Rows
from edgevision.errors import Unsupported
from edgevision.zoo import load_model

torch.set_num_threads(1)
DIM, SIDE = 6, 8


class Residual(nn.Module):
    """x + scale * branch(x)."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.branch = nn.Sequential(nn.Conv2d(DIM, DIM, 3, padding=1), nn.ReLU(), nn.Conv2d(DIM, DIM, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.branch(x)


class Network(nn.Module):
    """A stem, residual blocks that matter more and less, a head that is called twice in a row."""

    def __init__(self, *scales: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, DIM, 1)
        self.blocks = nn.Sequential(*(Residual(scale) for scale in scales))
        self.twice = nn.Sequential(nn.Conv2d(DIM, DIM, 1), nn.Conv2d(DIM, DIM, 1))
        self.head = nn.Linear(DIM, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem(x))
        return self.head(self.twice(self.twice(x)).mean((2, 3)))


def images(count: int = 6) -> Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_units_keep_their_shape_are_called_once_and_hold_two_layers():
    found = {unit.path: unit for unit in find_units(Network(1, 1).eval(), images(1))}
    # Not the stem, the head or what is called twice; a branch that is all its block holds is the block.
    assert list(found) == ["blocks", "blocks.0", "blocks.1"]
    assert found["blocks.0"].layers == 2 and found["blocks"].parameters == 2 * found["blocks.0"].parameters


def test_the_modelled_time_counts_products_and_written_elements():
    pixels = SIDE * SIDE
    expected = pixels * (DIM * 3 + 2 * (DIM * DIM * 9 + DIM * DIM) + 4 * DIM * DIM) + 5 * DIM
    written = pixels * DIM * (1 + 2 * 3 + 4) + 5
    assert modelled_time(Network(1, 1).eval(), images(1)) == expected + MACS_PER_ELEMENT * written


def test_what_harms_least_goes_first_and_the_network_given_stays():
    network = Network(1.0, 0.0, 1.0, 0.01).eval()
    before = network(images())
    share = 1.2 * find_units(network, images(1))[1].time / modelled_time(network, images(1))
    pruned = prune_blocks(network, share, images())
    assert [one.unit.path.split(".")[1] for one in pruned.removed] == ["1", "3"]
    assert pruned.removed[0].harm == 0 and pruned.share >= share
    torch.testing.assert_close(pruned.module(images()), before, atol=0.02, rtol=0.1)
    assert torch.equal(network(images()), before)
    assert pruned.ranking[0].unit.path == pruned.removed[0].unit.path
    assert [one.harm_per_share for one in pruned.ranking] == sorted(one.harm_per_share for one in pruned.ranking)


def test_a_branch_is_left_out_and_a_block_passed_on():
    network = Network(1.0, 1.0).eval()
    inside, block = network.blocks[0].branch, network.blocks[0]
    bypassed(network, "blocks.0.branch", "nothing")
    assert isinstance(network.blocks[0].branch, Nothing)
    x = torch.randn(1, DIM, 4, 4)
    assert torch.equal(block(x), x)
    network.blocks[0].branch = inside
    bypassed(network, "blocks.0", "input")
    assert torch.equal(network.blocks[0](x), x)


def test_the_harm_is_the_divergence_of_the_classes():
    network = Network(1.0, 1.0, 1.0).eval()
    nn.init.normal_(network.head.weight, std=30)
    pruned = prune_blocks(network, 0.1, images())
    (first,) = pruned.removed
    with torch.no_grad():
        p, q = (each(images()).double().softmax(-1).numpy() for each in (network, pruned.module))
    assert first.harm == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-3)
    maps = prune_blocks(network, 0.1, images(), classes=False).removed[0]
    assert maps.harm > 0 and maps.unit in [one.unit for one in pruned.ranking]


def test_judged_units_are_not_judged_again_after_an_interruption(tmp_path):
    rows = Rows.at(tmp_path / "rows")
    prune_blocks(Network(1.0, 1.0).eval(), 0.2, images(), rows=rows)
    known = dict(Rows.at(tmp_path / "rows").known)
    broken = Network(1.0, 1.0).eval()
    nn.init.constant_(broken.head.weight, float("nan"))
    again = prune_blocks(broken, 0.2, images(), rows=Rows.at(tmp_path / "rows"))
    assert known and all(one.harm in known.values() for one in again.removed)


@pytest.mark.parametrize(
    ("network", "share", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * SIDE * SIDE, 2)), 0.3, "got none that keep"),
        (Network(1.0), 0.99, "got 1 that take|got 2 that take"),
    ],
)
def test_what_cannot_be_saved_is_refused_with_what_could(network, share, words):
    with pytest.raises(Unsupported, match=words):
        prune_blocks(network.eval(), share, images())


@pytest.mark.parametrize("name", ["cas_vit_xs", "resnet18", "mobilenet_v2", "deit_tiny", "swin_tiny", "convnext_tiny"])
def test_networks_of_the_zoo_have_units(name):
    model = load_model(name, weights="random", image_size=64, classes=("a", "b"))
    example = torch.zeros(model.input.shape)
    units = find_units(model.module.eval(), example)
    assert sum(unit.time for unit in outermost(units)) > 0.4 * modelled_time(model.module, example)
