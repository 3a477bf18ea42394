import argparse

import pytest
import safetensors.torch
import torch

from edgevision.errors import UsageError
from edgevision.zoo import load_model
from edgevision.zoo.weights import load_weights, read_checkpoint


def official(*, two_heads=False, classes=7):
    names = tuple(str(index) for index in range(classes))
    return load_model("cas_vit", classes=names, image_size=32, distillation_head=two_heads, seed=4).module


WRAPPINGS = {
    "model": lambda s: {"model": s, "epoch": 3, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}},
    "state_dict": lambda s: {"state_dict": s},
    "bare": lambda s: s,
    "multi-process": lambda s: {"model": {f"module.{key}": value for key, value in s.items()}},
}


@pytest.mark.parametrize("two_heads", [False, True])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_official_checkpoint_loads_however_it_is_wrapped(tmp_path, wrapping, two_heads):
    source = official(two_heads=two_heads)
    path = tmp_path / "released.pth"
    torch.save(WRAPPINGS[wrapping](source.state_dict()), path)
    model = load_model("cas_vit", weights=path, image_size=32)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(model.module(x), source(x))
    assert model.provenance.sha256 and model.provenance.origin == "released.pth"


def test_safetensors_without_our_description_loads(tmp_path):
    source = official()
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    assert torch.equal(load_model("cas_vit", weights=path, image_size=32).module.head.weight, source.head.weight)


def test_every_kind_of_misfit_is_listed_at_once_and_nothing_is_copied(tmp_path):
    module = official()
    state = {key: value + 1 for key, value in module.state_dict().items()}
    state["stranger.weight"] = torch.zeros(1)
    del state["norm.weight"]
    state["network.0.0.attn.qkv.weight"] = torch.zeros(2, 2)
    path = tmp_path / "w.pth"
    torch.save(state, path)
    before = module.head.weight.clone()
    with pytest.raises(UsageError) as caught:
        load_weights(module, read_checkpoint(path))
    assert caught.value.reasons == (
        "missing: norm.weight",
        "unexpected: stranger.weight",
        "mismatch: network.0.0.attn.qkv.weight: the network has (144, 48, 1, 1), the file (2, 2)",
    )
    assert torch.equal(module.head.weight, before)


def test_not_strict_loads_what_fits_and_reports_the_rest(tmp_path):
    module = official()
    path = tmp_path / "w.pth"
    torch.save({"head.weight": torch.ones_like(module.head.weight), "head.bias": torch.ones(9)}, path)
    report = load_weights(module, read_checkpoint(path), strict=False)
    assert report.loaded == 1 and not report.exact
    assert report.mismatched == ("head.bias: the network has (7,), the file (9,)",)
    assert "norm.weight" in report.missing
    assert torch.equal(module.head.weight, torch.ones_like(module.head.weight))


def test_long_lists_of_keys_are_cut_and_counted(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({f"other.{index}": torch.zeros(1) for index in range(300)}, path)
    with pytest.raises(UsageError) as caught:
        load_weights(official(), read_checkpoint(path))
    assert "unexpected: and 280 more" in caught.value.reasons
    assert len(caught.value.reasons) == 42
