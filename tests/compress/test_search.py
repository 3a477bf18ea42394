from __future__ import annotations

import math
import time

import pytest

from edgevision.compress.layers import quantised_operators
from edgevision.compress.search import hold_accuracy


@pytest.fixture
def setting(float_graph, quantised_graph):
    names = quantised_operators(quantised_graph.graph)

    def run(accuracies, target, deadline=math.inf):
        """Accuracy as a function of the number of layers in float."""
        return names, hold_accuracy(
            quantised_graph,
            float_graph,
            names,
            start=accuracies(0),
            target=target,
            evaluate=lambda name, graph: accuracies(int(name.split()[1])),
            deadline=deadline,
        )

    return run


@pytest.mark.parametrize("needed", [0, 1, 2, 3, 5, 7, 11, 13])
def test_finds_the_fewest_layers(setting, needed):
    names, outcome = setting(lambda count: 90.0 if count >= needed else 80.0, 90.0)
    assert outcome.met and outcome.best.layers == tuple(names[:needed])
    assert len(outcome.tried) <= 2 * math.log2(len(names)) + 3


def test_a_miss_ends_with_the_best_point(setting):
    _, outcome = setting(lambda count: 80.0 + (5 if count == 4 else 0), 90.0)
    assert not outcome.met and outcome.finished
    assert len(outcome.best.layers) == 4 and outcome.best.accuracy == 85.0


def test_time_up_ends_with_the_point_so_far(setting):
    _, outcome = setting(lambda count: 80.0, 90.0, deadline=time.monotonic() - 1)
    assert not outcome.met and not outcome.finished
    assert outcome.best.layers == () and len(outcome.tried) == 1
