"""The function SquareDeformConv: its bodies in two runtimes against every sum written out, and its way from torch."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.squares import direct, layer, layer_inputs
from onnx.reference import ReferenceEvaluator

from edgevision.compress.onnxgraph import finished
from edgevision.data.preprocess import Preprocessing
from edgevision.graph import ir, square
from edgevision.graph.export import export
from edgevision.zoo.model import InputSpec, Model, Provenance
from edgevision.zoo.square import square_deform_conv


@pytest.mark.parametrize("body", ["dilated", "deform_conv"])
@pytest.mark.parametrize(("stride", "size"), [(1, (9, 7)), (2, (9, 7)), (2, (8, 8)), (1, (3, 2))])
def test_the_body_computes_the_sum_in_onnxruntime(body, stride, size):
    x, dilation, weight = layer_inputs(0, channels=3, size=size, stride=stride, batch=2)
    model = layer(x, dilation, weight, stride, body=body)
    onnx.checker.check_model(finished(model), full_check=True)
    runner = onnxruntime.InferenceSession(model.SerializeToString())
    (got,) = runner.run(None, {"x": x, "D": dilation})
    np.testing.assert_allclose(got, direct(x, dilation, weight, stride), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("body", ["dilated", "deform_conv"])
def test_the_body_computes_the_sum_in_the_reference_of_onnx(body):
    x, dilation, weight = layer_inputs(1, channels=2, size=(5, 6), stride=1)
    (got,) = ReferenceEvaluator(layer(x, dilation, weight, 1, body=body)).run(None, {"x": x, "D": dilation})
    np.testing.assert_allclose(got, direct(x, dilation, weight, 1), rtol=1e-5, atol=1e-5)


def test_dilations_are_rounded_to_even_and_clamped():
    x, dilation, weight = layer_inputs(2, channels=2, size=(6, 6), stride=1)
    loose = dilation.copy()
    loose[0, 0, 0] = [-3.0, 0.5, 1.5, 2.5, 7.4, 200.0]
    dilation[0, 0, 0] = [0, 0, 2, 2, 7, 7]
    runner = onnxruntime.InferenceSession(layer(x, loose, weight, 1).SerializeToString())
    (got,) = runner.run(None, {"x": x, "D": loose})
    np.testing.assert_allclose(got, direct(x, dilation, weight, 1), rtol=1e-5, atol=1e-5)


def test_dilation_one_is_the_ordinary_convolution():
    x, dilation, weight = layer_inputs(3, channels=4, size=(6, 5), stride=1)
    (got,) = onnxruntime.InferenceSession(layer(x, dilation, weight, 1).SerializeToString()).run(
        None, {"x": x, "D": np.ones_like(dilation)}
    )
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    wanted = sum(padded[..., u : u + 6, v : v + 5] * weight[:, 0, u, v].reshape(-1, 1, 1) for u, v in np.ndindex(3, 3))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_the_graph_reader_keeps_the_call_as_one_operator():
    x, dilation, weight = layer_inputs(4, channels=3, size=(8, 8), stride=2)
    graph = ir.read(layer(x, dilation, weight, 2))
    assert [(n.domain, n.op) for n in graph.nodes] == [("edgevision", "SquareDeformConv")]
    assert graph.shape("y") == (1, 3, 4, 4)


def test_the_numpy_samples_are_those_of_the_sum():
    x, dilation, weight = layer_inputs(5, channels=3, size=(7, 6), stride=2, batch=2)
    taps = square.sampled(x, square.dilations(dilation), 2)
    got = np.einsum("tnchw,ct->nchw", taps, weight.reshape(3, 9))
    np.testing.assert_allclose(got, direct(x, dilation, weight, 2), rtol=1e-5, atol=1e-5)


class Block(torch.nn.Module):
    """A dilation map made by a convolution, then the deformable layer and a pointwise one."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride
        self.map = torch.nn.Conv2d(3, 1, 3, stride, 1)
        torch.nn.init.constant_(self.map.bias, 3.0)
        self.weight = torch.nn.Parameter(torch.randn(3, 1, 3, 3))
        self.point = torch.nn.Conv2d(3, 5, 1)

    def forward(self, x):
        return self.point(square_deform_conv(x, 3 * self.map(x), self.weight, self.stride))


@pytest.mark.parametrize("stride", [1, 2])
def test_torch_exports_one_call_and_its_function(stride):
    torch.manual_seed(0)
    module = Block(stride).eval()
    spec, prepared = InputSpec("input", (1, 3, 10, 12)), Preprocessing(height=10, width=12)
    model = Model("block", spec, prepared, Provenance("random"), module=module)
    exported = export(model)
    calls = [n for n in exported.graph.graph.node if n.op_type == "SquareDeformConv"]
    assert len(calls) == 1 and calls[0].domain == "edgevision"
    x = torch.randn(1, 3, 10, 12)
    dilation = (3 * module.map(x)).detach()
    wanted = direct(x.numpy(), square.dilations(dilation.numpy()), module.weight.detach().numpy(), stride)
    got = square_deform_conv(x, dilation, module.weight, stride).detach().numpy()
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
