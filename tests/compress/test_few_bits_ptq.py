"""Weights of four bits without training: what is stored, and that the layers' outputs are held."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from helpers.networks import as_model, digits
from helpers.walking import walk
from torch import nn

from edgevision.compress.canonical import output_axis
from edgevision.compress.layers import weight_of
from edgevision.compress.measure import measure
from edgevision.compress.onnxgraph import Index
from edgevision.compress.quantize import quantize
from edgevision.compress.session import session
from edgevision.graph import reference
from edgevision.graph.export import export
from edgevision.recipe import Quantize

CALIBRATION = digits().split("calibration")
STEP = Quantize(weight_bits=4, calibration_images=48)


@pytest.fixture(scope="module")
def narrow(float_graph) -> onnx.ModelProto:
    return quantize(float_graph, STEP, CALIBRATION)


def logits(model: onnx.ModelProto) -> np.ndarray:
    runner = session(model, optimise=False)
    images = next(iter(digits().split("test").batches(64)))[0]
    return np.concatenate([runner.run(None, {"input": image[None]})[0] for image in images])


def nearest(model: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with every weight of four bits rounded to the nearest of the scale of its largest."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    before, index = Index.of(original.graph), Index.of(model.graph)
    floats = {node.name: node for node in original.graph.node}
    new = {}
    for node in model.graph.node:
        name = weight_of(node, index)
        if name is None or index.constants[name].data_type != onnx.TensorProto.INT4:
            continue
        weight, axis = before.array(floats[node.name].input[1]), output_axis(node, index.array(name).ndim)
        others = tuple(i for i in range(weight.ndim) if i != axis)
        scale = np.abs(weight).max(axis=others, keepdims=True) / 7
        steps, scale = np.rint(weight / scale), scale.reshape(-1)
        new[name] = steps.astype(index.array(name).dtype)
        new[f"{node.name}.weight.scale"] = scale.astype(np.float32)
    for tensor in model.graph.initializer:
        if tensor.name in new:
            tensor.CopyFrom(onnx.numpy_helper.from_array(new[tensor.name], tensor.name))
    return model


def test_first_last_and_depthwise_layers_keep_eight_bits(narrow):
    kinds = {layer.name: layer.dtype for layer in measure(narrow).layers}
    assert [name for name, kind in kinds.items() if kind == "int8"] == ["stem.0", "depthwise", "head"]
    assert set(kinds.values()) == {"int8", "int4"}


def test_two_weights_take_a_byte_of_the_file(narrow, quantised_graph):
    sizes = {tensor.name: len(tensor.raw_data) for tensor in narrow.graph.initializer}
    wide = {tensor.name: len(tensor.raw_data) for tensor in quantised_graph.graph.initializer}
    assert sizes["mlp.0.weight.q"] * 2 == wide["mlp.0.weight.q"]


def test_outputs_are_nearer_than_with_weights_rounded_to_the_nearest(float_graph, narrow):
    wanted = logits(float_graph)
    lost = [np.square(logits(model) - wanted).sum() for model in (narrow, nearest(narrow, float_graph))]
    assert lost[0] < 0.5 * lost[1] and lost[0] < 0.02 * np.square(wanted).sum()


class Tokens(nn.Module):
    """Tokens through linear layers, one of them without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 24, 4, stride=4), nn.LayerNorm(24)
        self.up, self.down, self.head = nn.Linear(24, 40, bias=False), nn.Linear(40, 24), nn.Linear(24, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.down(nn.functional.gelu(self.up(self.norm(x))))
        return self.head(x.mean(1))


def test_linear_layers_of_tokens_keep_their_outputs_and_run():
    torch.manual_seed(0)
    original = export(as_model(Tokens())).graph
    model = quantize(original, STEP, CALIBRATION)
    assert [layer.dtype for layer in measure(model).layers] == ["int8", "int4", "int4", "int8"]
    wanted = logits(original)
    lost = [np.square(logits(one) - wanted).sum() for one in (model, nearest(model, original))]
    assert lost[0] < 0.7 * lost[1]
    image = next(iter(digits().split("test").batches(1)))[0]
    for got, same in zip(walk(model, image), reference.run(model, image), strict=True):
        assert np.array_equal(got.reshape(same.shape), same)


def test_the_compiled_network_gives_the_bytes_of_the_reference(narrow):
    image = next(iter(digits().split("test").batches(1)))[0]
    for got, wanted in zip(walk(narrow, image), reference.run(narrow, image), strict=True):
        assert np.array_equal(got.reshape(wanted.shape), wanted)
