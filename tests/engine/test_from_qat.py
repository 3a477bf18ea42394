"""A network trained quantised, and the integers it becomes: the same bytes in every tensor."""

import numpy as np
import pytest
import torch
from helpers.detectors import SIDE, detector, images, integers, quantised, trained

from edgevision.engine import fileformat
from edgevision.engine.bounds import bounds
from edgevision.engine.execute import run
from edgevision.engine.from_qat import integer_network
from edgevision.errors import Unsupported

KINDS = {
    "square": {}, "pooled": {"pooled": True}, "pointwise_first": {"order": "pointwise_first"},
    "plain": {"conv": "plain"},
}  # fmt: skip


def differing(network, x):
    """Names of tensors in which one byte differs."""
    made, wanted = integer_network(network, SIDE, SIDE), integers(network, x)
    found = []
    for index in range(len(x)):
        got = run(made, wanted["input"][index].astype(np.int8))
        found += [name for name, tensor in got.items() if not np.array_equal(tensor, wanted[name][index])]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranges", ["moving", "learned"])
def test_every_tensor_of_an_untrained_network_has_the_bytes_of_the_training_graph(kind, ranges):
    network = quantised(detector(1, **KINDS[kind]), ranges=ranges)
    x = images(5, 2)
    assert differing(network, x) == []
    heads = [integers(network, x)[name] for name in network.outputs]
    assert all(head.std() > 5 for head in heads)


@pytest.mark.parametrize("ranges", ["moving", "learned"])
def test_every_tensor_of_a_trained_network_has_the_bytes_of_the_training_graph(ranges):
    teacher = detector(2)
    network = quantised(teacher, ranges=ranges, settling_batches=4)
    trained(network, teacher, 6)
    x = images(6, 2)
    assert differing(network, x) == []
    maps = [value for name, value in integers(network, x).items() if name.endswith("predictor")]
    assert len(maps) == 3 and len(np.unique(np.concatenate([m.ravel() for m in maps]))) > 3


@pytest.mark.parametrize("bits", [2, 3, 6, 8])
def test_other_bits_are_exact_too(bits):
    assert differing(quantised(detector(3), weight_bits=bits), images(7, 1)) == []


def test_weights_take_half_a_byte_in_the_file():
    network = quantised(detector(4))
    made = integer_network(network, SIDE, SIDE)
    first, *others = (layer for layer in made.header.layers if layer.name in made.parameters)
    assert first.bits == 8 and all(layer.bits == 4 for layer in others)
    sizes = {name: given.weight.size for name, given in made.parameters.items()}
    halves = sum(-(-sizes[layer.name] // 2) for layer in others)
    numbers = sizes[first.name] + halves + 4 * sum(len(given.bias) for given in made.parameters.values())
    data = fileformat.to_bytes(made)
    gaps = 16 * 3 * len(made.parameters)
    header = 12 + int.from_bytes(data[8:12], "little")
    assert numbers <= len(data) - header < numbers + gaps
    used = np.unique(np.concatenate([made.parameters[layer.name].weight.ravel() for layer in others]))
    assert len(used) == 15 and used.min() == -7
    assert np.abs(made.parameters[first.name].weight).max() == 127


def test_the_bounds_of_the_published_engine_are_proved_at_export():
    found = bounds(integer_network(quantised(detector(5)), SIDE, SIDE))
    assert len(found) == 74 and max(bound.sum_bits for bound in found) <= 24


def test_sums_an_image_could_overflow_are_refused_by_layer():
    module = detector(6, last=1200)
    module.decoder[0][0][1].weight.data.fill_(0.1)
    network = quantised(module, weight_bits=8)
    with pytest.raises(Unsupported, match=r"(?s)layer 'decoder\.0\.0\.1': its sums need 26 bits"):
        integer_network(network, SIDE, SIDE)


def test_numbers_beyond_int16_are_refused_by_layer_all_at_once():
    network = quantised(detector(7))
    for name in ("hm.3", "reg.0"):
        network.quantizer(name).high.fill_(1e-4)
    with pytest.raises(Unsupported) as caught:
        integer_network(network, SIDE, SIDE)
    text = str(caught.value)
    assert "'hm.3', channel" in text and "'reg.0', channel" in text and "beyond 32767" in text


def test_an_image_of_another_size_gives_another_network():
    network = quantised(detector(8))
    x = torch.randn(1, 3, 32, 96)
    made, wanted = integer_network(network, 32, 96), integers(network, x)
    got = run(made, wanted["input"][0].astype(np.int8))
    assert all(np.array_equal(got[name], wanted[name][0]) for name in network.outputs)
