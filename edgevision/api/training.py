"""`train`: weights for a network of the zoo."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgevision.api.subject import built_in_data, refuse_other_data, side_for
from edgevision.progress import Progress, silent
from edgevision.workspace import DEFAULT_OUT, Workspace

if TYPE_CHECKING:
    from edgevision.data.metric import Metric, Score


@dataclass(frozen=True)
class Trained:
    """Weights on disk and how good they are.

    Attributes:
        path: the safetensors file; it carries classes, preprocessing and how it was trained.
        metric: what the accuracy is measured by.
        accuracy: on the test split; None where the data has none.
        seconds: of this call.
    """

    path: Path
    model: str
    data: str
    metric: Metric
    accuracy: Score | None
    epochs: int
    seconds: float


def train(
    model: str = "cas_vit",
    data: str | None = None,
    *,
    out: Path | str = DEFAULT_OUT,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    turns: bool = False,
    with_validation: bool = False,
    image_size: int | None = None,
    recipe: str | None = None,
    weights: Path | None = None,
    threads: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Trained:
    """Train a network of the zoo and keep its weights where `compress` finds them.

    Args:
        model: a name of the zoo.
        data: "digits", "folder:PATH" or "imagenet:PATH"; for a detector "shapes", "voc:PATH" or "coco:PATH"; for
            fields "wave" or "wave:FILE.toml". Without it, what is built in.
        epochs: passes over the train split; without it, what suits the data.
        batch: images of one step, over all processes; without it 32 (digits), 16 (images with boxes) or
            64, or all images if they are fewer.
        lr: highest learning rate; without it, what suits the model and goes with the square root of the batch.
        turns: also turn by quarters and mirror training images, for what has no up.
        with_validation: also train on the validation images of data with boxes that has a validation split.
        image_size: height and width in pixels; without it, what suits the data, or a detector's published size.
        recipe: one that changes the network before it is trained, such as "tensor-r4"; what else it does is for
            `compress`.
        weights: start from these instead of random ones.
        threads: of torch.
        resume: go on where an interrupted run stopped; starts from the beginning where nothing is kept of one.

    Raises:
        ToolMissing: what measures a detector is not installed.
        UsageError: unknown names, data of another kind or that cannot be read, weights already there, or a run that
            diverges.
    """
    import msgspec

    from edgevision import recipe as recipes
    from edgevision import zoo
    from edgevision.compress.factorize import alteration_of
    from edgevision.compress.train import train as run
    from edgevision.compress.train_settings import default_settings, fitted
    from edgevision.data import open_set
    from edgevision.data.detection import DetectionSet
    from edgevision.data.metric import field_of
    from edgevision.errors import UsageError
    from edgevision.files import refuse_overwrite
    from edgevision.zoo.family import FORM
    from edgevision.zoo.weights import WeightsMeta, save_weights

    name = zoo.known_name(model)
    data = data or built_in_data(name)
    refuse_other_data(name, data)
    altered = alteration_of(recipes.load(recipe)) if recipe else None
    if recipe and altered is None:
        raise UsageError(
            f"recipe '{recipe}' changes nothing before training",
            fix="leave --recipe out and give it to compress; those for training begin with tensor-",
        )
    form = altered.label if altered else ""
    workspace = Workspace(Path(out))
    path, checkpoint = workspace.weights(name, data, form), workspace.checkpoint(name, data, form)
    # With --resume and no state the training is finished: the weights are what it would give.
    refuse_overwrite(path, overwrite=overwrite or (resume and checkpoint.exists()))
    images = open_set(data, progress=progress)
    network = zoo.load_model(
        name,
        classes=images.classes,
        weights=weights or "random",
        image_size=side_for(name, data, image_size),
        preprocessing=images.default_preprocessing,
        alteration=altered,
        seed=seed,
    )
    if network.preprocessing != images.preprocessing:
        images = open_set(data, network.preprocessing, progress=progress)
    if with_validation:
        if not isinstance(images, DetectionSet):
            raise UsageError(
                f"'{data}' has no validation images",
                fix="leave out --with-validation, or give --data with boxes and such a split",
            )
        images = images.trained_on_validation()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    settings = fitted(default_settings(name, data), len(images.split("train")), processes=world, batch=batch, lr=lr)
    settings = msgspec.structs.replace(
        settings,
        epochs=epochs or settings.epochs,
        threads=threads or settings.threads,
        augmentation=msgspec.structs.replace(settings.augmentation, turns=turns),
    )
    if network.module is None:
        raise TypeError("a network of the zoo has a torch module")
    done = run(
        network.module, images, settings,
        checkpoint=checkpoint, resume=resume, overwrite=overwrite, seed=seed, progress=progress,
    )  # fmt: skip
    detail: dict[str, str | int | float] = {"data": images.spec, "data_sha256": images.sha256, "seed": seed}
    detail |= {"epochs": settings.epochs, "batch": settings.batch, "lr": settings.lr}
    detail |= {"turns": int(turns), "with_validation": int(with_validation)}
    if form:
        detail[FORM] = form
    if done.accuracy:
        detail[f"{field_of(done.metric)}_percent"] = round(done.accuracy.percent, 2)
    # Under torchrun every process holds the same weights; one of them writes.
    if int(os.environ.get("RANK", "0")) == 0:
        save_weights(path, done.module, WeightsMeta(name, images.classes, network.preprocessing, detail))
        checkpoint.unlink(missing_ok=True)
    return Trained(path, name, data, done.metric, done.accuracy, settings.epochs, done.seconds)
