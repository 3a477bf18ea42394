"""A whole detector that was trained quantised, against Python's integers (quant/golden/make_codenet.py)."""

import base64
import hashlib
import json

import numpy as np
import pytest

from edgevision.engine import fileformat
from edgevision.engine.bounds import require_bounds
from edgevision.engine.execute import run
from edgevision.resources import shipped

GOLDEN = shipped("quant") / "golden"


def stored(tensor, dtype):
    return np.frombuffer(base64.b64decode(tensor["bytes"]), dtype).reshape(tensor["shape"])


@pytest.fixture(scope="module")
def network():
    return fileformat.read(GOLDEN / "codenet.evintnet")


@pytest.fixture(scope="module")
def golden():
    return json.loads((GOLDEN / "codenet.json").read_text())


def test_every_tensor_is_that_of_the_golden_vector(network, golden):
    got = run(network, stored(golden["tensors"]["input"], np.int8))
    assert got.keys() == golden["sha256"].keys()
    assert [n for n, tensor in got.items() if hashlib.sha256(tensor.tobytes()).hexdigest() != golden["sha256"][n]] == []
    for name in network.header.outputs:
        assert np.array_equal(got[name], stored(golden["tensors"][name], np.int8))


def test_the_golden_vector_has_what_could_go_wrong(network, golden):
    maps = [tensor for name, tensor in golden["tensors"].items() if name.endswith("predictor")]
    assert len(set(np.concatenate([stored(tensor, np.uint8).ravel() for tensor in maps]))) >= 6
    heads = [stored(golden["tensors"][name], np.int8) for name in network.header.outputs]
    assert all(head.std() > 20 for head in heads) and len({group.zero for group in network.header.groups}) > 10
    assert {layer.bits for layer in network.header.layers if hasattr(layer, "bits")} == {4, 8}
    weights = np.concatenate([p.weight.ravel() for name, p in network.parameters.items() if name != "backbone.conv1.0"])
    assert (weights.min(), weights.max()) == (-8, 7)
    require_bounds(network)
