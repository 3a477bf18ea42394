import numpy as np
import pytest
import torch
from helpers import checkpoints
from torch.nn import functional as F

from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.zoo import load_model
from edgevision.zoo.deit import VARIANTS, Block, DeiT

PUBLISHED = {"deit_tiny": 5_717_416, "deit_small": 22_050_664, "deit_base": 86_567_656}


def layout(dim: int, tokens: int, classes: int, *, distilled: bool = False) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the release."""
    shapes = {"cls_token": (1, 1, dim), "pos_embed": (1, tokens, dim), "patch_embed.proj.weight": (dim, 3, 16, 16)}
    shapes |= {"patch_embed.proj.bias": (dim,)}
    heads = ["head", "head_dist"] if distilled else ["head"]
    linear = dict.fromkeys(heads, (classes, dim))
    norms = ["norm"]
    for i in range(12):
        norms += [f"blocks.{i}.norm1", f"blocks.{i}.norm2"]
        linear |= {f"blocks.{i}.attn.qkv": (3 * dim, dim), f"blocks.{i}.attn.proj": (dim, dim)}
        linear |= {f"blocks.{i}.mlp.fc1": (4 * dim, dim), f"blocks.{i}.mlp.fc2": (dim, 4 * dim)}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
    return shapes | ({"dist_token": (1, 1, dim)} if distilled else {})


@pytest.mark.parametrize("name", VARIANTS)
def test_has_the_published_number_of_parameters_and_the_keys_of_the_release(name):
    with torch.device("meta"):
        network, distilled = (DeiT(VARIANTS[name], distilled=second) for second in (False, True))
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name]
    dim = VARIANTS[name].dim
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == layout(dim, 197, 1000)
    assert {k: tuple(v.shape) for k, v in distilled.state_dict().items()} == layout(dim, 198, 1000, distilled=True)


def test_block_is_attention_and_mlp_with_residuals():
    torch.manual_seed(0)
    block = Block(48, 3, 5).double()
    p = {key: torch.nn.init.normal_(value, std=0.3) for key, value in block.state_dict().items()}
    x = torch.randn(2, 5, 48, dtype=torch.float64)
    n = F.layer_norm(x, (48,), p["norm1.weight"], p["norm1.bias"], 1e-6)
    q, k, v = F.linear(n, p["attn.qkv.weight"], p["attn.qkv.bias"]).view(2, 5, 3, 3, 16).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 5, 48)
    y = x + F.linear(mixed, p["attn.proj.weight"], p["attn.proj.bias"])
    n = F.layer_norm(y, (48,), p["norm2.weight"], p["norm2.bias"], 1e-6)
    n = F.gelu(F.linear(n, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
    torch.testing.assert_close(block(x), y + F.linear(n, p["mlp.fc2.weight"], p["mlp.fc2.bias"]))


def test_a_checkpoint_of_the_release_loads(tmp_path):
    state = checkpoints.write(tmp_path / "deit.pth", layout(192, 5, 7), under="model")
    model = load_model("deit_tiny", weights=tmp_path / "deit.pth", image_size=32)
    assert all(torch.equal(value, state[key]) for key, value in model.module.state_dict().items())
    assert model.module(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_a_distilled_checkpoint_brings_its_second_head_and_evaluates_to_the_mean(tmp_path):
    checkpoints.write(tmp_path / "deit.pth", layout(192, 6, 7, distilled=True), under="model")
    network = load_model("deit_tiny", weights=tmp_path / "deit.pth", image_size=32).module
    x = torch.randn(1, 3, 32, 32)
    mean = network(x)
    first, second = network.train()(x)
    torch.testing.assert_close(mean, (first + second) / 2)
    assert not torch.equal(first, second)


def test_positions_are_resized_to_the_image(tmp_path):
    shapes = layout(192, 17, 3)
    state = checkpoints.write(tmp_path / "deit.pth", shapes)
    # A plane stays a plane when its middle is resized bicubically.
    ramp = torch.arange(4.0).view(4, 1, 1).expand(4, 4, 192).reshape(1, 16, 192)
    torch.save(state | {"pos_embed": torch.cat([state["pos_embed"][:, :1], ramp], 1)}, tmp_path / "deit.pth")
    positions = load_model("deit_tiny", weights=tmp_path / "deit.pth", image_size=128).module.pos_embed[0]
    assert torch.equal(positions[0], state["pos_embed"][0, 0])
    rows = positions[1:].view(8, 8, 192)
    np.testing.assert_allclose(rows[2:6, 0, 0].detach(), [0.75, 1.25, 1.75, 2.25], atol=0.1)
    torch.testing.assert_close(rows, rows[:, :1, :1].expand(8, 8, 192))


def test_wrong_keys_are_named(tmp_path):
    shapes = layout(192, 5, 7)
    shapes["blocks.0.attn.qkv.weight"] = (576, 191)
    shapes["blocks.12.norm1.weight"] = shapes.pop("blocks.11.norm1.weight")
    checkpoints.write(tmp_path / "deit.pth", shapes)
    with pytest.raises(UsageError) as caught:
        load_model("deit_tiny", weights=tmp_path / "deit.pth", image_size=32)
    assert caught.value.reasons == (
        "missing: blocks.11.norm1.weight",
        "unexpected: blocks.12.norm1.weight",
        "mismatch: blocks.0.attn.qkv.weight: the network has (576, 192), the file (576, 191)",
    )


@pytest.mark.parametrize("distilled", [False, True])
def test_export_is_one_regular_chain_and_agrees(distilled):
    model = load_model("deit_tiny", image_size=32, distillation_head=distilled, classes=("a", "b"))
    exported = export(model)
    operators = [node.op_type for node in exported.graph.graph.node]
    attention = ["MatMul", "Add", "Split", "Reshape", "Transpose", "Mul", "Reshape", "Transpose", "MatMul", "Softmax"]
    attention += ["Reshape", "Transpose", "MatMul", "Transpose", "Reshape", "MatMul", "Add"]
    block = ["LayerNormalization", *attention, "Add", "LayerNormalization", "MatMul", "Add", "Gelu", "MatMul", "Add"]
    block.append("Add")
    assert operators[:5] == ["Conv", "Reshape", "Transpose", "Concat", "Add"]
    assert operators[5 : 5 + 12 * len(block)] == block * 12
    assert exported.max_abs_error < 1e-5
