"""`compress`: a recipe applied to a network, with the weights found for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgevision.api.step_times import step_times
from edgevision.api.subject import built_in_data, refuse_other_data, side_for
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent
from edgevision.workspace import DEFAULT_OUT, Workspace

if TYPE_CHECKING:
    from edgevision.compress.compressed import Compressed
    from edgevision.data.metric import AnySet
    from edgevision.zoo.family import Alteration
    from edgevision.zoo.model import Model


def compress(
    model: str = "cas_vit",
    recipe: str = "w8a8",
    *,
    data: str | None = None,
    out: Path | str = DEFAULT_OUT,
    weights: Path | None = None,
    random_weights: bool = False,
    image_size: int | None = None,
    keep_fp: Sequence[str] = (),
    max_drop: float | None = None,
    max_minutes: float | None = None,
    epochs: int | None = None,
    minimise: Literal["bytes", "latency"] | None = None,
    sensitivity: bool = True,
    full_sensitivity: bool = False,
    limit: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = silent,
) -> Compressed:
    """Apply a recipe to a network.

    Args:
        model: a name of the zoo, or the path of an `.onnx` or `.pt2` file.
        recipe: a recipe's name, or several joined with "+".
        data: "digits", "folder:PATH" or "imagenet:PATH", for a detector "shapes", "voc:PATH" or "coco:PATH", for fields
            "wave" or "wave:FILE.toml", to calibrate on and to measure accuracy with. Without it, the data the weights
            in `out` were trained on.
        weights: a checkpoint; without it, what `train` left in `out`.
        random_weights: use none, to look at size and speed alone.
        keep_fp: layers to leave in float.
        max_drop: points of accuracy that may be lost; more layers go back to float until it holds.
        max_minutes: time for that, for choosing bits and for the sensitivity ranking.
        epochs: of each step that trains; the recipe's without it.
        minimise: what a recipe that chooses bits makes least; the recipe's without it. Latency is that of the newest
            profile in `out` that timed the network as fp32 and w8a8 there, and modelled without one.
        sensitivity: rank the layers by what quantising them costs.
        full_sensitivity: blocks too, each also quantised alone, and the accuracy of all; slow.
        limit: test images to measure accuracy on; all without it.

    Raises:
        UsageError: unknown names, no weights, data that cannot be read, an output that is already there.
        AccuracyMissed: `max_drop` could not be held; the best point is kept.
        Unsupported, Mismatch: the network cannot be exported or quantised.
    """
    from edgevision import recipe as recipes
    from edgevision import zoo
    from edgevision.compress.apply import compress as apply
    from edgevision.compress.factorize import alteration_of
    from edgevision.data.open import known_data
    from edgevision.graph.export import export

    chosen = recipes.load(recipe)
    if epochs is not None:
        chosen = chosen.trained_for(epochs)
    if minimise is not None:
        chosen = chosen.minimising(minimise)
    if data:
        known_data(data)
    workspace = Workspace(Path(out))
    name = zoo.full_name(model)
    if data:
        refuse_other_data(name, data)
    altered = alteration_of(chosen)
    origin = find_weights(workspace, name, data, weights, random_weights=random_weights, altered=altered, recipe=recipe)
    spec = data or origin.data
    network, images = opened(name, origin.weights, spec, image_size, altered, seed, progress)
    return apply(
        network,
        chosen,
        export=export,
        out=workspace.compressed(network.name, spec, recipe),
        data=images,
        keep_fp=keep_fp,
        max_drop=max_drop,
        sensitivity=sensitivity,
        full_sensitivity=full_sensitivity,
        max_minutes=max_minutes,
        times=step_times(workspace, network.name, spec),
        evaluate_limit=limit,
        seed=seed,
        overwrite=overwrite,
        resume=resume,
        command=command,
        progress=progress,
    )


def opened(
    name: str,
    weights: Path | Literal["random"] | None,
    data: str | None,
    image_size: int | None,
    altered: Alteration | None,
    seed: int,
    progress: Progress,
) -> tuple[Model, AnySet | None]:
    """The network, and the data prepared the way the network wants it."""
    from edgevision import zoo
    from edgevision.data import open_set

    images = open_set(data, progress=progress) if data else None
    network = zoo.load_model(
        name,
        classes=images.classes if images else (),
        weights=weights,
        image_size=side_for(name, data, image_size) if data and weights == "random" else image_size,
        preprocessing=images.default_preprocessing if images and weights == "random" else None,
        alteration=altered,
        seed=seed,
    )
    if data and images and images.preprocessing != network.preprocessing:
        images = open_set(data, network.preprocessing, progress=progress)
    return network, images


@dataclass(frozen=True)
class WeightsOrigin:
    """Which weights a network gets, and the data they were trained on where that is known.

    Attributes:
        weights: a file, "random", or None for a network that brings its own.
    """

    weights: Path | Literal["random"] | None
    data: str | None = None


def find_weights(
    workspace: Workspace,
    model: str,
    data: str | None,
    weights: Path | None,
    *,
    random_weights: bool,
    altered: Alteration | None = None,
    recipe: str = "",
) -> WeightsOrigin:
    """Decide which weights `compress` uses; those of an altered network are kept under a name of their own.

    Raises:
        UsageError: two were given, or there are none; says how to train or name some.
    """
    from edgevision import zoo
    from edgevision.zoo.weights import read_checkpoint

    if weights is not None and random_weights:
        raise UsageError("expected --weights or --random-weights, got both", fix="leave one out")
    if weights is not None or random_weights:
        return WeightsOrigin(weights or "random")
    if Path(model).suffix in (".onnx", ".pt2"):
        return WeightsOrigin(None)
    folder, form = workspace.root / "weights", altered.label if altered else ""
    stem = workspace.form(model, form)
    if data:
        found = [path for path in [workspace.weights(model, data, form)] if path.is_file()]
    else:
        found = sorted(folder.glob(f"{stem}-*.safetensors"), key=lambda path: path.stat().st_mtime_ns)
    if found:
        meta = read_checkpoint(found[-1]).meta
        return WeightsOrigin(found[-1], str(meta.detail.get("data", "")) or None if meta else None)
    if zoo.pretrained(model) and altered is None:
        return WeightsOrigin(None)
    zoo.known_name(model)
    trained, flag = (f" trained as {form}", f" --recipe {recipe}") if form else ("", "")
    raise UsageError(
        f"there are no weights for {model}{trained}",
        where=str(workspace.weights(model, data, form) if data else folder / f"{stem}-*.safetensors"),
        fix=f"edgevision train --model {model}{flag} --data {data or built_in_data(model)}, or --weights FILE, or "
        "--random-weights to look at size and speed alone",
    )
