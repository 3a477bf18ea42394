"""A small transformer with shifted windows through quantisation: what is integer, what float, what is not rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.networks import SIZE, as_model, digits
from torch import Tensor, nn

from edgevision.compress.bypass import left_in_float
from edgevision.compress.measure import measure
from edgevision.compress.onnxgraph import Index
from edgevision.compress.quantize import quantize
from edgevision.compress.session import session
from edgevision.compress.wide import wide_sums
from edgevision.graph import ir
from edgevision.graph.export import export
from edgevision.graph.integer import integerize
from edgevision.recipe import Quantize
from edgevision.zoo.swin import Block

CALIBRATION = digits().split("calibration")
DIM, SIDE = 32, SIZE // 4


class Small(nn.Module):
    """Patches, a block of windows, a block of shifted windows, pooling, head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, DIM, 4, stride=4)
        self.blocks = nn.Sequential(*(Block(DIM, 2, (SIDE, SIDE), 2, shift) for shift in (0, 1)))
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patches(x).permute(0, 2, 3, 1))
        return self.head(self.norm(x).permute(0, 3, 1, 2).mean((2, 3)))


@pytest.fixture(scope="module")
def float_graph():
    torch.manual_seed(0)
    network = Small()
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and "table" not in name:
            nn.init.normal_(parameter, std=0.25)
    return export(as_model(network)).graph


@pytest.fixture(scope="module")
def quantised(float_graph):
    return quantize(float_graph, Quantize(calibration_images=64), CALIBRATION)


def logits(model) -> np.ndarray:
    images = next(iter(digits().split("test").batches(32)))[0]
    runner = session(model)
    return np.concatenate([runner.run(None, {"input": image[None]})[0] for image in images])


def test_all_products_are_integer_and_the_answer_stays(float_graph, quantised):
    assert measure(quantised).integer_share == 1.0
    expected, got = logits(float_graph), logits(quantised)
    assert np.square(expected - got).sum() < 0.01 * np.square(expected - expected.mean(0)).sum()


def test_both_products_of_attention_read_dequantised_tensors(quantised):
    index = Index.of(quantised.graph)
    products = [node for node in quantised.graph.node if node.name.endswith(("attn.matmul", "attn.matmul.1"))]
    assert len(products) == 4
    assert all(index.made_by(name, "DequantizeLinear") for node in products for name in node.input)
    softmaxes = [index.readers[node.output[0]][0] for node in quantised.graph.node if node.op_type == "Softmax"]
    assert [index.array(node.input[1]) for node in softmaxes] == [np.float32(1 / 256)] * 2


def test_residual_sums_and_masked_scores_stay_float(float_graph, quantised):
    names = wide_sums(float_graph.graph)
    block = ["attn.add", "add", "add.1"]
    shifted = ["attn.add", "attn.add.1", "add", "add.1"]
    assert names == [f"blocks.{i}.{name}" for i, each in enumerate((block, shifted)) for name in each]
    index = Index.of(quantised.graph)
    nodes = {node.name: node for node in quantised.graph.node}
    assert not [name for name in names for i in nodes[name].input if index.made_by(i, "DequantizeLinear")]


def test_networks_without_layer_norms_keep_integer_sums():
    from helpers.networks import trained_small

    assert wide_sums(export(trained_small()).graph.graph) == []


def test_the_scale_of_q_keeps_its_integers(quantised):
    index = Index.of(quantised.graph)
    scalings = [node for node in quantised.graph.node if node.name.endswith("attn.mul")]
    assert len(scalings) == 2
    for node in scalings:
        above, below = index.producer[node.input[0]], index.readers[node.output[0]][0]
        assert (above.op_type, below.op_type) == ("DequantizeLinear", "QuantizeLinear")
        values = np.arange(-128, 128, dtype=np.float32)
        scale, zero = (index.array(name).astype(np.float32) for name in above.input[1:])
        scaled = (values - zero) * scale * index.array(node.input[1])
        again = np.rint(scaled / index.array(below.input[1])) + index.array(below.input[2])
        np.testing.assert_array_equal(again, values)


def test_rolls_ahead_of_a_layer_move_bytes(quantised):
    index = Index.of(quantised.graph)
    rolls = [node for node in quantised.graph.node if node.op_type == "Concat"]
    below = [index.readers[node.output[0]][0].op_type for node in rolls]
    assert len(rolls) == 4 and below[:2] == ["Slice", "Reshape"]
    assert all(index.producer[name].op_type == "Slice" for name in rolls[0].input)
    first = index.producer[index.producer[rolls[0].input[0]].input[0]]
    assert first.op_type == "QuantizeLinear" and first.input[0] == "blocks.1.norm1"
    types = integerize(ir.read(quantised)).types
    assert [types[name].dtype for node in rolls[:2] for name in node.output] == ["uint8", "uint8"]


def test_a_layer_behind_a_roll_goes_back_to_float(float_graph, quantised):
    changed = left_in_float(quantised, float_graph, ["blocks.1.attn.qkv"])
    integer = {layer.name: layer.integer for layer in measure(changed).layers}
    assert [name for name, value in integer.items() if not value] == ["blocks.1.attn.qkv"]
    expected = logits(float_graph)
    errors = [np.square(logits(model) - expected).sum() for model in (changed, quantised)]
    assert errors[0] < 1.2 * errors[1]


def test_depthwise_scales_per_channel_run_in_onnxruntime():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(),
        nn.Conv2d(8, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    graph = export(as_model(network)).graph
    quantised = quantize(graph, Quantize(calibration_images=16), CALIBRATION)
    sizes = [Index.of(quantised.graph).array(n.input[1]).size for n in quantised.graph.node if n.op_type[0] == "Q"]
    expected, got = logits(graph), logits(quantised)
    assert 8 in sizes
    assert np.square(expected - got).sum() < 0.01 * np.square(expected).sum()
