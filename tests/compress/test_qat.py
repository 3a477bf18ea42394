"""CoDeNet trained quantised: what it takes over, what it learns, and what stands still."""

import copy

import pytest
import torch
from helpers.detectors import SIDE, detector, images, quantised, trained
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from edgevision.compress.fake_quantize import ActivationQuantizer
from edgevision.compress.qat import INPUT
from edgevision.compress.qat_codenet import quantised_codenet
from edgevision.compress.quantized_conv import QuantizedConv
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import Unsupported, UsageError
from edgevision.zoo.deform import DeformConv2d


@pytest.mark.parametrize("kind", [{}, {"pooled": True}, {"order": "pointwise_first"}, {"conv": "plain"}])
def test_without_quantisation_it_is_the_trained_network(kind):
    module = detector(0, **kind)
    x = images(1)
    torch.testing.assert_close(quantised(module).real(x), module(x), rtol=1e-4, atol=1e-4)


def test_more_bits_of_a_layer_are_nearer_to_its_values():
    torch.manual_seed(1)
    conv, norm = nn.Conv2d(16, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12).eval()
    before, after = ActivationQuantizer("positive"), ActivationQuantizer()
    x = torch.rand(2, 16, 8, 8)
    wanted = QuantizedConv(conv, norm, 8).real(x).detach()
    for quantizer, seen in ((before, x), (after, wanted)):
        quantizer.observe(seen)
        quantizer.commit()
    errors = []
    for bits in (8, 6, 4, 3, 2):
        got = QuantizedConv(conv, norm, bits)(before.steps(x), before, after) * after.scale()
        errors.append(float((got - wanted).norm() / wanted.norm()))
    assert errors == sorted(errors) and errors[0] < 0.02 and 0.05 < errors[2] < 0.2


def level(module):
    """The detector with the same dilation everywhere: maps jump, and without them what is seen is the values."""
    for layer in module.modules():
        if isinstance(layer, DeformConv2d):
            layer.predictor.weight.data.zero_()
    return module


@pytest.mark.parametrize("ranges", ["moving", "learned"])
def test_every_parameter_is_trained(ranges):
    module = detector(2)
    network = quantised(module, ranges=ranges)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    trained(network, module, 2)
    assert [name for name, value in network.named_parameters() if torch.equal(value, before[name])] == []
    learned = [name for name in before if name.endswith("log_scale")]
    assert bool(learned) == (ranges == "learned")


@pytest.mark.parametrize("ranges", ["moving", "learned"])
def test_training_brings_it_nearer_to_the_network_it_was(ranges):
    module = level(detector(2))
    losses = trained(quantised(module, ranges=ranges, settling_batches=0), module, 18, lr=3e-4)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_the_trained_network_is_left_alone():
    module = detector(3)
    before = copy.deepcopy(module.state_dict())
    network = quantised(module)
    trained(network, copy.deepcopy(module), 2)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_statistics_and_ranges_move_while_training_then_stand_still():
    module = detector(4)
    network = quantised(module, settling_batches=2)
    states = []
    for _ in range(4):
        network.train()
        network(images(5))
        states.append({name: value.clone() for name, value in network.named_buffers()})
    moving = {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}
    assert {"layers.hm_0.mean", "layers.hm_0.variance", "groups.1.high", "batches"} <= moving
    assert all(torch.equal(states[1][name], states[3][name]) for name in states[1])


def test_nothing_moves_in_eval_mode():
    network = quantised(detector(5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(images(6))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("own_bias", [False, True])
def test_statistics_come_to_be_those_of_the_quantised_layer(own_bias):
    torch.manual_seed(6)
    conv, norm = nn.Conv2d(4, 5, 1, bias=own_bias), nn.BatchNorm2d(5)
    norm.weight.data = torch.tensor([1.0, 0.5, -0.7, 0.0, 2.0])
    layer = QuantizedConv(conv, norm, 4)
    before, after = ActivationQuantizer("positive"), ActivationQuantizer()
    x = torch.rand(8, 4, 6, 6)
    before.observe(x)
    before.commit()
    for _ in range(150):
        layer(before.steps(x), before, after, settling=True)
        after.commit(0.1)
    factor = (layer.gamma / (layer.variance + layer.epsilon).sqrt()).detach().view(-1, 1, 1, 1)
    weight = layer.quantizer(layer.folded()[0]).detach() / factor
    y = F.conv2d(before(x), weight, conv.bias)
    alive = torch.tensor([True, True, True, False, True])
    torch.testing.assert_close(layer.mean[alive], y.mean((0, 2, 3))[alive], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(layer.variance[alive], y.var((0, 2, 3))[alive], rtol=1e-3, atol=1e-4)
    # A norm that gives a constant says nothing about what it reads.
    assert layer.mean[3] == 0 and layer.variance[3] == 1


def test_what_is_joined_or_shuffled_is_of_one_group():
    network = quantised(detector(7))
    for step in network.steps:
        if step.kind != "conv":
            assert {network.group_of(name) for name in (*step.inputs, step.name)} == {step.group}
    stages = {network.group_of(s.name) for s in network.steps if s.kind == "concat"}
    assert len(stages) == 3 and all(network.groups[group].zero_point == -128 for group in stages)


def test_the_image_has_the_range_of_its_preprocessing_not_of_what_was_seen():
    how = Preprocessing(SIDE, SIDE)
    network = quantised_codenet(detector(8), [0.1 * images(1)], preprocessing=how)
    image = network.quantizer(INPUT)
    lowest, highest = ((edge - torch.tensor(how.mean)) / torch.tensor(how.std) for edge in (0, 1))
    torch.testing.assert_close(image.low, lowest.min())
    torch.testing.assert_close(image.high, highest.max())
    network.train()
    network(20 * images(2))
    torch.testing.assert_close(image.high, highest.max())


def test_it_can_be_averaged_and_stored_as_any_network():
    module = detector(9)
    network = quantised(module, ranges="learned")
    averaged = AveragedModel(network, use_buffers=True)
    trained(network, module, 2)
    averaged.update_parameters(network)
    assert averaged.module.eval()(images(1)).isfinite().all()
    other = quantised(detector(10), ranges="learned")
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(images(3)), network(images(3)))


def test_an_untrained_predictor_keeps_its_gradient():
    module = detector(11)
    for layer in module.modules():
        if isinstance(layer, DeformConv2d):
            layer.predictor.weight.data.zero_()
            layer.predictor.bias.data.fill_(1.0)
    network = quantised(module)
    network.train()
    network(images(1)).square().mean().backward()
    gradients = [layer.weight.grad for name, layer in network.layers.items() if name.endswith("predictor")]
    assert len(gradients) == 3 and all(grad.isfinite().all() and grad.abs().sum() > 0 for grad in gradients)


def test_layers_the_engine_does_not_have_are_refused_all_at_once():
    bound = detector(12, conv="bound")
    with pytest.raises(Unsupported) as caught:
        quantised(bound)
    assert len(caught.value.reasons) == 3 and "'decoder.0.0.0': expected a square" in caught.value.reasons[0]
    wide = detector(13)
    wide.decoder[1][0][0].limits = (1, 9)
    with pytest.raises(Unsupported, match=r"'decoder\.1\.0\.0': expected whole limits .* got 1 to 9"):
        quantised(wide)


def test_ranges_need_images():
    with pytest.raises(UsageError, match="expected images"):
        quantised_codenet(detector(14), [])
    with pytest.raises(UsageError, match="numbers"):
        quantised_codenet(detector(14), [torch.full((1, 3, SIDE, SIDE), float("nan"))])
