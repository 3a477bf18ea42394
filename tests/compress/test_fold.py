import copy

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgevision.compress.fold import fold_batch_norm
from edgevision.errors import Mismatch, Unsupported
from edgevision.zoo import load_model

torch.set_num_threads(1)


def shaken(module, seed=0):
    """The module with statistics and weights as if trained, so that folding wrongly shows."""
    generator = torch.Generator().manual_seed(seed)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            if child.running_mean is not None:
                child.running_mean.normal_(0, 0.5, generator=generator)
                child.running_var.uniform_(0.3, 3, generator=generator)
            if child.weight is not None:
                child.weight.data.uniform_(0.3, 2, generator=generator)
                child.bias.data.normal_(generator=generator)
    return module.eval()


def folded(module, *shape):
    return fold_batch_norm(shaken(module), torch.randn(*shape))


@settings(max_examples=40, deadline=None)
@given(
    groups=st.integers(1, 3),
    width=st.integers(1, 3),
    kernel=st.sampled_from([1, 3]),
    stride=st.integers(1, 2),
    bias=st.booleans(),
    affine=st.booleans(),
)
def test_a_norm_behind_any_convolution_folds_exactly(groups, width, kernel, stride, bias, affine):
    channels = groups * width
    conv = nn.Conv2d(channels, 2 * channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias)
    network = shaken(nn.Sequential(conv, nn.BatchNorm2d(2 * channels, affine=affine)))
    result, report = fold_batch_norm(network, torch.randn(2, channels, 6, 5))
    assert report.folded == ("1 -> 0",) and report.kept == ()
    x = torch.randn(3, channels, 7, 8)
    torch.testing.assert_close(result(x), network(x), rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(groups=st.integers(1, 3), width=st.integers(1, 3), stride=st.integers(1, 2), bias=st.booleans())
def test_a_norm_before_an_unpadded_1x1_convolution_folds_exactly(groups, width, stride, bias):
    channels = groups * width
    conv = nn.Conv2d(channels, 2 * channels, 1, stride=stride, groups=groups, bias=bias)
    network = shaken(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(channels), conv))
    result, report = fold_batch_norm(network, torch.randn(2, channels, 6, 5))
    assert report.folded == ("1 -> 2",)
    x = torch.randn(1, channels, 5, 4)
    torch.testing.assert_close(result(x), network(x), rtol=1e-5, atol=1e-5)


class TwoReaders(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.first, self.second = nn.Conv2d(4, 2, 1), nn.Conv2d(4, 3, 1, bias=False)

    def forward(self, x):
        x = self.norm(torch.relu(x))
        return torch.cat([self.first(x), self.second(x)], 1)


class Residual(TwoReaders):
    def forward(self, x):
        x = self.norm(torch.relu(x))
        return x + torch.cat([self.first(x), self.second(x)], 1)[:, :4]


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.conv(torch.relu(self.conv(x))))


class Pooled(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.norm, self.fc = how, nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.pool, self.flat, self.drop = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)

    def forward(self, x):
        x = self.norm(torch.relu(x))
        if self.how == "mean":
            return self.fc(x.mean((2, 3)))
        if self.how == "mean function":
            return self.fc(torch.mean(x, dim=(-2, -1)))
        if self.how == "flatten":
            return self.fc(torch.flatten(self.pool(x), 1))
        return self.fc(self.drop(self.flat(self.pool(x))))


@pytest.mark.parametrize("how", ["mean", "mean function", "flatten", "modules"])
def test_a_norm_before_a_global_mean_folds_into_the_linear_layer(how):
    _, report = folded(Pooled(how), 2, 4, 5, 6)
    assert report.folded == ("norm -> fc",) and report.max_rel_error < 1e-5


def test_a_norm_read_by_several_layers_folds_into_each():
    _, report = folded(TwoReaders(), 2, 4, 5, 5)
    assert report.folded == ("norm -> first, second",)


@pytest.mark.parametrize(
    "network",
    [
        Residual(),
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, padding=1)),
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)),
        nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1)),
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2)),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        Shared(),
    ],
    ids=["residual", "padded", "3x3", "relu between", "flatten of many", "no statistics", "shared convolution"],
)
def test_a_norm_that_cannot_be_folded_is_kept_and_named(network):
    result, report = folded(network, 2, 4, 6, 6)
    assert report.folded == () and len(report.kept) == 1
    assert sum(isinstance(module, nn.BatchNorm2d) for module in result.modules()) == 1


@pytest.mark.parametrize("name", ["cas_vit", "efficientnet_lite0"])
def test_no_norm_is_left_in_the_networks_of_the_zoo(name):
    two_heads = name == "cas_vit"
    model = load_model(name, weights="random", classes=tuple("abc"), image_size=64, distillation_head=two_heads, seed=1)
    network = shaken(model.module)
    before = copy.deepcopy(network.state_dict())
    result, report = fold_batch_norm(network, torch.randn(1, 3, 64, 64))
    assert report.kept == () and len(report.folded) == (56 if two_heads else 49)
    assert report.merged_heads == (("dist_head -> head",) if two_heads else ())
    assert report.max_rel_error <= 1e-5
    assert not any(isinstance(module, nn.BatchNorm2d) for module in result.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    if two_heads:
        assert "network.0.0.attn.qkv.bias" in result.state_dict() and "dist_head.weight" not in result.state_dict()


def test_the_folded_network_exports_and_runs_the_same_elsewhere(tmp_path):
    network = shaken(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), Pooled("mean")))
    x = torch.randn(1, 3, 8, 8)
    result, _ = fold_batch_norm(network, x)
    program = torch.onnx.export(result, (x,), dynamo=True, opset_version=20, verbose=False)
    graph = program.model_proto.graph
    assert {tensor.name for tensor in graph.initializer} >= {"0.weight", "3.fc.weight"}
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    got = session.run(None, {graph.input[0].name: x.numpy()})[0]
    np.testing.assert_allclose(got, network(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_fold_that_loses_too_much_is_an_error():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=1e-20)).eval()
    with torch.no_grad():
        network[0].weight.fill_(1e-3)
        network[0].bias.fill_(1e4)
        network[1].running_mean.fill_(1e4)
        network[1].running_var.fill_(1e-8)
    with pytest.raises(Mismatch, match="folding changed the output"):
        fold_batch_norm(network, torch.randn(1, 1, 4, 4))


def test_control_flow_on_values_is_unsupported():
    class Choosing(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(Unsupported, match="cannot trace"):
        fold_batch_norm(Choosing(), torch.randn(1, 3, 4, 4))
