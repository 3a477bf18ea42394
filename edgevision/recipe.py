"""Recipes: what is done to a network, step by step, as data (`quant/recipes/*.toml`).

A recipe is a tuple of steps. Recipes compose left to right with `+`; the composed name is printed everywhere the
result is, so the same command gives the same file.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edgevision.config import nearest, read_toml
from edgevision.errors import UsageError
from edgevision.resources import shipped

Bits = Literal[8]


class FoldBatchNorm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fold_batch_norm"):
    """Fold every batch norm into its neighbour and two heads into one; exact."""


class QuantizeWeights(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="quantize_weights"
):
    """Store weights as integers, compute in float; needs no data."""

    bits: Bits = 8
    granularity: Literal["per_channel"] = "per_channel"


class Quantize(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="quantize"):
    """Post-training quantisation of weights and activations with NNCF on the ONNX graph."""

    #: Of layers but the first, the last and depthwise ones. Below 8, weights are chosen layer after layer so that the
    #: layer's output stays (`compress.reconstruct`); 4 bits are stored two to a byte.
    weight_bits: Literal[4, 8] = 8
    first_bits: Literal[4, 8] = 8
    last_bits: Literal[4, 8] = 8
    depthwise_bits: Literal[4, 8] = 8
    activation_bits: Bits = 8
    #: One scale for each output channel, or for the layer; activations have one for the tensor, but the inputs of
    #: depthwise layers one for each channel where weights do, and are asymmetric where `activations` says so.
    weights: Literal["symmetric_per_channel", "symmetric_per_tensor"] = "symmetric_per_channel"
    activations: Literal["asymmetric", "symmetric"] = "asymmetric"
    calibration_images: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256
    #: Activation ranges (`compress.ranges`): the extremes over all calibration images, or by histogram (slower; for
    #: networks with outliers). Scales per channel are always extremes.
    ranges: Literal["min_max", "percentile", "mse", "kl"] = "min_max"
    #: Correct the bias of each layer for the mean error of its quantised weights.
    bias_correction: bool = True


class Equalize(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="equalize"):
    """Cross-layer equalisation of convolutions (`compress.equalize`); needs no data."""

    #: Pairs with a Clip between them are left alone, which is exact, or the Clip is made a ReLU.
    clips: Literal["keep", "relu"] = "keep"


class Smooth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="smooth"):
    """Outlier channels of layer norms moved into the weights behind them (`compress.smooth`); exact."""

    alpha: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    calibration_images: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 64


class MixedPrecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mixed_precision"):
    """Behind `Quantize`: the bits of each layer's weights that cost least while accuracy stays within a bound.

    Widths are those with bytes and kernels of their own. Weights of 2 and 3 bits are stored in 4, of 5 to 7 in 8, and
    layers of one bit have to be trained (`Binarize`): none of them is offered.
    """

    bits: tuple[Literal[4, 8, 32], ...] = (4, 8, 32)
    minimise: Literal["bytes", "latency"] = "bytes"
    #: Points of accuracy that may be lost, where --max-drop does not say.
    max_drop: Annotated[float, msgspec.Meta(ge=0)] = 0.5


class TrainQuantized(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="train_quantized"):
    """Quantisation-aware training from the network's weights, batch norms folded.

    CoDeNet trains in the arithmetic of the integer engine; any other network as the graph that `Quantize` makes of it.
    """

    weight_bits: Literal[2, 3, 4, 5, 6, 7, 8] = 4
    #: Of the layer that reads the image.
    first_bits: Literal[2, 3, 4, 5, 6, 7, 8] = 8
    activation_bits: Bits = 8
    #: Moving averages of the extremes, or learned steps of weights and activations (LSQ).
    ranges: Literal["moving", "learned"] = "moving"
    #: Images the first ranges are taken from.
    calibration_images: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 64
    epochs: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 40
    #: Highest rate, and the rate of the last step; AdamW, cosine.
    lr: Annotated[float, msgspec.Meta(gt=0, le=1)] = 5e-4
    #: Share of the epochs after which statistics of batch norms and moving ranges stand still.
    settled: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class Binarize(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="binarize"):
    """Layers of one-bit weights, trained from the float network; BiViT (He et al., 2023, arXiv 2211.07091).

    Several such steps are stages: each starts from what the one before it trained, and the teacher of all is the float
    network. The first and last layer are binarised only when `layers` names them.

    Attributes:
        part: which layers (`compress.binary_networks`); "named" takes those of `layers` alone.
        activation_bits: of linear layers and pointwise convolutions outside attention: 1 signs them, 32 leaves them as
            they are. Attention of tokens is of one bit throughout.
        attention: softmax-aware, or signs of the logits.
        scales: of the weights, per output channel: learned, or the mean magnitude without gradient.
        row_scale: whether training keeps the scale of each attention row.
        distill: from the float network; else from the labels.
        layers: module paths to binarise besides.
        epochs, lr, warmup_epochs, weight_decay: of Adam with a cosine.
        augmentation: what suits the data, or that of DeiT for photographs.
    """

    part: Literal["attention", "mlp", "all", "named"]
    activation_bits: Literal[1, 32] = 1
    attention: Literal["softmax_aware", "sign"] = "softmax_aware"
    scales: Literal["learned", "mean"] = "learned"
    row_scale: bool = True
    distill: bool = True
    layers: tuple[str, ...] = ()
    epochs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 150
    lr: Annotated[float, msgspec.Meta(gt=0)] = 5e-4
    warmup_epochs: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    augmentation: Literal["data", "deit"] = "data"


class Factorize(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="factorize"):
    """Before training, make dense convolutions sums of `rank` products of one-way filters (arXiv 2304.04964).

    A layer whose factors are no smaller than its kernel stays dense, and the ledger says so.
    """

    #: Products per output filter; "auto" takes for each layer the largest that leaves at most `share` of its weights.
    rank: Annotated[int, msgspec.Meta(ge=1, le=64)] | Literal["auto"] = "auto"
    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2

    @property
    def label(self) -> str:
        """What distinguishes weights trained in this form from others.

        >>> Factorize(4).label, Factorize().label
        ('tensor-r4', 'tensor-auto-0.2')
        """
        return f"tensor-auto-{self.share:g}" if self.rank == "auto" else f"tensor-r{self.rank}"


class Decompose(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="decompose"):
    """After training, replace convolutions by the smallest factors that keep `energy` of their kernels.

    "cp" gives factorized layers of their own products per output filter; "tucker2", "tt" and "svd" give convolutions
    in a row. A layer whose factors are no smaller than its kernel stays dense.

    Attributes:
        energy: share of the sum of squares of a kernel that is kept at least; "auto" keeps as little as `--max-drop`
            allows, with the same share in every layer.
    """

    method: Literal["cp", "tucker2", "tt", "svd"] = "cp"
    energy: Annotated[float, msgspec.Meta(gt=0, le=1)] | Literal["auto"] = 0.95


class PruneBlocks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="prune_blocks"):
    """Take redundant blocks and branches out of a trained network and teach the rest their work (arXiv 2312.15516).

    Attributes:
        share: of the network's modelled time that is taken out at least.
        images: of the calibration split, on which harm is measured.
        incubate_epochs: that each part which lost something is trained alone inside the whole network; 0 leaves it out.
        epochs: that everything is trained after assembly.
        lr: highest rate of both; AdamW, cosine.
        feature_weight: of what a part hands on, beside the network's answers, while it is trained alone.
    """

    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.3
    images: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64
    incubate_epochs: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 2
    epochs: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 6
    lr: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-3
    feature_weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0


class FineTune(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fine_tune"):
    """Train a network whose layers were made factors on, all its weights; AdamW, cosine."""

    epochs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    lr: Annotated[float, msgspec.Meta(gt=0, le=1)] = 5e-4
    #: From the answers of the network before it was taken apart, in place of the labels; classifiers alone.
    distill: bool = False


Step = (
    FoldBatchNorm
    | QuantizeWeights
    | Equalize
    | Smooth
    | Quantize
    | MixedPrecision
    | TrainQuantized
    | Binarize
    | PruneBlocks
    | Factorize
    | Decompose
    | FineTune
)


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A named list of steps.

    >>> [type(step).__name__ for step in load("w8a8").steps]
    ['FoldBatchNorm', 'Quantize']
    """

    name: str
    title: str
    steps: tuple[Step, ...]

    def needs_data(self) -> bool:
        """Whether any step calibrates or trains on images."""
        return any(isinstance(step, Quantize | Smooth) for step in self.steps) or self.trains()

    def trains(self) -> bool:
        """Whether any step changes the weights by training."""
        return any(isinstance(step, TrainQuantized | Binarize | PruneBlocks | FineTune) for step in self.steps)

    def trained_for(self, epochs: int) -> Recipe:
        """The same with `epochs` in every step that trains, its warm-up at most a tenth of them.

        Raises:
            UsageError: no step trains.
        """
        if not self.trains():
            raise UsageError(
                f"recipe '{self.name}' trains nothing", fix="leave out --epochs; recipes that train take it"
            )
        steps: list[Step] = []
        for step in self.steps:
            if isinstance(step, Binarize):
                step = msgspec.structs.replace(step, epochs=epochs, warmup_epochs=min(step.warmup_epochs, epochs / 10))
            elif isinstance(step, TrainQuantized | PruneBlocks | FineTune):
                step = msgspec.structs.replace(step, epochs=epochs)
            steps.append(step)
        return msgspec.structs.replace(self, steps=tuple(steps))

    def minimising(self, what: Literal["bytes", "latency"]) -> Recipe:
        """The same with `what` made least by the step that chooses bits.

        Raises:
            UsageError: no step does.
        """
        if not any(isinstance(step, MixedPrecision) for step in self.steps):
            raise UsageError(
                f"recipe '{self.name}' chooses no bits", fix="leave out --minimise; the recipe 'mixed' takes it"
            )
        replace = msgspec.structs.replace
        steps = (replace(step, minimise=what) if isinstance(step, MixedPrecision) else step for step in self.steps)
        return replace(self, steps=tuple(steps))

    @property
    def before_training(self) -> Factorize | None:
        """The step that changes the network before it is trained; None where there is none."""
        return next((step for step in self.steps if isinstance(step, Factorize)), None)


def names() -> list[str]:
    """The recipes shipped with the package, in alphabetical order."""
    return sorted(path.stem for path in (shipped("quant") / "recipes").glob("*.toml"))


def load(name: str) -> Recipe:
    """Read recipe `name`; `a+b` composes recipes left to right, each step taken once.

    Raises:
        UsageError: unknown recipe (nearest name given), or a key or value the recipe file may not hold.
    """
    parts = [_load_one(part.strip()) for part in name.split("+")]
    if len(parts) == 1:
        return parts[0]
    steps: list[Step] = []
    for part in parts:
        steps += [step for step in part.steps if step not in steps]
    title = ", then ".join(part.title for part in parts)
    return Recipe(name="+".join(part.name for part in parts), title=title, steps=tuple(steps))


def _load_one(name: str) -> Recipe:
    path = shipped("quant") / "recipes" / f"{name}.toml"
    if name not in names():
        raise UsageError(
            f"unknown recipe '{name}'{nearest(name, names())}", fix=f"one of: {', '.join(names())}; or add {path}"
        )
    recipe = read_toml(path, Recipe)
    if recipe.name != name:
        raise UsageError(f"expected name = '{name}' as the file is called, got '{recipe.name}'", where=str(path))
    return recipe
