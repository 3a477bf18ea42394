"""Stages of binarization: distillation, what is kept of them, and the recipes that name them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.binary_networks import as_model, small
from helpers.networks import digits

from edgevision import recipe
from edgevision.compress.apply import compress
from edgevision.compress.binarize import BinaryLayer
from edgevision.compress.binary_networks import binarised
from edgevision.compress.binary_stages import _augmentation, load_stage, stage, stage_settings
from edgevision.compress.distillation import Distillation
from edgevision.compress.task import Classification
from edgevision.compress.train_settings import Augmentation, default_settings
from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.recipe import Binarize, FoldBatchNorm, Quantize, Recipe

ATTENTION = Binarize(part="attention", epochs=1, warmup_epochs=0.1, lr=1e-3)
MLP = Binarize(part="mlp", activation_bits=32, epochs=1, warmup_epochs=0.1, lr=1e-3)


def test_the_loss_is_the_divergence_from_the_teacher():
    teacher = small("deit", seed=3).requires_grad_(False)
    task = Distillation(Classification(digits(), stage_settings("deit", digits(), ATTENTION)), teacher)
    images, targets = task.batch(np.arange(8), None, torch.Generator().manual_seed(0))
    logits = torch.randn(8, 10)
    p, q = targets.double().exp().numpy(), logits.double().softmax(-1).numpy()
    assert abs(float(task.loss(logits, targets)) - (p * np.log(p / q)).sum(1).mean()) < 1e-4
    assert abs(float(task.loss(teacher(images), targets))) < 1e-5


def test_settings_are_adam_without_decay_and_without_a_mean_of_weights():
    settings = stage_settings("deit_tiny", digits(), ATTENTION)
    assert (settings.weight_decay, settings.ema_decay, settings.lr, settings.epochs) == (0, 0, 1e-3, 1)


def test_photographs_are_changed_as_deit_s_where_the_recipe_says_so_and_digits_are_not():
    step, usual = msgspec.structs.replace(ATTENTION, augmentation="deit"), default_settings("deit_tiny", "digits")
    assert stage_settings("deit_tiny", digits(), step).augmentation == usual.augmentation
    photographs = _augmentation(default_settings("deit_tiny", "imagenet:x"), step)
    assert (photographs.crop, photographs.mixup, photographs.cutmix, photographs.erase) == (0.08, 0.8, 1.0, 0.25)
    assert _augmentation(default_settings("deit_tiny", "imagenet:x"), ATTENTION).mixup == 0


def test_the_teacher_answers_for_the_mixtures_the_student_sees():
    teacher = small("deit", seed=3).requires_grad_(False)
    settings = msgspec.structs.replace(
        stage_settings("deit", digits(), ATTENTION), augmentation=Augmentation(mixup=0.8)
    )
    task = Distillation(Classification(digits(), settings), teacher)
    images, targets = task.batch(np.arange(8), None, torch.Generator().manual_seed(0))
    plain, _ = task.images.batch(np.arange(8), None, torch.Generator().manual_seed(0))
    assert not torch.equal(images, plain)
    torch.testing.assert_close(targets, teacher(images).log_softmax(-1))


def test_a_stage_trains_the_scales_and_is_read_back(tmp_path):
    model = as_model(small("deit"), "deit")
    done, notes = stage(model, model, ATTENTION, digits(), folder=tmp_path, name="stage0")
    begun = binarised(model.module, ATTENTION)[0].state_dict()
    trained = done.module.state_dict()
    scales = [key for key in begun if key.endswith("attn.qkv.scale")]
    assert scales and all(not torch.equal(begun[key], trained[key]) for key in scales)
    assert "attention: 2 modules" in notes[0] and not (tmp_path / "stage0.training").exists()
    again, _ = stage(model, model, ATTENTION, digits(), folder=tmp_path, name="stage0")
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.module(image), done.module(image))


def test_a_checkpoint_without_the_scales_is_refused_with_their_names(tmp_path):
    float_network = small("deit")
    path = tmp_path / "float.safetensors"
    safetensors.torch.save_file(float_network.state_dict(), path)
    with pytest.raises(UsageError, match=r"missing: blocks\.0\.mlp\.fc1\.scale, the scale of a binary layer"):
        load_stage(binarised(float_network, MLP)[0], path)


def test_two_stages_and_int8_end_in_one_graph_and_a_ledger_of_each(tmp_path):
    whole = Recipe("bivit+w8a8", "both", (ATTENTION, MLP, FoldBatchNorm(), Quantize(calibration_images=16)))
    model = as_model(small("deit"), "deit")
    made = compress(
        model, whole, export=export, out=tmp_path / "out", data=digits(), sensitivity=False, evaluate_limit=32
    )
    assert [entry.step for entry in made.info.ledger] == ["binarize", "binarize", "fold_batch_norm", "quantize"]
    called = {node.op_type for node in made.graph().graph.node}
    assert {"BinaryLinear", "BinaryAttention", "BinaryWeightLinear", "QuantizeLinear"} <= called
    sizes = [entry.weight_bytes for entry in made.info.ledger]
    assert sizes[0] > sizes[1] >= sizes[2] > sizes[3]
    assert not any(isinstance(layer, BinaryLayer) for layer in model.module.modules())


def test_training_comes_before_quantisation(tmp_path):
    with pytest.raises(UsageError, match="training comes first"):
        compress(as_model(small("deit")), recipe.load("w8a8+bivit"), export=export, out=tmp_path / "out", data=digits())


def steps(name: str) -> tuple[Binarize, ...]:
    return tuple(step for step in recipe.load(name).steps if isinstance(step, Binarize))


def test_two_stages_share_the_epochs_of_one():
    """Halves against a whole: anything else would compare budgets."""
    totals = {name: sum(step.epochs for step in steps(name)) for name in ("bivit", "bivit-full", "one-step")}
    assert set(totals.values()) == {300} == {steps("sign-baseline")[0].epochs}


def test_recipes_are_the_paper_s_settings():
    first, second = steps("bivit")
    assert (first.part, second.part, second.activation_bits) == ("attention", "mlp", 32)
    assert steps("bivit-full")[1].activation_bits == 1 and steps("bivit-attn") == (first,)
    for step in (first, second):
        assert (step.lr, step.warmup_epochs, step.weight_decay, step.distill) == (5e-4, 5, 0, True)
        assert step.augmentation == "deit"
        assert step.scales == "learned" and step.row_scale
    baseline = steps("sign-baseline")[0]
    assert (baseline.attention, baseline.scales, baseline.activation_bits) == ("sign", "mean", 32)


def test_epochs_can_be_asked_for():
    short = recipe.load("bivit+w8a8").trained_for(4)
    assert [(s.epochs, s.warmup_epochs) for s in short.steps if isinstance(s, Binarize)] == [(4, 0.4)] * 2
    with pytest.raises(UsageError, match="trains nothing"):
        recipe.load("w8a8").trained_for(4)


def test_bits_a_recipe_cannot_have_are_refused():
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "binarize", "part": "mlp", "activation_bits": 2}, Binarize)
