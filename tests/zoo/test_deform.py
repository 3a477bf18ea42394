import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch.nn import functional as F

from edgevision.zoo.deform import DeformConv2d, deform_conv, separable, straight_through_round
from edgevision.zoo.deform_gather import gathered_square


def reference(x, offsets, weight, stride, group):
    names = ["x", "w", "o"]
    node = onnx.helper.make_node(
        "DeformConv", names, ["y"], kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2, group=group
    )
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in (*names, "y")]
    graph = onnx.helper.make_graph([node], "g", values[:3], values[3:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    feeds = {name: value.detach().numpy() for name, value in zip(names, (x, weight, offsets), strict=True)}
    return ReferenceEvaluator(model).run(None, feeds)[0]


@pytest.mark.parametrize("variant", ["original", "bound", "square"])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_every_variant_is_onnx_deform_conv(variant, depthwise, rounded, stride):
    torch.manual_seed(3)
    layer = DeformConv2d(4, 4 if depthwise else 3, variant, depthwise, rounded, stride=stride)
    torch.nn.init.normal_(layer.predictor.weight, std=2.0)
    x = torch.randn(1, 4, 6, 5)
    offsets = layer.offsets(x)
    assert offsets.std() > 0.5 and (not rounded or torch.equal(offsets, offsets.round()))
    assert variant == "original" or offsets.abs().max() <= 7
    expected = reference(x, offsets, layer.weight, stride, 4 if depthwise else 1)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("variant", ["original", "bound", "square"])
def test_an_untrained_layer_is_the_ordinary_convolution(variant):
    layer = DeformConv2d(4, 4, variant)
    x = torch.randn(2, 4, 6, 7)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, padding=1, groups=4), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_each_dilation_of_the_gathered_form_is_a_dilated_convolution(stride):
    x, weight = torch.randn(2, 3, 9, 8), torch.randn(3, 1, 3, 3)
    for size in range(1, 8):
        expected = F.conv2d(x, weight, padding=size, dilation=size, stride=stride, groups=3)
        dilation = torch.full((2, 1, *expected.shape[2:]), float(size))
        torch.testing.assert_close(gathered_square(x, dilation, weight, stride), expected, atol=1e-5, rtol=1e-5)
    single = x[:, :, ::stride, ::stride] * weight.sum((2, 3)).view(1, 3, 1, 1)
    torch.testing.assert_close(gathered_square(x, 0 * dilation, weight, stride), single, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_gathered_form_are_numerical_ones():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    dilation = torch.randint(1, 8, (2, 1, 5, 6)).double()
    assert torch.autograd.gradcheck(lambda a, b: gathered_square(a, dilation, b), (x, weight))
    given = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    moving = dilation.clone().requires_grad_()
    gathered_square(x, moving, weight).backward(given)
    larger, smaller = (gathered_square(x, dilation + step, weight) for step in (1, -1))
    torch.testing.assert_close(moving.grad, ((larger - smaller) / 2 * given).sum(1, keepdim=True))


@pytest.mark.parametrize("depthwise", [True, False])
def test_gradients_of_the_sampled_form_are_numerical_ones(depthwise):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1 if depthwise else 2, 3, 3, dtype=torch.float64, requires_grad=True)
    # Away from whole offsets, where the bilinear function has corners.
    offsets = (torch.randint(-2, 3, (1, 18, 4, 5)) + 0.2 + 0.6 * torch.rand(1, 18, 4, 5)).double().requires_grad_()
    assert torch.autograd.gradcheck(deform_conv, (x, offsets, weight))


def test_rounding_passes_gradients_straight_through():
    x = torch.tensor([0.5, 1.5, 2.4], requires_grad=True)
    y = straight_through_round(x)
    y.sum().backward()
    assert y.tolist() == [0, 2, 2] and x.grad.tolist() == [1, 1, 1]


def test_the_order_decides_what_the_depthwise_layer_sees():
    x = torch.randn(1, 8, 4, 4)
    first, last = separable(8, 3, order="deform_first"), separable(8, 3, order="pointwise_first")
    assert [layer.weight.shape[0] for layer in first] == [8, 3] and [layer.weight.shape[0] for layer in last] == [3, 3]
    assert first(x).shape == last(x).shape == (1, 3, 4, 4)
    with pytest.raises(ValueError, match="keeps its channels"):
        DeformConv2d(8, 3)
