"""Which networks there are, and how one is made ready: built, given weights, and described."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
import torch
from torch import nn

from edgevision.config import nearest
from edgevision.data.metric import Metric
from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError
from edgevision.zoo import cas_vit, codenet, convnext, deit, efficientnet_lite, mobilenet_v2, resnet, swin, wave_net
from edgevision.zoo.exported import load_pt2
from edgevision.zoo.family import FORM, Alteration, Family, Wanted
from edgevision.zoo.model import InputSpec, Model, Provenance
from edgevision.zoo.user import load_onnx
from edgevision.zoo.weights import Checkpoint, load_weights, read_checkpoint

FAMILIES: tuple[Family, ...] = (
    *(file.FAMILY for file in (cas_vit, convnext, deit, efficientnet_lite, mobilenet_v2, resnet, swin, wave_net)),
    *codenet.FAMILIES,
)
_FAMILY_OF = {name: family for family in FAMILIES for name in family.names}
_ALIASES = {short: name for family in FAMILIES for short, name in family.aliases}
_FILES = (".onnx", ".pt2")
_IMAGENET_CLASSES = 1000


def names() -> list[str]:
    """The networks of the zoo; `cas_vit` alone is `cas_vit_xs`.

    >>> names()[:6]
    ['cas_vit', 'cas_vit_m', 'cas_vit_s', 'cas_vit_t', 'cas_vit_xs', 'codenet']
    """
    return sorted([*_ALIASES, *_FAMILY_OF])


def pretrained(name: str) -> bool:
    """Whether a package carries ImageNet weights of network `name`, installed or not.

    >>> pretrained("mobilenet_v2"), pretrained("deit_tiny")
    (True, False)
    """
    family = _FAMILY_OF.get(full_name(name))
    return family is not None and family.pretrained is not None


def metric_of(name_or_path: str) -> Metric | None:
    """What the accuracy of a network of the zoo is measured by; None for a file, of which the data says it.

    >>> metric_of("cas_vit"), metric_of("codenet_a"), metric_of("wave_net"), metric_of("net.onnx")
    ('top-1', 'AP50', 'fit', None)
    """
    family = _FAMILY_OF.get(full_name(name_or_path))
    return family.metric if family else None


def published_side(name: str) -> int:
    """Side of the images network `name` of the zoo was published with, in pixels.

    >>> published_side("codenet_e")
    512
    """
    return _FAMILY_OF[known_name(name)].preprocessing.height


def full_name(name: str) -> str:
    """The name a short form stands for; every other name is returned as it is.

    >>> full_name("cas_vit"), full_name("models/net.onnx")
    ('cas_vit_xs', 'models/net.onnx')
    """
    return _ALIASES.get(name, name)


def known_name(name: str) -> str:
    """The full name of a network of the zoo.

    Raises:
        UsageError: there is none of that name; the nearest is given.
    """
    full = full_name(name)
    if full not in names():
        raise UsageError(
            f"unknown model '{name}'{nearest(name, names())}",
            fix=f"one of: {', '.join(names())}; or the path of an .onnx or .pt2 file",
        )
    return full


def load_model(
    name_or_path: str,
    *,
    classes: tuple[str, ...] = (),
    weights: Path | Literal["random"] | None = None,
    image_size: int | None = None,
    preprocessing: Preprocessing | None = None,
    distillation_head: bool = False,
    alteration: Alteration | None = None,
    seed: int = 0,
) -> Model:
    """Make a network of the zoo, or a user's `.onnx` or `.pt2` file, ready for compression.

    Args:
        name_or_path: one of `names()`, or the path of an ONNX file or exported program.
        classes: class names in output order; without them those in the weights file, else as many as its head has.
        weights: a checkpoint; "random" or None draw them from `seed` (None gives a `pretrained` network its ImageNet
            weights from the package that carries them).
        image_size: height and width in pixels, a multiple of the family's stride; the default is that of the
            preprocessing.
        preprocessing: without it, that of the weights file, else the network's own.
        distillation_head: build CAS-ViT or DeiT with the second head when the weights do not say.
        alteration: changes the network before its weights are loaded; weights trained in another form do not fit.
        seed: of random weights.

    Raises:
        UsageError: unknown name (the nearest is given), a file that cannot be read, or weights that do not fit.
        Unsupported: a user's file with inputs, outputs or an opset this version cannot take.
        ToolMissing: the package with the ImageNet weights is not installed.

    >>> model = load_model("cas_vit", classes=("cat", "dog"), image_size=64)
    >>> model.name, model.input.shape, model.provenance.origin
    ('cas_vit_xs', (1, 3, 64, 64), 'random')
    """
    path = Path(name_or_path)
    if path.suffix in _FILES:
        if alteration is not None:
            raise UsageError(
                f"'{alteration.label}' changes a network before it is trained; a {path.suffix} file is trained already",
                where=str(path),
                fix="name a network of the zoo, or leave the step out of the recipe",
            )
        if weights is not None:
            raise UsageError(
                f"a {path.suffix} file brings its own weights",
                fix="leave out --weights and --random-weights; to train, name a network of the zoo",
                where=str(path),
            )
        if path.suffix == ".onnx":
            return load_onnx(path, image_size=image_size, preprocessing=preprocessing, classes=classes)
        model = load_pt2(path, preprocessing=preprocessing, classes=classes)
        if image_size is not None and model.input.shape[2:] != (image_size, image_size):
            height, width = model.input.shape[2:]
            raise UsageError(
                f"the exported program is fixed at {height}x{width}, asked for {image_size}x{image_size}",
                where=str(path),
                fix="leave out --image-size, or export it again at that size",
            )
        return model
    name = known_name(name_or_path)
    family = _FAMILY_OF[name]
    checkpoint = _checkpoint(name, family, weights, classes)
    _refuse_other_form(checkpoint, alteration)
    found = _classes(checkpoint, classes, family)
    known = checkpoint.meta.preprocessing if checkpoint and checkpoint.meta else family.preprocessing
    sized = _sized(preprocessing or known, image_size, family.stride)
    wanted = Wanted(
        name,
        (sized.height, sized.width),
        found if isinstance(found, int) else len(found),
        _second_head(name, family, checkpoint, asked=distillation_head),
    )
    module = _build(family, wanted, alteration, seed)
    if checkpoint is not None:
        state = checkpoint.state if family.adapt is None else family.adapt(checkpoint.state, module)
        load_weights(module, replace(checkpoint, state=state))
    return Model(
        name=name,
        input=InputSpec(name="input", shape=(1, 3, sized.height, sized.width)),
        preprocessing=sized,
        provenance=_provenance(checkpoint, seed),
        classes=() if isinstance(found, int) else found,
        module=module,
        metric=family.metric,
    )


def _checkpoint(name: str, family: Family, weights: Path | str | None, classes: tuple[str, ...]) -> Checkpoint | None:
    if weights is None and family.pretrained is not None and len(classes) in (0, _IMAGENET_CLASSES):
        return read_checkpoint(family.pretrained.find())
    if weights is None and family.pretrained is not None:
        raise UsageError(
            f"the ImageNet weights of {name} have {_IMAGENET_CLASSES} outputs, the data has {len(classes)} classes",
            fix=f"edgevision train --model {name} on this data, --weights FILE, or --random-weights to look at size "
            "and speed alone",
        )
    if weights is None or weights == "random":
        return None
    checkpoint = read_checkpoint(Path(weights))
    if checkpoint.meta is not None and checkpoint.meta.model != name:
        raise UsageError(
            f"expected weights of {name}, got weights of {checkpoint.meta.model}",
            where=str(weights),
            fix=f"--model {checkpoint.meta.model}",
        )
    return checkpoint


def _classes(checkpoint: Checkpoint | None, classes: tuple[str, ...], family: Family) -> tuple[str, ...] | int:
    """The class names, or how many there are when they have no names."""
    if checkpoint is None:
        return classes or family.classes
    rows = checkpoint.head_classes(*family.heads) or family.classes
    if classes and len(classes) != rows:
        raise UsageError(
            f"the data has {len(classes)} classes, the weights have a head of {rows}",
            where=str(checkpoint.path),
            fix="use the data the weights were trained on, or --random-weights to look at size and speed alone",
        )
    own = checkpoint.meta.classes if checkpoint.meta else ()
    if classes and own and classes != own:
        pairs = enumerate(zip(classes, own, strict=True))
        raise UsageError(
            "the data and the weights name their classes differently",
            where=str(checkpoint.path),
            reasons=[f"output {i}: data '{data}', weights '{file}'" for i, (data, file) in pairs if data != file][:20],
        )
    return classes or own or rows


def _second_head(name: str, family: Family, checkpoint: Checkpoint | None, *, asked: bool) -> bool:
    if len(family.heads) < 2:
        if asked:
            raise UsageError(f"{name} has no distillation head", fix="leave distillation_head out")
        return False
    return asked if checkpoint is None else f"{family.heads[1]}.weight" in checkpoint.state


def _refuse_other_form(checkpoint: Checkpoint | None, alteration: Alteration | None) -> None:
    """Raise when the weights were trained in another form of the network than the one asked for."""
    if checkpoint is None:
        return
    own = str(checkpoint.meta.detail.get(FORM, "")) if checkpoint.meta else ""
    wanted = alteration.label if alteration else ""
    if own != wanted:
        raise UsageError(
            f"expected weights trained {f'as {wanted}' if wanted else 'as the network is'}, got weights trained "
            f"{f'as {own}' if own else 'as the network is'}",
            where=str(checkpoint.path),
            fix=f"edgevision train with the same recipe, or a recipe that begins with "
            f"{own or 'no step before training'}",
        )


def _build(family: Family, wanted: Wanted, alteration: Alteration | None, seed: int) -> nn.Module:
    """Build with weights drawn from `seed`, without touching torch's global random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = family.build(wanted)
        return (alteration.apply(module) if alteration else module).eval()


def _sized(preprocessing: Preprocessing, image_size: int | None, stride: int) -> Preprocessing:
    """The preprocessing at `image_size`, its resize in proportion; sides must be multiples of `stride`."""
    if image_size is not None and (image_size, image_size) != (preprocessing.height, preprocessing.width):
        short = preprocessing.resize_short
        scaled = None if short is None else round(short * image_size / min(preprocessing.height, preprocessing.width))
        preprocessing = msgspec.structs.replace(preprocessing, height=image_size, width=image_size, resize_short=scaled)
    sides = (preprocessing.height, preprocessing.width)
    if any(side < stride or side % stride for side in sides):
        raise UsageError(
            f"expected an image size that is a multiple of {stride}, got {sides[0]}x{sides[1]}",
            fix=f"--image-size {max(stride, round(sides[0] / stride) * stride)}",
        )
    if preprocessing.channels != 3:
        raise UsageError(f"expected images of 3 channels, got {preprocessing.channels}", fix="channels = 3")
    return preprocessing


def _provenance(checkpoint: Checkpoint | None, seed: int) -> Provenance:
    if checkpoint is None:
        return Provenance(origin="random", detail={"seed": seed})
    detail = dict(checkpoint.meta.detail) if checkpoint.meta else {}
    return Provenance(origin=checkpoint.path.name, sha256=checkpoint.sha256, detail=detail)
