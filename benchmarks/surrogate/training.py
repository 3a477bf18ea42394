"""One network trained on waves, and how good it is: test and train error, over time, rolled out, energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from edgevision import recipe as recipes
from edgevision.compress.factorize import alteration_of
from edgevision.compress.measure import measure
from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings
from edgevision.data.field_error import FieldMeter, FieldScore
from edgevision.data.field_rollout import Predict, roll_out
from edgevision.data.wave import WaveSet, WaveSplit
from edgevision.graph.export import export
from edgevision.progress import Progress
from edgevision.workspace import Workspace
from edgevision.zoo import load_model
from edgevision.zoo.family import FORM
from edgevision.zoo.model import Model
from edgevision.zoo.weights import WeightsMeta, save_weights

#: The dense twin; every other name is that of a recipe that factorizes.
DENSE = "dense"


def network(form: str, data: WaveSet, seed: int) -> Model:
    """The surrogate with fresh weights, dense or as a recipe makes it."""
    altered = None if form == DENSE else alteration_of(recipes.load(form))
    return load_model("wave_net", classes=data.classes, preprocessing=data.preprocessing, alteration=altered, seed=seed)


def module_of(model: Model) -> nn.Module:
    """The torch module of a network of the zoo."""
    if model.module is None:
        raise TypeError("a network of the zoo has a torch module")
    return model.module


def train_and_judge(
    form: str, data: WaveSet, settings: TrainSettings, seed: int, out: Path, progress: Progress
) -> dict[str, Any]:
    """Train, or go on with a training that was stopped; keep the weights where `compress` finds them; judge them."""
    altered = None if form == DENSE else alteration_of(recipes.load(form))
    label = altered.label if altered else ""
    workspace, fresh = Workspace(out), network(form, data, seed)
    checkpoint = workspace.checkpoint("wave_net", data.spec, label)
    done = train(module_of(fresh), data, settings, checkpoint=checkpoint, resume=True, seed=seed, progress=progress)
    detail: dict[str, str | int | float] = {"data": data.spec, "data_sha256": data.sha256, "seed": seed}
    detail |= {FORM: label} if label else {}
    meta = WeightsMeta("wave_net", data.classes, data.preprocessing, detail)
    save_weights(workspace.weights("wave_net", data.spec, label), done.module, meta)
    checkpoint.unlink(missing_ok=True)
    size = measure(export(fresh).graph)
    cost = {"parameters": size.parameters, "macs": size.macs, "seconds": sum(epoch.seconds for epoch in done.history)}
    return cost | errors(done.module, data)


def errors(module: nn.Module, data: WaveSet) -> dict[str, Any]:
    """Relative L2 errors of a trained network, on windows it has seen too, and rolled out."""
    test, seen = scored(module, data.split("test")), scored(module, data.split("calibration"))
    rolled = roll_out(predict(module), data.split("test"))
    return {
        "test_error": test.error,
        "test_error_over_time": test.over_time.tolist(),
        "fit_percent_95": list(test.interval),
        # Windows of the calibration split are drawn from those trained on.
        "train_error": seen.error,
        "test_over_train": test.error / seen.error,
        "rollout_error": rolled.errors.tolist(),
        "energy_drift": rolled.energy_drift.tolist(),
    }


def scored(module: nn.Module, split: WaveSplit) -> FieldScore:
    """Errors on a split."""
    meter, run = FieldMeter(split.together), predict(module)
    for inputs, later in split.batches(32):
        meter.add(run(inputs), later)
    return meter.score()


def predict(module: nn.Module) -> Predict:
    """`module` on arrays."""

    def run(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(inputs)).numpy())

    return run


def settings_identity(settings: TrainSettings, data: WaveSet, form: str, seed: int) -> dict[str, Any]:
    """What a training depends on."""
    return {"settings": msgspec.to_builtins(settings), "data": data.sha256, "form": form, "seed": seed}
