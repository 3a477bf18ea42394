"""Which layers of another network the engine could do: by shape, by arithmetic, and by what it has room for."""

import msgspec
import numpy as np
import pytest
from helpers.quantised import quantised
from onnxruntime.quantization import QuantType

from edgevision.compress.onnxgraph import finished
from edgevision.engine.cycles import GB_S, modelled
from edgevision.engine.network import INPUT, Convolution, Group, Header, IntegerNetwork, Parameters
from edgevision.engine.offload import START_US, offload
from edgevision.target import load

Z2 = load("pynq-z2")


@pytest.fixture(scope="module")
def graph():
    return finished(quantised("residual", True, QuantType.QInt8, QuantType.QInt8, False))


def test_pointwise_and_depthwise_layers_are_found_and_the_others_have_their_reason(graph):
    found = offload(graph, Z2)
    kinds = {layer.name.split("/")[-1]: layer.kind for layer in found.layers}
    reasons = dict(found.others)
    assert sorted(kinds.values()) == ["depthwise", "pointwise", "pointwise"]
    assert len(kinds) + len(reasons) == 8
    texts = " ".join(reasons.values())
    assert "3x3, dense, stride 1" in texts and "4 groups" in texts and "7x7, dense, stride 2" in texts
    assert 0 < found.share < 1 and sum(layer.macs for layer in found.layers) == pytest.approx(found.share * found.macs)


def test_a_layer_costs_its_modelled_call_its_start_and_its_maps_there_and_back(graph):
    (one,) = (layer for layer in offload(graph, Z2).layers if layer.kind == "depthwise")
    layer = Convolution(name="d", input=INPUT, channels=32, depth=1, kernel=3, depthwise=True, bits=8, group=0)
    header = Header(input_shape=(32, 4, 4), input_group=0, groups=(Group(1.0, 0),), layers=(layer,), outputs=("d",))
    ones = np.ones(32, np.int16)
    network = IntegerNetwork(header, {"d": Parameters(ones, ones, np.zeros((32, 1, 3, 3), np.int8))})
    (call,) = modelled(network, Z2.engine)
    moved = 2 * (32 * 4 * 4 + 32 * 4 * 4) / (GB_S * 1e6)
    assert one.engine_ms == pytest.approx(call.last / 100e3 + START_US / 1e3 + moved)
    assert one.macs == 32 * 4 * 4 * 9
    assert not one.gains


def test_a_layer_the_engine_has_no_room_for_says_so(graph):
    tiny = msgspec.structs.replace(Z2, engine=msgspec.structs.replace(Z2.engine, groups=1))
    found = offload(graph, tiny)
    # 16 channels are one vector, the 64 of the last layer are four.
    assert sorted(layer.kind for layer in found.layers) == ["depthwise", "pointwise"]
    assert any("4 vectors of inputs for one pixel, the engine takes 1" in reason for _, reason in found.others)
