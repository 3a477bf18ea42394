from __future__ import annotations

import numpy as np
import pytest
from helpers.networks import digits

from edgevision.compress.bypass import SWITCH, left_in_float, switchable
from edgevision.compress.layers import quantised_operators
from edgevision.compress.session import session
from edgevision.errors import UsageError

IMAGE = next(iter(digits().split("test").batches(1)))[0]


def run(graph, **more) -> np.ndarray:
    return session(graph, optimise=False).run(None, {"input": IMAGE, **more})[0]


def test_everything_in_float_is_the_float_graph(float_graph, quantised_graph):
    names = quantised_operators(quantised_graph.graph)
    restored = left_in_float(quantised_graph, float_graph, names)
    np.testing.assert_array_equal(run(restored), run(float_graph))
    assert not {node.op_type for node in restored.graph.node} & {"QuantizeLinear", "DequantizeLinear"}


def test_nothing_in_float_is_the_quantised_graph(float_graph, quantised_graph):
    same = left_in_float(quantised_graph, float_graph, [])
    np.testing.assert_array_equal(run(same), run(quantised_graph))


def test_switch_and_rewrite_agree_for_every_operator(float_graph, quantised_graph):
    names = quantised_operators(quantised_graph.graph)
    runner = session(switchable(quantised_graph, float_graph, names), optimise=False)
    for position, name in enumerate(names):
        switch = np.zeros(len(names), np.bool_)
        switch[position] = True
        got = runner.run(None, {"input": IMAGE, SWITCH: switch})[0]
        expected = run(left_in_float(quantised_graph, float_graph, [name]))
        # Weights that are not constant take another path through the convolution, which sums in another order.
        np.testing.assert_allclose(got, expected, atol=1e-5, err_msg=name)


def test_all_switches_off_is_the_quantised_graph(float_graph, quantised_graph):
    names = quantised_operators(quantised_graph.graph)
    got = run(switchable(quantised_graph, float_graph, names), **{SWITCH: np.zeros(len(names), np.bool_)})
    np.testing.assert_allclose(got, run(quantised_graph), atol=1e-5)


def test_a_float_layer_behind_a_split_reads_the_float_split(float_graph, quantised_graph):
    graph = left_in_float(quantised_graph, float_graph, ["depthwise"]).graph
    node = next(node for node in graph.node if node.name == "depthwise")
    assert node.input[0].endswith(".float")


def test_unknown_names_are_refused(float_graph, quantised_graph):
    with pytest.raises(UsageError, match="did you mean 'depthwise'"):
        left_in_float(quantised_graph, float_graph, ["depthwize"])
