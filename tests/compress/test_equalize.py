from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.networks import as_model
from torch import nn

from edgevision.compress.equalize import equalize, pairs
from edgevision.compress.onnxgraph import Index
from edgevision.graph.export import export


class Separable(nn.Module):
    """Pointwise, depthwise, pointwise, of channels that differ by powers of ten; then a reader of two."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.expand, self.act1 = nn.Conv2d(3, 8, 1), activation()
        self.depthwise, self.act2 = nn.Conv2d(8, 8, 3, padding=1, groups=8), activation()
        self.project = nn.Conv2d(8, 4, 1)
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        with torch.no_grad():
            self.expand.weight.mul_(10.0 ** torch.linspace(-2, 1, 8).view(-1, 1, 1, 1))

    def forward(self, x):
        x = self.project(self.act2(self.depthwise(self.act1(self.expand(x)))))
        return (self.left(x) + self.right(x)).mean((2, 3))


def graph(activation) -> onnx.ModelProto:
    torch.manual_seed(0)
    return export(as_model(Separable(activation))).graph


def run(model: onnx.ModelProto) -> np.ndarray:
    images = np.random.default_rng(0).standard_normal((4, 1, 3, 16, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(None, {"input": image})[0] for image in images])


def test_relu_networks_stay_what_they_are_and_channels_become_equal():
    before = graph(nn.ReLU)
    after, done = equalize(before)
    assert [(pair.first, pair.second) for pair in done] == [("expand", "depthwise"), ("depthwise", "project")]
    np.testing.assert_allclose(run(after), run(before), rtol=1e-4, atol=1e-5)
    index, nodes = Index.of(after.graph), {node.name: node for node in after.graph.node}
    expand, depthwise, project = (np.abs(index.array(nodes[n].input[1])) for n in ("expand", "depthwise", "project"))
    inner = depthwise.max((1, 2, 3))
    np.testing.assert_allclose(expand.max((1, 2, 3)), inner, rtol=1e-2)
    np.testing.assert_allclose(project.max((0, 2, 3)), inner, rtol=1e-2)


def test_clips_are_left_alone_unless_they_may_become_relus():
    before = graph(nn.ReLU6)
    assert all(pair.clips for pair in pairs(before.graph))
    kept, done = equalize(before)
    assert not done and np.array_equal(run(kept), run(before))
    changed, done = equalize(before, clips="relu")
    assert len(done) == 2 and not any(node.op_type == "Clip" for node in changed.graph.node)
    relu = graph(nn.ReLU)
    np.testing.assert_allclose(run(changed), run(relu), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", [nn.GELU, nn.Sigmoid])
def test_other_functions_are_no_pairs(activation):
    assert [(p.first, p.second) for p in pairs(graph(activation).graph)] == []
