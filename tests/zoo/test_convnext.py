import pytest
import torch
from helpers import checkpoints
from torch.nn import functional as F

from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.zoo import load_model
from edgevision.zoo.convnext import VARIANTS, Block, ChannelNorm, ConvNeXt


def layout(classes: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the release of ConvNeXt-T."""
    dims, depths = (96, 192, 384, 768), (3, 3, 9, 3)
    layers: dict[str, tuple[int, ...]] = {"downsample_layers.0.0": (96, 3, 4, 4), "head": (classes, 768)}
    norms, gammas = {"downsample_layers.0.1": 96, "norm": 768}, {}
    for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
        if stage:
            norms[f"downsample_layers.{stage}.0"] = dims[stage - 1]
            layers[f"downsample_layers.{stage}.1"] = (dim, dims[stage - 1], 2, 2)
        for i in range(depth):
            block = f"stages.{stage}.{i}"
            layers |= {f"{block}.dwconv": (dim, 1, 7, 7), f"{block}.pwconv1": (4 * dim, dim)}
            layers |= {f"{block}.pwconv2": (dim, 4 * dim)}
            norms[f"{block}.norm"], gammas[f"{block}.gamma"] = dim, (dim,)
    shapes: dict[str, tuple[int, ...]] = dict(gammas)
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, dim in norms.items():
        shapes |= {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
    return shapes


def test_has_the_published_number_of_parameters_and_the_keys_of_the_release():
    with torch.device("meta"):
        network = ConvNeXt(VARIANTS["convnext_tiny"])
    assert sum(p.numel() for p in network.parameters()) == 28_589_128
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == layout(1000)


def test_block_computes_what_the_paper_writes():
    torch.manual_seed(0)
    block = Block(6).double()
    p = {key: torch.nn.init.normal_(value) for key, value in block.state_dict().items()}
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    y = F.conv2d(x, p["dwconv.weight"], p["dwconv.bias"], padding=3, groups=6)
    mean, variance = y.mean(1, keepdim=True), y.var(1, unbiased=False, keepdim=True)
    y = (y - mean) / (variance + 1e-6).sqrt() * p["norm.weight"].view(-1, 1, 1) + p["norm.bias"].view(-1, 1, 1)
    y = F.gelu(F.conv2d(y, p["pwconv1.weight"][:, :, None, None], p["pwconv1.bias"]))
    y = F.conv2d(y, p["pwconv2.weight"][:, :, None, None], p["pwconv2.bias"])
    torch.testing.assert_close(block(x), x + y * p["gamma"].view(-1, 1, 1))


def test_channel_norm_normalises_each_position():
    x = torch.randn(2, 5, 3, 4) * 3 + 2
    y = ChannelNorm(5)(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, unbiased=False), torch.ones(2, 3, 4), atol=1e-4, rtol=0)


def test_a_checkpoint_of_the_release_loads_and_its_export_agrees(tmp_path):
    state = checkpoints.write(tmp_path / "convnext.pth", layout(5), under="model")
    model = load_model("convnext_tiny", weights=tmp_path / "convnext.pth", image_size=32)
    assert all(torch.equal(value, state[key]) for key, value in model.module.state_dict().items())
    exported = export(model)
    operators = [node.op_type for node in exported.graph.graph.node]
    assert exported.max_abs_error < 1e-5
    block = ["Conv", "Transpose", "LayerNormalization", "MatMul", "Add", "Gelu", "MatMul", "Add", "Transpose", "Add"]
    assert operators[4 : 4 + 3 * len(block)] == block * 3
    assert set(operators) == {*block, "GlobalAveragePool", "Flatten", "Gemm"}


def test_wrong_keys_are_named(tmp_path):
    shapes = layout(5)
    shapes["stages.0.0.gamma"] = (97,)
    shapes["stages.0.0.gamma_1"] = shapes.pop("stages.0.1.gamma")
    checkpoints.write(tmp_path / "convnext.pth", shapes)
    with pytest.raises(UsageError) as caught:
        load_model("convnext_tiny", weights=tmp_path / "convnext.pth")
    assert caught.value.reasons == (
        "missing: stages.0.1.gamma",
        "unexpected: stages.0.0.gamma_1",
        "mismatch: stages.0.0.gamma: the network has (96,), the file (97,)",
    )
