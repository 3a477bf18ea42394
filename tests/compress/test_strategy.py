"""What will be done to which layers is known, and said, before an image is read."""

from __future__ import annotations

import onnx
import pytest
from helpers.networks import digits, trained_small

from edgevision import recipe as recipes
from edgevision.compress.apply import compress
from edgevision.compress.strategy import strategy
from edgevision.graph.export import export
from edgevision.recipe import Quantize


class ReadTooSoonError(Exception):
    pass


def test_the_plan_is_told_before_an_image_is_read(tmp_path, monkeypatch):
    told, network = [], trained_small()

    def read(*_args, **_more):
        raise ReadTooSoonError

    monkeypatch.setattr(type(digits().split("test")), "batches", read)
    with pytest.raises(ReadTooSoonError):
        compress(network, recipes.load("w4a8"), export=export, out=tmp_path / "out", data=digits(),
                 progress=lambda stage, *_: told.append(stage))  # fmt: skip
    plan = [line for line in told if line.startswith("plan: ")]
    assert any("5 weights of 4 bits" in line for line in plan)
    assert any("1 depthwise weights keep 8 bits" in line for line in plan)
    assert any("stem.0 and head keep 8 bits" in line for line in plan)


def test_every_layer_is_spoken_for_once(float_graph):
    for step in (Quantize(), Quantize(weight_bits=4), Quantize(weight_bits=4, depthwise_bits=4, last_bits=4)):
        lines = strategy(float_graph.graph, (step,))
        counts = [int(line.split(" weights of ")[0]) for line in lines if " weights of " in line]
        assert sum(counts) == 8


@pytest.mark.parametrize("name", ["w8a8-vit", "w8a8-per-tensor"])
def test_steps_that_prepare_are_told_first(float_graph, name):
    lines = strategy(float_graph.graph, recipes.load(name).steps)
    assert lines[0].startswith(("smooth", "equalise")) and isinstance(float_graph, onnx.ModelProto)
