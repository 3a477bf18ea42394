"""Networks of the benchmark of ranks, and its table."""

import pytest
import torch
from torch import nn

from benchmarks.ranks.__main__ import table
from benchmarks.ranks.networks import NETWORKS, after_training, before_training, network
from edgevision.zoo.factorized import FACTORIZED


def in_factors(module: nn.Module) -> dict[str, int]:
    return {path: layer.rank for path, layer in module.named_modules() if isinstance(layer, FACTORIZED)}


@pytest.mark.parametrize("name", NETWORKS)
def test_both_arms_have_the_same_layers_in_factors(name):
    dense = network(name, 10, 0).eval()
    one, other = before_training(dense, 1), after_training(dense, 1)
    assert in_factors(one) == in_factors(other) and set(in_factors(one).values()) == {1}
    sizes = [sum(p.numel() for p in module.parameters()) for module in (dense, one, other)]
    assert sizes[1] == sizes[2] < sizes[0]
    with torch.no_grad():
        assert other.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_after_training_keeps_what_the_network_computes_as_the_rank_grows():
    torch.manual_seed(0)
    dense, x = network("plain", 10, 0).eval(), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        lost = [(after_training(dense, rank).eval()(x) - dense(x)).norm() for rank in (1, 4, 8)]
    assert lost[2] < lost[1] < lost[0]


def test_the_table_shows_means_over_seeds_and_what_they_are_to_dense():
    def run(kind, rank, seed, top1):
        return {"kind": kind, "rank": rank, "seed": seed, "top1_percent": top1, "parameters_over_dense": 0.5}

    lines = table([run("dense", 0, 0, 80.0), run("dense", 0, 1, 82.0), run("a priori", 4, 0, 79.0),
                   run("a priori", 4, 1, 81.0)])  # fmt: skip
    assert lines[2] == "| dense | - | 0.500 | 81.00 | +0.00 |"
    assert lines[3] == "| a priori | 4 | 0.500 | 80.00 | -1.00 |"
