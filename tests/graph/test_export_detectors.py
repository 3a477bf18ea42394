from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.finders import SIDE, small_detector

from edgevision.compress.session import predictor
from edgevision.errors import Unsupported
from edgevision.graph.export import export
from edgevision.zoo.deform import DeformConv2d


def test_a_deformable_layer_is_one_operator_with_a_body_any_runtime_runs():
    model = small_detector()
    result = export(model)
    (square,) = [node for node in result.graph.graph.node if node.op_type == "SquareDeformConv"]
    assert (square.domain, square.name) == ("edgevision", "square")
    assert [(f.domain, f.name) for f in result.graph.functions] == [("edgevision", "SquareDeformConv")]
    x = np.random.default_rng(3).standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    with torch.no_grad():
        expected = model.module(torch.from_numpy(x)).numpy()
        dilations = model.module.square.dilation(torch.randn(1, 8, 16, 16))
    np.testing.assert_allclose(predictor(result.graph)(x), expected, atol=1e-4)
    # The layer is no ordinary convolution here: its dilations differ.
    assert len(dilations.unique()) > 2


@pytest.mark.parametrize("limits", [(-7, 8), (0, 8), (-1.0, 7.0)])
def test_dilations_the_operator_does_not_have_are_refused_by_layer(limits):
    model = small_detector()
    model.module.square.limits = limits
    with pytest.raises(Unsupported, match="dilations within 0 to 7") as caught:
        export(model)
    assert caught.value.reasons == (f"square: dilations from {limits[0]:g} to {limits[1]:g}",)


def test_what_the_operator_does_not_mean_is_exported_as_it_is():
    model = small_detector()
    model.module.square = DeformConv2d(8, 8, rounded=False).eval()
    assert all(node.op_type != "SquareDeformConv" for node in export(model).graph.graph.node)
