"""How a network is trained, as data: the defaults for each kind of data set, every field recorded with the result."""

from __future__ import annotations

import math

import msgspec

from edgevision.data.metric import AnySet
from edgevision.data.open import metric_of_spec
from edgevision.errors import UsageError
from edgevision.recipe import TrainQuantized


class Augmentation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Random changes of a training image; each is drawn anew for every image and applied with `probability`.

    Attributes:
        probability: that one of the changes below is applied to an image.
        shift: largest shift, share of the side.
        rotate: largest rotation, degrees.
        scale: largest change of size, share.
        shear: largest shear, share of the side.
        brightness, contrast, saturation: largest change, share.
        flip: mirror left and right half of the time; wrong for digits and text.
        turns: turn by none to three quarters and mirror half of the time, each of the eight equally often; for what
            has no up, as under a microscope or from above. Pictures that are not square are turned by halves.
    """

    probability: float = 1.0
    shift: float = 0.0
    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    flip: bool = False
    turns: bool = False


class TrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One training run (CAS-ViT's recipe, scaled to the data).

    Attributes:
        epochs: passes over the train split.
        batch: images of one step, over all processes.
        lr: highest learning rate of AdamW, reached after `warmup_epochs`, then a cosine down to `final_lr`.
        ema_decay: of the running mean of the weights, which is what is evaluated and kept.
        gradient_clip: largest norm of the gradient.
        drop_path: rate of the last block.
        sizes: sides in pixels drawn for each step (multi-scale); empty trains at the preprocessing's size.
        size_epochs: the last epochs trained at the preprocessing's size whatever `sizes` says.
        threads: of torch; None leaves its own choice.
    """

    epochs: int
    batch: int = 64
    lr: float = 2e-3
    final_lr: float = 1e-6
    weight_decay: float = 0.05
    warmup_epochs: float = 2.0
    ema_decay: float = 0.995
    label_smoothing: float = 0.1
    gradient_clip: float = 1.0
    drop_path: float = 0.0
    sizes: tuple[int, ...] = ()
    size_epochs: int = 0
    augmentation: Augmentation = Augmentation()
    threads: int | None = None


#: A minute on two cores: most epochs at a quarter of the pixels, the last ones at the size that is deployed.
_DIGITS = TrainSettings(
    epochs=10,
    batch=32,
    ema_decay=0.98,
    sizes=(32,),
    size_epochs=4,
    augmentation=Augmentation(shift=0.08, rotate=10.0, scale=0.1, shear=0.08, brightness=0.1, contrast=0.15),
)
_PHOTOGRAPHS = TrainSettings(
    epochs=30,
    warmup_epochs=3,
    ema_decay=0.9995,
    drop_path=0.05,
    augmentation=Augmentation(
        probability=0.7,
        shift=0.125,
        rotate=10.0,
        scale=0.15,
        shear=0.1,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        flip=True,
    ),
)


#: From random weights; boxes bear neither turning nor shearing, and the sums over places of the loss larger gradients.
#: At a rate of 1e-3 a detector stays for a thousand steps where every place looks alike; at 4e-3 for three hundred.
_BOXES = TrainSettings(
    epochs=300,
    batch=16,
    lr=4e-3,
    weight_decay=0.01,
    warmup_epochs=3,
    ema_decay=0.998,
    gradient_clip=10.0,
    augmentation=Augmentation(shift=0.1, scale=0.3, brightness=0.2, contrast=0.2, saturation=0.2, flip=True),
)
#: Drawn in any colour already: fewer passes, and only what moves objects.
_SHAPES = msgspec.structs.replace(
    _BOXES, epochs=30, ema_decay=0.99, augmentation=Augmentation(shift=0.1, scale=0.2, flip=True)
)


#: Fields want many small steps at a high rate, and no decay: a surrogate's weights are what carries the waves.
_FIELDS = TrainSettings(
    epochs=40,
    batch=16,
    lr=1e-3,
    weight_decay=0.0,
    warmup_epochs=1,
    ema_decay=0.998,
    augmentation=Augmentation(flip=True),
)


def default_settings(model_name: str, data_spec: str) -> TrainSettings:
    """Return the settings for `model_name` on `data_spec`.

    >>> default_settings("cas_vit_xs", "digits").augmentation.flip
    False
    >>> default_settings("codenet_a", "voc:VOC2007").augmentation.rotate
    0.0
    """
    metric = metric_of_spec(data_spec)
    if metric == "fit":
        return _FIELDS
    if metric == "AP50":
        return _SHAPES if data_spec == "shapes" else _BOXES
    settings = _DIGITS if data_spec == "digits" else _PHOTOGRAPHS
    if model_name.startswith(("efficientnet", "mobilenet")):
        # Without gates and residual depthwise mixers, plain inverted residuals diverge at the higher rate.
        return msgspec.structs.replace(settings, lr=1e-3)
    if model_name.startswith(("deit", "swin")):
        # Built for one image size; and transformers want the lower rate of their papers.
        return msgspec.structs.replace(settings, lr=5e-4, sizes=(), size_epochs=0)
    return settings


def fitted(
    settings: TrainSettings, images: int, *, processes: int = 1, batch: int | None = None, lr: float | None = None
) -> TrainSettings:
    """Return `settings` with a batch the data can fill and a learning rate that goes with it.

    Without `batch` it is the settings' own, or all images where there are fewer. Without `lr` the rate goes with the
    square root of the batch, which keeps the noise of Adam's steps (Malladi et al., On the SDEs and Scaling Rules for
    Adaptive Gradient Algorithms, NeurIPS 2022).

    Args:
        images: in the train split.
        processes: that share a batch.
        batch, lr: asked for by name.

    Raises:
        UsageError: fewer than two images for each process, or a batch that was asked for and cannot be had.

    >>> small = fitted(TrainSettings(epochs=1, batch=64, lr=2e-3), images=16)
    >>> small.batch, small.lr
    (16, 0.001)
    """
    most = images // processes * processes
    if most < 2 * processes:
        raise UsageError(f"expected at least {2 * processes} training images, two per process, got {images}")
    if batch is not None and not (2 * processes <= batch <= most and batch % processes == 0):
        among = f" that is a multiple of {processes}, the number of processes" if processes > 1 else ""
        raise UsageError(
            f"expected a batch of {2 * processes} to {most} images{among}, got {batch}",
            fix=f"change --batch, or leave it out for {min(settings.batch, most)}",
        )
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise UsageError(f"expected a learning rate above 0, got {lr}", fix="change --lr")
    size = batch or min(settings.batch // processes * processes, most)
    return msgspec.structs.replace(settings, batch=size, lr=lr or settings.lr * math.sqrt(size / settings.batch))


def quantized_settings(model_name: str, data: AnySet, step: TrainQuantized) -> TrainSettings:
    """The settings a step that trains quantised uses: the network's own, with the step's epochs and rate."""
    settings = fitted(default_settings(model_name, data.spec), len(data.split("train")), lr=step.lr)
    return msgspec.structs.replace(settings, epochs=step.epochs, warmup_epochs=min(1.0, step.epochs / 4))
