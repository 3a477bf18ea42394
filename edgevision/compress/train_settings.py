"""How a network is trained, as data: the defaults for each kind of data set, every field recorded with the result."""

from __future__ import annotations

import msgspec


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


def default_settings(model_name: str, data_spec: str) -> TrainSettings:
    """Return the settings for `model_name` on `data_spec`.

    >>> default_settings("cas_vit_xs", "digits").augmentation.flip
    False
    """
    settings = _DIGITS if data_spec == "digits" else _PHOTOGRAPHS
    if model_name.startswith(("efficientnet", "mobilenet")):
        # Without gates and residual depthwise mixers, plain inverted residuals diverge at the higher rate.
        return msgspec.structs.replace(settings, lr=1e-3)
    if model_name.startswith(("deit", "swin")):
        # Built for one image size; and transformers want the lower rate of their papers.
        return msgspec.structs.replace(settings, lr=5e-4, sizes=(), size_epochs=0)
    return settings
