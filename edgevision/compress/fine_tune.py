"""A network whose layers were made factors, trained on: the step that wins back what taking it apart has cost."""

from __future__ import annotations

import copy
from pathlib import Path

import msgspec
from torch import nn

from edgevision.compress.binary_stages import frozen
from edgevision.compress.distillation import Distillation
from edgevision.compress.kept_training import kept_training
from edgevision.compress.task import Classification, Task, task_of
from edgevision.compress.train_settings import TrainSettings, default_settings, fitted
from edgevision.data.dataset import DataSet
from edgevision.data.metric import AnySet
from edgevision.progress import Progress, silent
from edgevision.recipe import FineTune


def fine_tune(
    module: nn.Module,
    teacher: nn.Module,
    step: FineTune,
    data: AnySet,
    model_name: str,
    *,
    folder: Path,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[nn.Module, str]:
    """Return `module` trained as `step` says, in eval mode, and what was done in a line.

    A finished training is read back from `folder`; one that was interrupted goes on after its last whole epoch.

    Args:
        module: in factors.
        teacher: the network before it was taken apart.
        data: with a train split and the network's preprocessing; labelled images where the step distills.
        folder: where `fine_tune.safetensors` and `fine_tune.training` are kept.

    Raises:
        Interrupted: ^C.
        UsageError: the loss is no longer a number.
    """
    settings = fine_tune_settings(model_name, data, step)

    def task() -> Task:
        if not step.distill:
            return task_of(data, settings)
        if not isinstance(data, DataSet):
            raise TypeError("admission lets only labelled images through")
        return Distillation(Classification(data, settings), frozen(teacher))

    made = kept_training(
        copy.deepcopy(module), data, settings, folder=folder, name="fine_tune", task=task, seed=seed, progress=progress
    )
    against = "the answers of the network before" if step.distill else "the data"
    return made, f"{step.epochs} epochs on {data.spec} against {against}, rate {settings.lr:.3g}"


def fine_tune_settings(model_name: str, data: AnySet, step: FineTune) -> TrainSettings:
    """What is trained by: what suits the network and the data, the epochs and rate of the step."""
    settings = fitted(default_settings(model_name, data.spec), len(data.split("train")), lr=step.lr)
    return msgspec.structs.replace(
        settings,
        epochs=step.epochs,
        warmup_epochs=min(1.0, step.epochs / 4),
        size_epochs=min(settings.size_epochs, step.epochs),
    )
