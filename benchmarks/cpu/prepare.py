"""The networks as files: float, and our own QDQ, with the images they are calibrated on and timed with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch

from benchmarks.common import progress
from benchmarks.cpu.catalogue import Network
from benchmarks.cpu.photographs import IMAGES, photographs
from benchmarks.cpu.pieces import source_hash
from edgevision import recipe, zoo
from edgevision.compress.binary_networks import binarised
from edgevision.compress.fold import fold_batch_norm
from edgevision.compress.quantize import quantize
from edgevision.data.dataset import Split
from edgevision.errors import ToolMissing, UsageError
from edgevision.files import write_atomic
from edgevision.graph.export import export
from edgevision.recipe import Binarize, Quantize
from edgevision.zoo.model import Model

#: What the files depend on; a change of the compiler alone leaves them, and the peers' files made from them.
_SOURCE = (
    "zoo", "compress", "data", "recipe.py",
    "graph/export.py", "graph/binary.py", "graph/binarybias.py", "graph/binaryfunctions.py",
    "graph/naming.py", "graph/simplify.py", "graph/userfile.py",
)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """One network in both forms.

    Attributes:
        plain: float ONNX file.
        ours: w8a8 as our recipe makes it, QDQ; None for a network measured in float alone.
        binary: the same network in one bit where that is asked for, w8a8 but for its binary layers. It is binarised as
            it is: trained, it would be as fast, and answer better.
        images: calibration inputs (1, C, H, W), float32; the first is the one that is timed.
    """

    plain: Path
    ours: Path | None
    images: tuple[np.ndarray, ...]
    binary: Path | None = None


def prepared(network: Network, work: Path, onnx_folder: Path | None) -> Prepared:
    """Export and quantise a network of the zoo, or a file `<name>.onnx` of `onnx_folder`; kept in the work folder.

    Raises:
        UsageError: neither has it.
    """
    source = onnx_folder / f"{network.name}.onnx" if onnx_folder else None
    given = str(source) if source and source.is_file() else network.name
    if given == network.name and network.name not in zoo.names():
        raise UsageError(f"no network '{network.name}' in the zoo{f' and no {source}' if source else ''}")
    folder = work / "networks" / f"{network.name}-{source_hash(*_SOURCE)}"
    plain, ours, binary = (folder / f"{network.name}-{kind}.onnx" for kind in ("fp32", "w8a8", "binary"))
    model = _loaded(given)
    split = photographs(model.preprocessing)
    images = tuple(image[None] for images, _ in split.batches(IMAGES) for image in images)
    if not plain.is_file():
        progress(f"export {network.name}", 1, 1)
        folder.mkdir(parents=True, exist_ok=True)
        _settle(model, images)
        write_atomic(plain, export(model).graph.SerializeToString())
    if network.threads_only:
        return Prepared(plain, None, images)
    if not ours.is_file():
        progress(f"quantise {network.name}", 1, 1)
        write_atomic(ours, quantize(onnx.load(str(plain)), _eight_bits(), split).SerializeToString())
    if network.binary and not binary.is_file():
        progress(f"binarise {network.name}", 1, 1)
        write_atomic(binary, _in_one_bit(model, images, split).SerializeToString())
    return Prepared(plain, ours, images, binary if network.binary else None)


def _eight_bits() -> Quantize:
    step = next(step for step in recipe.load("w8a8").steps if isinstance(step, Quantize))
    return msgspec.structs.replace(step, calibration_images=IMAGES)


def _in_one_bit(model: Model, images: Sequence[np.ndarray], split: Split) -> onnx.ModelProto:
    """What `bivit-full+w8a8` makes, without its training."""
    if model.module is None:
        raise UsageError("expected a network of the zoo, binarised before it is exported", where=model.name)
    _settle(model, images)
    module, _ = binarised(model.module, Binarize(part="all"))
    folded, _ = fold_batch_norm(module.eval(), torch.from_numpy(images[0]))
    return quantize(export(replace(model, module=folded)).graph, _eight_bits(), split)


def _settle(model: Model, images: Sequence[np.ndarray]) -> None:
    """Give batch norms that were never trained the statistics of `images`.

    With those they start from, random weights make every layer smaller than the one before, until the scales of a
    quantised network are a millionth of a trained one's.
    """
    untrained = [
        module
        for module in (model.module.modules() if model.module is not None else ())
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        and module.running_mean is not None
        and not torch.any(module.running_mean)
    ]
    for module in untrained:
        module.momentum = None  # the plain mean over all batches
        module.train()
    if untrained and model.module is not None:
        with torch.no_grad():
            model.module(torch.from_numpy(np.concatenate(images[:32])))
    for module in untrained:
        module.eval()


def _loaded(given: str) -> Model:
    try:
        return zoo.load_model(given)
    except ToolMissing:
        # Its trained weights are in a package that is not installed; speed does not depend on them.
        return zoo.load_model(given, weights="random")
