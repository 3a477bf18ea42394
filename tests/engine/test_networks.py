"""Integer networks: golden vectors made in Python's integers, the published accelerator's own, bounds and files."""

import dataclasses
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.integers import CASES, network_of

from edgevision.engine import fileformat
from edgevision.engine.bounds import bounds, require_bounds
from edgevision.engine.execute import convolved, requantised, run
from edgevision.errors import Unsupported, UsageError

PUBLISHED = Path(__file__).parent / "codenet"


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_is_that_of_the_golden_vector(name):
    case = CASES[name]
    got = run(network_of(case), np.array(case["image"], np.int8))
    for tensor, wanted in case["tensors"].items():
        assert np.array_equal(got[tensor], wanted), tensor


def test_golden_vectors_reach_every_dilation_and_both_clamps():
    maps = np.concatenate([np.ravel(CASES[name]["tensors"]["y.map"]) for name in ("square", "square_stride2")])
    assert set(maps) == set(range(8))
    bytes_ = np.concatenate([np.ravel(t) for case in CASES.values() for t in case["tensors"].values()])
    assert {-128, 127} <= set(bytes_)


def test_the_published_accelerator_gives_the_same_sums_and_bytes():
    with np.load(PUBLISHED / "d32_c64_k3.npz") as stored:
        x, weight, scale, bias = (stored[name] for name in ("input", "weight", "scale", "bias"))
        sums, output = stored["partial"], stored["output"]
    got = convolved(x, weight, 1, -128, None)
    assert (got == sums).sum() == 65536
    assert (requantised(got, scale, bias, 16, relu=True) == output).sum() == 65536


@pytest.mark.parametrize("name", CASES)
def test_a_file_holds_the_same_network(name, tmp_path):
    network = network_of(CASES[name])
    fileformat.write(network, tmp_path / "n")
    again = fileformat.read(tmp_path / "n")
    assert again.header == network.header
    for layer, given in network.parameters.items():
        for kind in ("weight", "multiplier", "bias"):
            assert np.array_equal(getattr(again.parameters[layer], kind), getattr(given, kind))


def test_int4_weights_take_half_a_byte():
    network = network_of(CASES["depthwise"])
    data = fileformat.to_bytes(network)
    weight = network.parameters["y"].weight.reshape(-1)
    header = len(msgspec.json.encode(network.header))
    begin = -(-(12 + header) // 16) * 16
    assert [b & 15 for b in data[begin : begin + 14]] == [int(w) & 15 for w in weight[::2]]
    assert data[begin + 13] >> 4 == 0 and weight.size == 27


def test_the_worst_image_stays_within_the_proved_bits():
    network = network_of(CASES["pointwise"])
    (bound,) = bounds(network)
    weight = network.parameters["y"].weight
    worst = np.where(weight[np.abs(weight.astype(int)).sum(axis=(1, 2, 3)).argmax()] < 0, 127, -128).astype(np.int8)
    reached = np.abs(convolved(worst, weight, 1, -128, None)).max()
    assert 2 ** (bound.sum_bits - 2) < reached < 2 ** (bound.sum_bits - 1)


def test_sums_that_could_overflow_are_refused_by_name():
    case = json.loads(json.dumps(CASES["pointwise"]))
    case["header"]["input_shape"][0] = case["header"]["layers"][0]["depth"] = 9000
    case["parameters"]["y"]["weight"] = np.full((6, 9000, 1, 1), -8).tolist()
    network = network_of(case)
    with pytest.raises(Unsupported, match=r"(?s)layer 'y': its sums need 25 bits, the accumulator has 24"):
        require_bounds(network)
    require_bounds(network, 32)


def test_scaled_sums_beyond_32_bits_are_refused():
    case = json.loads(json.dumps(CASES["pointwise"]))
    case["header"]["layers"][0]["shift"] = 0
    case["parameters"]["y"]["multiplier"] = [32767] * 6
    case["parameters"]["y"]["weight"] = np.full((6, 5, 1, 1), 7).tolist()
    require_bounds(network_of(case))
    case["header"]["input_shape"][0] = case["header"]["layers"][0]["depth"] = 500
    case["parameters"]["y"]["weight"] = np.full((6, 500, 1, 1), 7).tolist()
    with pytest.raises(Unsupported, match="scaled sums need"):
        require_bounds(network_of(case))


def test_an_image_of_another_size_or_type_is_refused():
    network = network_of(CASES["pointwise"])
    for image in (np.zeros((5, 3, 5), np.int8), np.zeros((5, 3, 4), np.uint8)):
        with pytest.raises(UsageError, match="expected an int8 image"):
            run(network, image)


def test_a_network_without_a_layer_s_numbers_is_refused():
    network = network_of(CASES["pointwise"])
    with pytest.raises(UsageError, match="layer 'y': expected parameters"):
        fileformat.to_bytes(dataclasses.replace(network, parameters={}))
