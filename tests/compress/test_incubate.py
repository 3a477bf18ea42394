"""Parts of a pruned network trained inside the whole one, assembled, kept to go on from; the recipe of all that."""

from __future__ import annotations

import copy
import functools
import json

import numpy as np
import pytest
import torch
from helpers.networks import as_model, digits
from torch import Tensor, nn

from edgevision import recipe
from edgevision.compress import incubate, kept_training
from edgevision.compress.apply import compress
from edgevision.compress.incubate import Incubation, Observed, parts_of, pruning_stage
from edgevision.compress.measure import measure
from edgevision.compress.prune import Pruned, Score
from edgevision.compress.prune_units import Unit, bypassed
from edgevision.compress.task import Classification
from edgevision.compress.train import train
from edgevision.compress.train_settings import default_settings
from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.recipe import FoldBatchNorm, PruneBlocks, Quantize, Recipe
from edgevision.zoo.model import Model

torch.set_num_threads(1)
STEP = PruneBlocks(share=0.2, images=32, incubate_epochs=1, epochs=1)


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, dim, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


@functools.cache
def trained() -> Model:
    """A stem, two stages of residual blocks and a head, trained on the digits for some seconds."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(Residual(16), Residual(16), Residual(16)),
        nn.Sequential(nn.Conv2d(16, 24, 3, 2, 1, bias=False), nn.BatchNorm2d(24), nn.ReLU()),
        nn.Sequential(Residual(24), Residual(24)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip
    split = digits().split("train")
    images, labels = (torch.from_numpy(each) for each in next(iter(split.batches(len(split)))))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(6):
        for chosen in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimiser.step()
    return as_model(network, "residual")


def score(path: str, way: str = "input") -> Score:
    return Score(Unit(path, 2, 10, 10), way, 0.1, 0.1)


def pruned(module: nn.Module, *paths: str) -> Pruned:
    for path in paths:
        bypassed(module, path, "input")
    return Pruned(module, tuple(score(path) for path in paths), (), 0.3)


def layered() -> nn.Module:
    def block() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))

    return nn.Sequential(nn.Sequential(block(), block()), nn.Sequential(block(), block()), nn.Conv2d(3, 3, 1))


def test_a_part_is_what_is_left_around_what_went():
    parts = parts_of(pruned(layered(), "0.1", "1.0.0", "1.1.1"))
    assert [(part, [one.unit.path for one in units]) for part, units in parts] == [
        ("0", ["0.1"]), ("1.0", ["1.0.0"]), ("1.1", ["1.1.1"]),
    ]  # fmt: skip
    # What is left around a whole block is its row, and takes parts inside it along.
    parts = parts_of(pruned(layered(), "1.0.0", "1.1"))
    assert [(part, [one.unit.path for one in units]) for part, units in parts] == [("1", ["1.0.0", "1.1"])]
    # A whole row leaves nothing but the network, which is no part.
    assert parts_of(pruned(layered(), "0")) == ()


def test_only_the_part_learns_and_the_others_stay_to_the_bit(tmp_path):
    losses = []

    class Told(Incubation):
        def loss(self, outputs, targets):
            made = super().loss(outputs, targets)
            losses.append(float(made))
            return made

    teacher = trained().module
    settings = incubate._settings("residual", digits(), STEP, 3)
    task = Told(Classification(digits(), settings), Observed(teacher, "1"), 1.0)
    student = copy.deepcopy(teacher)
    bypassed(student, "1.1", "input")
    done = train(
        Observed(student, "1"), digits(), settings, checkpoint=tmp_path / "state", task=task, part="network.1",
        evaluate=False,
    )  # fmt: skip
    before, after = student.state_dict(), done.module.network.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith("1."))
    assert all(torch.equal(before[key], after[key]) for key in before if not key.startswith("1."))
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_the_loss_is_nothing_for_the_teacher_itself():
    teacher = trained().module.eval()
    task = Incubation(Classification(digits(), default_settings("residual", "digits")), Observed(teacher, "1"), 2.0)
    images, targets = task.batch(np.arange(8), None, torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers, features = Observed(teacher, "1")(images)
    assert float(task.loss((answers, features), targets)) == pytest.approx(0, abs=1e-5)
    shifted = task.loss((answers, features + 0.5), targets)
    assert float(shifted) == pytest.approx(2 * 0.25 / float(features.var()), rel=1e-3)


def test_a_stage_goes_on_part_by_part(tmp_path, monkeypatch):
    first, told = pruning_stage(trained(), STEP, digits(), folder=tmp_path, name="stage0")
    assert "units taken out" in told[0] and "taken out: " in told[1]
    kept = {path.name for path in tmp_path.glob("*.safetensors")}
    assert len(kept) >= 2 and "stage0.assembled.safetensors" in kept
    assert (tmp_path / "stage0.assembled.safetensors").is_file() and not list(tmp_path.glob("*.training"))
    monkeypatch.setattr(kept_training, "train", None)
    again, _ = pruning_stage(trained(), STEP, digits(), folder=tmp_path, name="stage0")
    same = zip(first.module.state_dict().values(), again.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    state = (tmp_path / "stage0.assembled.safetensors").read_bytes()
    (tmp_path / "stage0.assembled.safetensors").write_bytes(state[:-4] + b"\x00\x00\xc0\x7f")
    with pytest.raises(UsageError, match="not finite"):
        pruning_stage(trained(), STEP, digits(), folder=tmp_path, name="stage0")


def test_the_recipe_prunes_then_quantises_and_says_what_went(tmp_path):
    steps = Recipe("prune+w8a8", "", (STEP, FoldBatchNorm(), Quantize(calibration_images=64)))
    found = compress(
        trained(), steps, export=export, out=tmp_path / "out", data=digits(), sensitivity=False,
        evaluate_limit=200,
    )  # fmt: skip
    rows = {entry.step: entry for entry in found.info.ledger}
    assert list(rows) == ["prune_blocks", "fold_batch_norm", "quantize"]
    assert rows["prune_blocks"].macs < 0.95 * sum(layer.macs for layer in measure(export(trained()).graph).layers)
    assert rows["prune_blocks"].accuracy_after > 50
    assert any(note.startswith("most redundant") for note in rows["prune_blocks"].notes)
    assert json.loads((tmp_path / "out/compressed.json").read_text())["recipe"]["steps"][0]["kind"] == "prune_blocks"


def test_pruning_needs_a_torch_network_and_goes_first(tmp_path):
    graph = export(trained()).graph
    asked = {"export": export, "out": tmp_path / "out", "data": digits()}
    model = as_model(nn.Identity())
    with pytest.raises(UsageError, match="trained in torch"):
        compress(model.__class__(**{**vars(model), "module": None, "onnx": graph}), Recipe("r", "", (STEP,)), **asked)
    with pytest.raises(UsageError, match="training comes first"):
        compress(trained(), Recipe("r", "", (FoldBatchNorm(), STEP)), **asked)


def test_the_shipped_recipe_is_one_of_them():
    assert recipe.load("prune-blocks-30").steps == (PruneBlocks(),)
    assert recipe.load("prune-blocks-30").trained_for(2).steps[0].epochs == 2
