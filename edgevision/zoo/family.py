"""What the zoo knows of a family of networks; each family's file ends with its own entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from edgevision.data.metric import Metric
from edgevision.data.preprocess import Preprocessing
from edgevision.zoo.packaged import PackagedWeights


@dataclass(frozen=True)
class Wanted:
    """One network to build.

    Attributes:
        name: of a variant of the family.
        size: height and width in pixels.
        classes: outputs of the head.
        second_head: with the family's second head (see `Family.heads`).
    """

    name: str
    size: tuple[int, int] = (224, 224)
    classes: int = 1000
    second_head: bool = False


#: Key of the detail of weights that were trained in an altered form; its value is the alteration's label.
FORM = "form"


@dataclass(frozen=True)
class Alteration:
    """A change of a network that comes before its training.

    Attributes:
        label: what weights trained in this form are told by.
        apply: changes a network just built; may draw from torch's random state.
    """

    label: str
    apply: Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Family:
    """Networks that share a file.

    Attributes:
        names: of the variants.
        preprocessing: as published.
        stride: image sides must be multiples of this, in pixels.
        heads: state_dict paths of the layers that give the classes; the second, where there is one, is that of
            distillation.
        build: makes one network, weights drawn from torch's random state.
        adapt: changes a checkpoint for the size of the network it is to be loaded into; None where none depends on it.
        pretrained: the ImageNet weights a package brings; None where no package does.
        aliases: short names, each with the variant it stands for.
        metric: what its accuracy is measured by; that decides the data it takes.
        classes: of the published network.
    """

    names: tuple[str, ...]
    preprocessing: Preprocessing
    stride: int
    heads: tuple[str, ...]
    build: Callable[[Wanted], nn.Module]
    adapt: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    pretrained: PackagedWeights | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    metric: Metric = "top-1"
    classes: int = 1000
