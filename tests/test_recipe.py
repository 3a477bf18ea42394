from __future__ import annotations

import pytest

from edgevision import recipe
from edgevision.recipe import FoldBatchNorm, Quantize, QuantizeWeights


@pytest.mark.parametrize("name", recipe.names())
def test_every_shipped_recipe_loads_under_its_name(name):
    loaded = recipe.load(name)
    assert loaded.name == name and loaded.title and loaded.steps


def test_the_three_recipes_are_what_they_say():
    kinds = {name: [type(step) for step in recipe.load(name).steps] for name in ("fp32", "w8", "w8a8")}
    assert kinds == {
        "fp32": [FoldBatchNorm],
        "w8": [FoldBatchNorm, QuantizeWeights],
        "w8a8": [FoldBatchNorm, Quantize],
    }
    assert [recipe.load(name).needs_data() for name in ("fp32", "w8", "w8a8")] == [False, False, True]


def test_composition_keeps_order_and_takes_each_step_once():
    composed = recipe.load("fp32 + w8a8")
    assert composed.name == "fp32+w8a8"
    assert composed.steps == recipe.load("w8a8").steps
