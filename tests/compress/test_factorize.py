"""Convolutions in factors: which and why not, before training and after, through training and compression."""

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.networks import as_model, digits
from torch import nn

from edgevision import recipe, zoo
from edgevision.compress import job
from edgevision.compress.admission import admit
from edgevision.compress.apply import compress
from edgevision.compress.canonical_form import canonical
from edgevision.compress.decompose import decompose, factorized
from edgevision.compress.factorize import alteration_of, factorize, plan, told
from edgevision.compress.fine_tune import fine_tune
from edgevision.compress.measure import measure
from edgevision.compress.rank_search import ENERGIES, least_energy
from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings
from edgevision.config import read_toml
from edgevision.errors import AccuracyMissed, UsageError
from edgevision.graph import reference
from edgevision.graph.export import export
from edgevision.recipe import Decompose, Factorize, FineTune, FoldBatchNorm, Quantize, Recipe
from edgevision.zoo.factorized import FACTORIZED, FactorizedConv2d
from edgevision.zoo.weights import WeightsMeta, save_weights


def shape_of(model) -> list[int]:
    return [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 16, 1), nn.Conv2d(16, 8, 3, padding=2, dilation=2), nn.Conv2d(8, 8, 3, padding="same"),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    nn.init.normal_(made[1].bias)
    return made


def test_every_convolution_is_factorized_or_left_alone_with_its_reason():
    choices = {choice.path: choice for choice in plan(network(), Factorize(rank=2))}
    assert {path: choice.rank for path, choice in choices.items() if choice.rank} == {"0": 2, "4": 2}
    reasons = {"3": "depthwise", "6": "1x1", "7": "dilated", "8": "'same'"}
    assert all(word in choices[path].reason for path, word in reasons.items())
    assert (choices["4"].dense, choices["4"].factored) == (32 * 16 * 9, 32 * 2 * (16 + 6))


def test_a_rank_that_does_not_pay_leaves_the_layer_dense():
    choices = {choice.path: choice for choice in plan(network(), Factorize(rank=4))}
    assert choices["0"].rank is None and "break-even 3.0" in choices["0"].reason and choices["4"].rank == 4


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_auto_takes_the_largest_rank_within_the_share(share):
    for choice in plan(zoo.load_model("resnet18", image_size=32).module, Factorize(share=share)):
        if choice.rank:
            assert choice.factored <= share * choice.dense < choice.factored * (choice.rank + 1) / choice.rank
        else:
            assert "1x1" in choice.reason


def test_the_network_made_runs_with_the_same_shapes_and_the_plan_of_it_says_the_same():
    dense, step = network(), Factorize(rank=2)
    made = factorize(dense, step)
    assert made(torch.randn(1, 3, 16, 16)).shape == (1, 10) and isinstance(dense[0], nn.Conv2d)
    assert isinstance(made[0], FactorizedConv2d) and made[0].bias is None and made[0].stride == (2, 2)
    assert told(plan(made, step)) == told(plan(dense, step))


def test_a_network_without_anything_to_factorize_is_refused_with_reasons():
    with pytest.raises(UsageError) as caught:
        layers = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=2)
        factorize(nn.Sequential(*layers), Factorize(rank=1))
    for reason, words in zip(caught.value.reasons, ("1x1", "depthwise", "grouped, its filters see 4"), strict=True):
        assert words in reason


@pytest.mark.parametrize("line", ["rank = 0", "rank = 65", 'rank = "most"', "share = 0.0", "share = 1.5"])
def test_settings_out_of_bounds_are_refused(tmp_path, line):
    path = tmp_path / "x.toml"
    path.write_text(f'name = "x"\ntitle = "t"\n\n[[steps]]\nkind = "factorize"\n{line}\n')
    with pytest.raises(UsageError, match=line.split()[0]):
        read_toml(path, Recipe)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((Factorize(), Decompose()), "factorizes 2 times"),
        ((FoldBatchNorm(), Factorize()), "goes first"),
        ((Quantize(), Factorize()), "goes first"),
    ],
)
def test_recipes_that_factorize_twice_or_too_late_are_refused(tmp_path, steps, expected):
    bounds = {"data": digits(), "keep_fp": (), "max_drop": None, "max_minutes": None, "evaluate_limit": None}
    with pytest.raises(UsageError, match=expected):
        admit(as_model(network()), Recipe("odd", "odd", steps), out=tmp_path / "x", overwrite=False, **bounds)


def test_weights_are_told_by_the_form_they_were_trained_in(tmp_path):
    altered = alteration_of(recipe.load("tensor-r4+w8a8"))
    model = zoo.load_model("resnet18", classes=digits().classes, image_size=32, alteration=altered)
    path = tmp_path / "w.safetensors"
    meta = WeightsMeta("resnet18", digits().classes, model.preprocessing, {"form": "tensor-r4"})
    save_weights(path, model.module, meta)
    again = zoo.load_model("resnet18", weights=path, alteration=altered, seed=1)
    assert torch.equal(again.module.layer1[0].conv1.channel, model.module.layer1[0].conv1.channel)
    for other in (None, alteration_of(recipe.load("tensor-r1"))):
        with pytest.raises(UsageError, match="got weights trained as tensor-r4"):
            zoo.load_model("resnet18", weights=path, alteration=other)


def test_training_changes_every_factor_and_lowers_the_loss(tmp_path):
    settings = TrainSettings(epochs=2, batch=64, lr=5e-3, warmup_epochs=0.0, ema_decay=0.9)
    start = factorize(network(), Factorize(rank=2))
    done = train(start, digits(), settings, checkpoint=tmp_path / "c")
    assert done.history[1].loss < done.history[0].loss
    before, after = (dict(m.named_parameters()) for m in (start, done.module))
    factors = [name for name in before if ".filters." in name or name.endswith(".channel")]
    assert len(factors) == 6 and not any(torch.equal(before[name], after[name]) for name in factors)


@pytest.mark.parametrize("name", ["tensor-r1", "tensor-auto"])
def test_the_ledger_says_what_was_factorized_and_the_weights_are_stored_in_factors(tmp_path, name):
    loaded = recipe.load(name)
    module = factorize(network(), loaded.before_training).eval()
    made = compress(as_model(module), loaded, export=export, out=tmp_path / "x")
    first, second = made.info.ledger
    assert first.step == "factorize" and "of 6 convolutions factorized before training" in first.change
    assert any(note.startswith("6 stays dense: its kernel is 1x1") for note in first.notes)
    calls = [node for node in made.graph().graph.node if node.op_type == "FactorizedConv"]
    assert len(calls) == sum(isinstance(m, FACTORIZED) for m in module.modules())
    # The norm went into the factors; a convolution without a bias has one now.
    norm = 2 * 16
    assert second.parameters == sum(p.numel() for p in module.parameters()) - norm + 16


def test_a_factorized_network_is_quantised_and_what_is_left_in_float_stays_so(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "for_integers", lambda shape: True)
    module = factorize(network(), Factorize(rank=2)).eval()
    loaded = Recipe("t+q", "t", (Factorize(rank=2), FoldBatchNorm(), Quantize(calibration_images=16)))
    made = compress(as_model(module), loaded, export=export, out=tmp_path / "x", data=digits(), keep_fp=["4"],
                    sensitivity=False, evaluate_limit=20)  # fmt: skip
    graph = made.graph()
    calls = {node.name: node for node in graph.graph.node if node.domain}
    assert "4" in calls and not calls["4"].input[1].endswith(".dq")
    quantised = [node for name, node in calls.items() if name != "4"]
    assert quantised and all(node.input[1] == f"{node.name}.weight.dq" for node in quantised)
    x = np.random.default_rng(3).standard_normal(shape_of(graph)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {graph.graph.input[0].name: x})
    np.testing.assert_allclose(reference.run(graph, x)[0], wanted, atol=0.05 * np.abs(wanted).max())
    layers = {layer.name: layer for layer in measure(graph).layers}
    assert all(layers[node.name].integer and layers[node.name].dtype == "int8" for node in quantised)
    assert any("factorized layers in integers" in note for note in made.info.ledger[-1].notes)


def test_als_finds_products_that_are_there():
    torch.manual_seed(0)
    layer = FactorizedConv2d(10, 20, 3, rank=2)
    factors = canonical(layer.kernel().detach(), 2)
    found = torch.einsum("orc,ori,orj->ocij", *factors)
    lost = (found - layer.kernel()).square().flatten(1).sum(1) / layer.kernel().square().flatten(1).sum(1)
    # A local minimum may hold a filter back.
    assert lost.median() < 1e-6


def test_rank_one_is_the_best_of_each_filter_seen_as_a_matrix():
    """Of one input channel a filter is a matrix, whose best product its leading singular vectors make."""
    kernel = torch.randn(6, 1, 4, 5)
    a, b, d = canonical(kernel, 1)
    lost = (torch.einsum("orc,ori,orj->ocij", a, b, d) - kernel).flatten(1).square().sum(1)
    values = np.linalg.svd(kernel[:, 0].numpy(), compute_uv=False)
    np.testing.assert_allclose(lost, (values[:, 1:] ** 2).sum(1), rtol=1e-3)


def test_dense_to_factors_and_back_is_exact_at_the_largest_rank():
    dense = nn.Conv2d(12, 7, (3, 2), 2, 1)
    back = factorized(dense, 6).to_dense()
    torch.testing.assert_close(back.weight, dense.weight, rtol=1e-5, atol=1e-5)
    assert torch.equal(back.bias, dense.bias) and (back.stride, back.padding) == (dense.stride, dense.padding)


@pytest.mark.parametrize("method", ["cp", "svd", "tucker2", "tt"])
def test_decomposed_layers_keep_the_energy_asked_for_with_fewer_weights(method):
    torch.manual_seed(1)
    near = FactorizedConv2d(24, 16, 3, 2, 1, rank=1).to_dense()
    with torch.no_grad():  # of few directions over the outputs, so that every method has something to find
        near.weight.copy_((torch.randn(16, 3) @ near.weight[:3].flatten(1)).unflatten(1, (24, 3, 3)))
        near.weight.add_(0.05 * near.weight.std() * torch.randn_like(near.weight))
    net = nn.Sequential(near, nn.Conv2d(16, 4, 1))
    made, choices = decompose(net, Decompose(method, energy=0.9))
    assert choices[0].rank and choices[0].factored < choices[0].dense and "1x1" in choices[1].reason
    impulse = torch.zeros(24, 24, 7, 7)
    impulse[range(24), range(24), 3, 3] = 1
    # What each tap answers to an impulse is the kernel itself, less what falls between the strides.
    for module in (made[0], near):
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | FactorizedConv2d):
                layer.stride = (1, 1)
        if module is not near and hasattr(module, "bias") and module.bias is not None:
            module.bias = None
    with torch.no_grad():
        flat = torch.zeros(1, 24, 7, 7)
        wanted, got = (m(impulse) - m(flat) for m in (near, made[0]))
    assert (wanted - got).square().sum() <= (0.1 + 1e-4) * wanted.square().sum()


def test_nothing_smaller_is_refused_with_reasons():
    with pytest.raises(UsageError, match="no convolution is smaller"):
        decompose(nn.Sequential(nn.Conv2d(8, 8, 3)), Decompose("svd", energy=1.0))


def test_a_decomposed_network_is_compressed_as_any_other(tmp_path):
    model = as_model(network().eval())
    made = compress(model, Recipe("d", "d", (Decompose("cp", 0.6), FoldBatchNorm())), export=export, out=tmp_path / "x")
    assert made.info.ledger[0].step == "decompose" and "factorized after training" in made.info.ledger[0].change
    assert any(node.op_type == "FactorizedConv" for node in made.graph().graph.node)


def test_as_little_energy_as_an_accuracy_allows_is_kept():
    """Accuracy that grows with the energy: the search finds the first share that is enough, whatever it is."""
    net = nn.Sequential(FactorizedConv2d(24, 16, 3, rank=2).to_dense())
    for bound, wanted in ((0, ENERGIES[0]), (85, 0.85), (86, 0.9)):
        found = least_energy(net, Decompose("svd", "auto"), lambda energy, made: 100 * energy, bound)
        assert (found.energy, found.accuracy) == (wanted, 100 * wanted)
    with pytest.raises(AccuracyMissed, match=r"best of .* tried has 50\.00"):
        least_energy(net, Decompose("svd", "auto"), lambda energy, made: 50.0, 99)


def test_a_bound_on_accuracy_chooses_the_ranks_and_stands_in_the_ledger(tmp_path):
    loaded = Recipe("a", "a", (Decompose("tucker2", "auto"), FoldBatchNorm()))
    made = compress(as_model(network().eval()), loaded, export=export, out=tmp_path / "x", data=digits(),
                    max_drop=100.0, evaluate_limit=20)  # fmt: skip
    assert "30 % of the energy kept" in made.info.ledger[0].notes[0]
    with pytest.raises(UsageError, match="add --max-drop POINTS"):
        compress(as_model(network().eval()), loaded, export=export, out=tmp_path / "y", data=digits())


@pytest.mark.parametrize("distill", [False, True])
def test_what_was_taken_apart_is_trained_on_once_and_read_back(tmp_path, distill):
    data, model = digits(), as_model(network().eval())
    apart, _ = decompose(model.module, Decompose("cp", 0.6))
    step = FineTune(epochs=1, lr=1e-3, distill=distill)
    made, line = fine_tune(apart, model.module, step, data, "net", folder=tmp_path)
    changed = [name for name, value in made.state_dict().items() if not torch.equal(value, apart.state_dict()[name])]
    assert {"0.channel", "4.filters.0"} <= set(changed) and "1 epochs on digits" in line
    again, _ = fine_tune(apart, model.module, step, data, "net", folder=tmp_path)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in made.state_dict().items())


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((FineTune(), Decompose()), "comes after that"),
        ((FineTune(),), "comes after that"),
        ((Decompose(), FoldBatchNorm(), FineTune()), "training comes before both"),
    ],
)
def test_fine_tuning_in_the_wrong_place_is_refused(tmp_path, steps, expected):
    with pytest.raises(UsageError, match=expected):
        compress(as_model(network()), Recipe("x", "x", steps), export=export, out=tmp_path / "x", data=digits())
