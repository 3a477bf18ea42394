"""Quantisers that train, against torch's own fake quantisation and the formulas of the papers."""

import pytest
import torch

from edgevision.compress.fake_quantize import ActivationQuantizer, WeightQuantizer, rounded
from edgevision.errors import UsageError


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("learned", [False, True])
def test_weights_are_those_of_torchs_fake_quantisation(bits, learned):
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(bits))
    quantizer = WeightQuantizer(bits, 6, learned=learned)
    quantizer.fit(weight)
    scale = quantizer.scale(weight).detach()
    low = -127 if bits == 8 else -(2 ** (bits - 1))
    wanted = torch.fake_quantize_per_channel_affine(
        weight, scale, torch.zeros(6, dtype=torch.int32), 0, low, 2 ** (bits - 1) - 1
    )
    torch.testing.assert_close(quantizer(weight).detach(), wanted)
    steps = quantizer.steps(weight)
    assert torch.equal(steps, steps.round()) and steps.unique().numel() <= 2**bits
    if not learned:
        assert (steps.flatten(1).abs().amax(1) == 2 ** (bits - 1) - 1).all()


def test_the_learned_scale_begins_with_the_least_squared_error():
    weight = torch.randn(8, 64)
    largest, learned = WeightQuantizer(4, 8), WeightQuantizer(4, 8, learned=True)
    learned.fit(weight)
    errors = [(quantizer(weight) - weight).square().sum(1) for quantizer in (largest, learned)]
    assert (errors[1] <= errors[0] + 1e-6).all() and errors[1].sum() < 0.9 * errors[0].sum()
    nearby = learned.scale(weight).detach()
    for factor in (0.9, 1.1):
        steps = (weight / (nearby * factor).unsqueeze(1)).round().clamp(-8, 7)
        other = (steps * (nearby * factor).unsqueeze(1) - weight).square().sum(1)
        assert (other >= errors[1] - 1e-3 * errors[1]).all()


def test_gradients_are_those_of_learned_step_size_quantisation():
    quantizer = WeightQuantizer(4, 1, learned=True)
    quantizer.log_scale.data.fill_(torch.tensor(0.1).log())
    weight = torch.tensor([[-2.0, -0.33, 0.02, 0.26, 1.5]], requires_grad=True)
    given = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])
    (quantizer(weight) * given).sum().backward()
    assert weight.grad.tolist() == [[0, 2, 3, 4, 0]]
    # arXiv 1902.08153, equation 3: round(v / s) - v / s inside, the clamp outside.
    scaled = weight.detach() / 0.1
    inside = torch.where(scaled.abs() < 7, scaled.round() - scaled, scaled.clamp(-8, 7))
    torch.testing.assert_close(quantizer.log_scale.grad, (inside * given).sum().reshape(1) * 0.1)


def test_a_fixed_scale_passes_gradients_straight_through():
    weight = torch.randn(3, 5, requires_grad=True)
    given = torch.randn(3, 5)
    (WeightQuantizer(4, 3)(weight) * given).sum().backward()
    torch.testing.assert_close(weight.grad, given)


@pytest.mark.parametrize("bits", [1, 9])
def test_other_bits_are_refused(bits):
    with pytest.raises(UsageError, match=f"2 to 8 bits, got {bits}"):
        WeightQuantizer(bits, 4)


@pytest.mark.parametrize("signs", ["positive", "asymmetric", "symmetric"])
@pytest.mark.parametrize("learned", [False, True])
def test_activations_are_those_of_torchs_fake_quantisation(signs, learned):
    x = torch.randn(2, 3, 8, 8) + 0.7
    quantizer = ActivationQuantizer(signs, learned=learned)
    quantizer.observe(x)
    quantizer.commit()
    scale, zero = float(quantizer.scale()), quantizer.zero_point
    beyond = torch.cat([x.flatten(), torch.tensor([-50.0, 50.0, 0.0])])
    wanted = torch.fake_quantize_per_tensor_affine(beyond, scale, zero, -128, 127)
    torch.testing.assert_close(quantizer(beyond).detach(), wanted, rtol=1e-4, atol=1e-6)
    assert quantizer(beyond)[-1] == 0
    inside = x.clamp_min(0) if signs == "positive" else x
    assert (quantizer(inside) - inside).abs().max() <= 0.51 * scale
    assert zero == {"positive": -128, "symmetric": 0}.get(signs, zero) and scale > 0


def test_values_beyond_the_range_give_no_gradient():
    quantizer = ActivationQuantizer("positive")
    quantizer.observe(torch.tensor([0.0, 1.0]))
    quantizer.commit()
    x = torch.tensor([-0.5, 0.4, 2.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 0]


def test_a_range_holds_all_members_of_calibration_then_moves_by_momentum():
    quantizer = ActivationQuantizer()
    for batch in ([torch.tensor([-1.0, 2.0]), torch.tensor([-3.0, 1.0])], [torch.tensor([0.5, 1.0])]):
        for member in batch:
            quantizer.observe(member)
        quantizer.commit()
    assert (quantizer.low, quantizer.high) == (-3, 2)
    quantizer.observe(torch.tensor([-1.0, 4.0]))
    quantizer.observe(torch.tensor([-2.0, 1.0]))
    quantizer.commit(0.1)
    torch.testing.assert_close(torch.stack([quantizer.low, quantizer.high]), torch.tensor([-2.9, 2.2]))
    quantizer.commit(0.1)
    assert abs(quantizer.high - 2.2) < 1e-6


def test_what_is_no_number_is_refused():
    quantizer = ActivationQuantizer()
    quantizer.observe(torch.tensor([1.0, float("nan")]))
    with pytest.raises(UsageError, match="numbers"):
        quantizer.commit()


def test_rounding_is_to_even_and_straight_through():
    x = torch.tensor([0.5, 1.5, -2.5], requires_grad=True)
    y = rounded(x)
    y.sum().backward()
    assert y.tolist() == [0, 2, -2] and x.grad.tolist() == [1, 1, 1]
