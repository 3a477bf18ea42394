import pytest
import torch
from helpers import checkpoints
from torch.nn import functional as F

from edgevision.compress.onnxgraph import Index
from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.zoo import load_model
from edgevision.zoo.swin import (
    VARIANTS,
    PatchMerging,
    Swin,
    partition,
    relative_position_index,
    rolled,
    shifted_window_mask,
    window_for,
)

PUBLISHED = {"swin_tiny": 28_288_354, "swin_small": 49_606_258}


def layout(depths: tuple[int, ...], window: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the release, without what it computes from its configuration."""
    linear: dict[str, tuple[int, ...]] = {"head": (classes, 768)}
    norms, tables = {"patch_embed.norm": 96, "norm": 768}, {}
    for stage, depth in enumerate(depths):
        dim = 96 * 2**stage
        for i in range(depth):
            block = f"layers.{stage}.blocks.{i}"
            norms |= {f"{block}.norm1": dim, f"{block}.norm2": dim}
            linear |= {f"{block}.attn.qkv": (3 * dim, dim), f"{block}.attn.proj": (dim, dim)}
            linear |= {f"{block}.mlp.fc1": (4 * dim, dim), f"{block}.mlp.fc2": (dim, 4 * dim)}
            tables[f"{block}.attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, dim // 32)
        if stage < 3:
            norms[f"layers.{stage}.downsample.norm"] = 4 * dim
            tables[f"layers.{stage}.downsample.reduction.weight"] = (2 * dim, 4 * dim)
    shapes = {"patch_embed.proj.weight": (96, 3, 4, 4), "patch_embed.proj.bias": (96,), **tables}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, dim in norms.items():
        shapes |= {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
    return shapes


@pytest.mark.parametrize("name", VARIANTS)
def test_has_the_published_number_of_parameters_and_the_keys_of_the_release(name):
    network = Swin(VARIANTS[name])
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name]
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes == layout(VARIANTS[name].depths, 7, 1000)


def test_bias_rows_count_offsets_as_the_release_does():
    index = relative_position_index(7)
    assert index.shape == (49, 49)
    assert (index.min(), index.max(), index[0, 0], index[0, 1], index[0, 7], index[48, 0]) == (0, 168, 84, 83, 71, 168)


def test_mask_keeps_tokens_apart_that_the_shift_brought_together():
    side, window, shift = 6, 3, 1
    mask = shifted_window_mask((side, side), window, shift)
    assert mask.shape == (4, 1, 9, 9)
    where = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1)[None]
    tokens = partition(torch.roll(where, (-shift, -shift), (1, 2)), window, (side, side))
    for number, block in enumerate(tokens):
        # Two tokens of one window may look at each other if they are near in the image too.
        near = (block[:, None] - block[None]).abs().amax(-1) < window
        assert torch.equal(mask[number, 0] == 0, near)
    assert set(mask.unique().tolist()) == {-100.0, 0.0}


@pytest.mark.parametrize("shift", [1, -2])
def test_rolled_is_torch_roll(shift):
    x = torch.randn(2, 4, 6, 3)
    assert torch.equal(rolled(x, shift), torch.roll(x, (-shift, -shift), (1, 2)))


def test_merging_takes_the_four_tokens_in_the_order_of_the_release():
    merging = PatchMerging(2, (4, 4))
    seen = []
    merging.norm.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    x = torch.randn(1, 4, 4, 2)
    merging(x)
    four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    assert torch.equal(seen[0], torch.cat(four, -1))


def test_shifted_block_attends_within_windows():
    torch.manual_seed(0)
    block = Swin(VARIANTS["swin_tiny"], size=(64, 64)).layers[0].blocks[1].double()
    p = {key: torch.nn.init.normal_(value, std=0.2) for key, value in block.state_dict().items()}
    assert (block.window, block.shift) == (2, 1)
    x = torch.randn(2, 16, 16, 96, dtype=torch.float64)
    n = F.layer_norm(x, (96,), p["norm1.weight"], p["norm1.bias"])
    bias = p["attn.relative_position_bias_table"][relative_position_index(2)].permute(2, 0, 1)
    mixed = torch.empty_like(x)
    for image in range(2):
        for row in range(-1, 16, 2):
            for column in range(-1, 16, 2):
                # A window that the border cuts holds only what is inside the image.
                spots = [(r, c) for r in (row, row + 1) for c in (column, column + 1)]
                inside = [i for i, (r, c) in enumerate(spots) if 0 <= r < 16 and 0 <= c < 16]
                tokens = torch.stack([n[image, spots[i][0], spots[i][1]] for i in inside])
                q, k, v = (
                    F.linear(tokens, p["attn.qkv.weight"], p["attn.qkv.bias"]).view(-1, 3, 3, 32).permute(1, 2, 0, 3)
                )
                out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, inside][:, :, inside])
                for i, value in zip(inside, out.transpose(0, 1).reshape(-1, 96), strict=True):
                    mixed[image, spots[i][0], spots[i][1]] = value
    y = x + F.linear(mixed, p["attn.proj.weight"], p["attn.proj.bias"])
    n = F.layer_norm(y, (96,), p["norm2.weight"], p["norm2.bias"])
    n = F.gelu(F.linear(n, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
    torch.testing.assert_close(block(x), y + F.linear(n, p["mlp.fc2.weight"], p["mlp.fc2.bias"]))


def test_a_checkpoint_of_the_release_loads_with_and_without_its_buffers(tmp_path):
    path = tmp_path / "swin.pth"
    state = checkpoints.write(path, layout((2, 2, 6, 2), 2, 5), under="model")
    bare = load_model("swin_tiny", weights=path, image_size=64).module
    assert all(torch.equal(value, state[key]) for key, value in bare.state_dict().items())
    buffers = {"layers.0.blocks.0.attn.relative_position_index": relative_position_index(2)}
    buffers["layers.0.blocks.1.attn_mask"] = shifted_window_mask((16, 16), 2, 1)[:, 0]
    torch.save({"model": state | buffers}, path)
    full = load_model("swin_tiny", weights=path, image_size=64).module
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(full(x), bare(x))
    buffers["layers.0.blocks.0.attn.relative_position_index"] = relative_position_index(2).T
    torch.save({"model": state | buffers}, path)
    with pytest.raises(UsageError, match="not what the network computes"):
        load_model("swin_tiny", weights=path, image_size=64)


def test_weights_of_another_window_are_refused_with_both_shapes(tmp_path):
    checkpoints.write(tmp_path / "swin.pth", layout((2, 2, 6, 2), 7, 5))
    with pytest.raises(UsageError, match=r"12 of another shape.*") as caught:
        load_model("swin_tiny", weights=tmp_path / "swin.pth", image_size=64)
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert f"mismatch: {table}: the network has (9, 3), the file (169, 3)" in caught.value.reasons


@pytest.mark.parametrize(("size", "window"), [((224, 224), 7), ((448, 224), 7), ((256, 256), 8), ((64, 128), 2)])
def test_window_follows_the_image(size, window):
    assert window_for(size) == window


def test_sides_that_windows_do_not_tile_are_refused():
    with pytest.raises(UsageError, match="multiples of 64 pixels, got 64x96"):
        window_for((64, 96))


def test_export_has_constant_biases_and_plain_windows():
    # At 224, because the exporter itself folds the small tables of small windows.
    model = load_model("swin_tiny", image_size=224, classes=("a", "b"))
    exported = export(model)
    graph = exported.graph.graph
    index = Index.of(graph)
    assert exported.max_abs_error < 1e-5
    allowed = {"Conv", "Transpose", "LayerNormalization", "Reshape", "MatMul", "Add", "Split", "Mul", "Softmax", "Gelu"}
    assert {node.op_type for node in graph.node} - allowed == {
        "Slice",
        "Concat",
        "GlobalAveragePool",
        "Flatten",
        "Gemm",
    }
    shapes = []
    for softmax in (node for node in graph.node if node.op_type == "Softmax"):
        node = index.producer[softmax.input[0]]
        while node.op_type == "Add":
            shapes += [index.array(name).shape for name in node.input if name in index.constants]
            node = index.producer[node.input[0]]
    heads = (3, 3, 6, 6, *[12] * 6, 24, 24)
    assert sorted(s for s in shapes if s[0] == 1 and s[1] > 1) == sorted((1, h, 49, 49) for h in heads)
    assert sorted(s for s in shapes if s[1] == 1) == sorted([(64, 1, 49, 49), (16, 1, 49, 49), *[(4, 1, 49, 49)] * 3])
