"""One stage of cross-layer binarization: layers replaced, trained against the float network, kept to go on from."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import msgspec
import safetensors.torch
from torch import nn

from edgevision.compress.binarize import BinaryLayer
from edgevision.compress.binary_networks import binarised
from edgevision.compress.distillation import Distillation
from edgevision.compress.kept_training import kept_training
from edgevision.compress.task import Classification, Task
from edgevision.compress.train_settings import (
    DEIT_AUGMENTATION,
    Augmentation,
    TrainSettings,
    default_settings,
    fitted,
)
from edgevision.data.dataset import DataSet
from edgevision.data.metric import AnySet
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent
from edgevision.recipe import Binarize
from edgevision.zoo.model import Model


def stage(
    model: Model,
    teacher: Model,
    step: Binarize,
    data: AnySet,
    *,
    folder: Path,
    name: str,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress = silent,
) -> tuple[Model, tuple[str, ...]]:
    """Binarise and train `model`; what it did, for the ledger, comes with it.

    A finished stage is read back from `folder`; one that was interrupted goes on after its last whole epoch.

    Args:
        model: what the stage before made, or the float network.
        teacher: the float network.
        data: with a train split and the network's preprocessing.
        folder: where `<name>.safetensors` and `<name>.training` are kept.
        seed: of order and augmentation.
        threads: of torch; None leaves its own choice.

    Raises:
        Unsupported, UsageError: see `binary_networks.binarised`; or what is kept has other tensors than the network.
        Interrupted: ^C.
    """
    if model.module is None or teacher.module is None or not isinstance(data, DataSet):
        raise TypeError("admission lets only torch classifiers and labelled images through")
    module, layers = binarised(model.module, step)
    settings = msgspec.structs.replace(stage_settings(model.name, data, step), threads=threads)
    whole = teacher.module

    def task() -> Task:
        images = Classification(data, settings)
        return Distillation(images, frozen(whole)) if step.distill else images

    module = kept_training(
        module, data, settings, folder=folder, name=name, task=task, seed=seed, load=load_stage, progress=progress
    )
    change = f"{step.part}: {len(layers)} modules of one bit, {settings.epochs} epochs"
    against = "the float network's answers" if step.distill else "the labels"
    trained = f"trained against {against}, batch {settings.batch}, rate {settings.lr:.3g}"
    return replace(model, module=module), (change, trained, f"binary: {', '.join(layers)}")


def stage_settings(model_name: str, data: DataSet, step: Binarize) -> TrainSettings:
    """What is trained by: the augmentation that suits the data, the rest as the step says.

    There is no running mean of the weights: signs of mean weights are not the weights the scales were trained with.
    """
    usual = default_settings(model_name, data.spec)
    asked = msgspec.structs.replace(
        usual,
        epochs=step.epochs,
        lr=step.lr,
        warmup_epochs=step.warmup_epochs,
        weight_decay=step.weight_decay,
        ema_decay=0.0,
        drop_path=0.0,
        sizes=(),
        augmentation=_augmentation(usual, step),
    )
    return fitted(asked, len(data.split("train")), lr=step.lr)


def _augmentation(usual: TrainSettings, step: Binarize) -> Augmentation:
    """DeiT's where that is asked for and images may be mirrored, as photographs may; digits keep their own."""
    return DEIT_AUGMENTATION if step.augmentation == "deit" and usual.augmentation.flip else usual.augmentation


def frozen(module: nn.Module) -> nn.Module:
    """A copy in eval mode whose parameters want no gradient."""
    return copy.deepcopy(module).eval().requires_grad_(False)


def load_stage(module: nn.Module, path: Path) -> None:
    """Read what a stage kept into the binarised `module`.

    Raises:
        UsageError: a tensor is missing, as the scales of a checkpoint of float weights, is left over, or is not finite.
    """
    state = safetensors.torch.load_file(path)
    own = module.state_dict()
    scales = {f"{name}.scale" for name, layer in module.named_modules() if isinstance(layer, BinaryLayer)}
    reasons = [
        f"missing: {key}" + (", the scale of a binary layer" if key in scales else "")
        for key in own
        if key not in state
    ]
    reasons += [f"unexpected: {key}" for key in state if key not in own]
    reasons += [f"not finite: {key}" for key, value in state.items() if not value.isfinite().all()]
    if reasons:
        raise UsageError(
            "the file does not hold this binary network",
            where=str(path),
            reasons=reasons,
            fix="binarise from the float weights: compress without --resume",
        )
    module.load_state_dict(state)
    module.eval()
