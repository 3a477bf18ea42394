import pytest
import torch
from torch.nn import functional as F

from edgevision.zoo.cas_vit import VARIANTS, Block, CasViT, DropPath, set_drop_path

PUBLISHED = {
    "cas_vit_xs": (2_979_700, 3_200_700, 522),
    "cas_vit_s": (5_507_224, 5_764_224, 762),
    "cas_vit_m": (12_036_520, 12_421_520, 762),
    "cas_vit_t": (21_250_120, 21_763_120, 762),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_has_the_published_numbers_of_parameters_and_keys(name):
    with torch.device("meta"):
        one, two = (CasViT(VARIANTS[name], distillation_head=second) for second in (False, True))
    counts = tuple(sum(p.numel() for p in network.parameters()) for network in (one, two))
    assert (*counts, len(one.state_dict())) == PUBLISHED[name]


def test_state_dict_has_the_layout_of_the_release():
    with torch.device("meta"):
        state = CasViT(VARIANTS["cas_vit_xs"], distillation_head=True).state_dict()
    c, c4 = 112, 220
    block = "network.4.3"
    expected = {
        "patch_embed.0.weight": (24, 3, 3, 3),
        "patch_embed.4.running_var": (48,),
        "network.1.proj.weight": (56, 48, 3, 3),
        "network.5.norm.bias": (c4,),
        f"{block}.local_perception.network.0.bias": (c,),
        f"{block}.local_perception.network.2.weight": (c, 1, 3, 3),
        f"{block}.local_perception.network.4.weight": (c, c, 1, 1),
        f"{block}.attn.qkv.weight": (3 * c, c, 1, 1),
        f"{block}.attn.oper_q.0.block.0.weight": (c, 1, 3, 3),
        f"{block}.attn.oper_k.0.block.3.weight": (1, c, 1, 1),
        f"{block}.attn.oper_k.1.block.1.weight": (c, c, 1, 1),
        f"{block}.attn.dwc.bias": (c,),
        f"{block}.mlp.fc1.weight": (4 * c, c, 1, 1),
        "norm.weight": (c4,),
        "dist_head.weight": (1000, c4),
    }
    assert {key: tuple(state[key].shape) for key in expected} == expected
    assert f"{block}.attn.qkv.bias" not in state


def test_block_computes_what_the_paper_writes():
    torch.manual_seed(0)
    block = Block(8, 0.0).eval()
    for module in block.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
    p = {key: value.double() for key, value in block.state_dict().items()}
    x = torch.randn(2, 8, 6, 5, dtype=torch.float64)

    def conv(z, key, **how):
        return F.conv2d(z, p[f"{key}.weight"], p.get(f"{key}.bias"), **how)

    def norm(z, key):
        shape = (1, -1, 1, 1)
        scale = p[f"{key}.weight"] / (p[f"{key}.running_var"] + 1e-5).sqrt()
        return (z - p[f"{key}.running_mean"].view(shape)) * scale.view(shape) + p[f"{key}.bias"].view(shape)

    def phi(z, key):
        depthwise = conv(z, f"{key}.0.block.0", padding=1, groups=8)
        z = z * torch.sigmoid(conv(torch.relu(norm(depthwise, f"{key}.0.block.1")), f"{key}.0.block.3"))
        return z * torch.sigmoid(conv(z.mean((2, 3), keepdim=True), f"{key}.1.block.1"))

    local = norm(conv(x, "local_perception.network.0"), "local_perception.network.1")
    local = F.gelu(conv(local, "local_perception.network.2", padding=1, groups=8))
    y = x + conv(local, "local_perception.network.4")
    q, k, v = conv(norm(y, "norm1"), "attn.qkv").chunk(3, 1)
    mixed = conv(phi(q, "attn.oper_q") + phi(k, "attn.oper_k"), "attn.dwc", padding=1, groups=8) * v
    y = y + conv(mixed, "attn.proj", padding=1, groups=8)
    y = y + conv(F.gelu(conv(norm(y, "norm2"), "mlp.fc1")), "mlp.fc2")
    torch.testing.assert_close(block.double()(x), y, rtol=1e-12, atol=1e-12)


def test_two_heads_give_a_pair_in_training_and_their_mean_in_evaluation():
    network = CasViT(VARIANTS["cas_vit_xs"], classes=3, distillation_head=True).eval()
    x = torch.randn(2, 3, 32, 32)
    features = []
    network.norm.register_forward_hook(lambda _module, _inputs, output: features.append(output.mean((2, 3))))
    mean = network(x)
    torch.testing.assert_close(mean, (network.head(features[0]) + network.dist_head(features[0])) / 2)
    pair = network.train()(x)
    assert isinstance(pair, tuple) and [tuple(head.shape) for head in pair] == [(2, 3), (2, 3)]


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    values = drop(torch.ones(4000, 2, 1, 1))
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(values[:, 0], values[:, 1])
    assert abs(values.mean().item() - 1) < 0.03
    assert torch.equal(drop.eval()(torch.ones(3, 2, 1, 1)), torch.ones(3, 2, 1, 1))


def test_drop_rates_grow_linearly_over_all_blocks():
    with torch.device("meta"):
        network = CasViT(VARIANTS["cas_vit_xs"])
    set_drop_path(network, 0.9)
    rates = [module.rate for module in network.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * index for index in range(10)])
