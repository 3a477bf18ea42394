"""From bundles and compressed networks on disk to engines that can take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision import bundle as bundles
from edgevision.bundle import Bundle
from edgevision.compress.compressed import Compressed
from edgevision.config import nearest
from edgevision.device.device import Device
from edgevision.errors import UsageError
from edgevision.profile.engines import BundleEngine
from edgevision.profile.rivals import RIVALS, RivalEngine, open_rival, takes_integers
from edgevision.recipe import Quantize, TrainQuantized

#: What a rival's row is called: it is given the network our bundle was made from.
VARIANTS = {"w8a8": "int8"}


@dataclass(frozen=True)
class Contender:
    """An engine and what its row says besides times.

    Attributes:
        bundle: set for an engine of ours.
        compressed: the network it runs; None when it is no longer there, then no rival can run it.
        reference: name of the engine its outputs are compared with, if it is there; None for a rival.
    """

    engine: BundleEngine | RivalEngine
    runtime: str
    artefact: str
    recipe: str
    size_bytes: int
    bundle: Bundle | None
    compressed: Compressed | None
    reference: str | None

    @property
    def onnx_sha256(self) -> str | None:
        """Hash of the network it runs, whether or not that is still there."""
        if self.bundle is not None:
            return self.bundle.manifest.origin.onnx_sha256
        return self.compressed.info.onnx_sha256 if self.compressed else None


def contenders(
    folders: Sequence[Path],
    networks: Sequence[Compressed],
    *,
    open_device: Callable[[Bundle], Device],
    against: Sequence[str],
    threads: int,
    broken: Sequence[str] = (),
) -> list[Contender]:
    """Load every bundle, push it to its own device, and open each rival on the same networks.

    Args:
        broken: networks that could not be read, one line each; shown when one is missed.

    Raises:
        UsageError: an unknown rival, one that can run none of the networks, no bundle, or bundles of different models.
        ToolMissing: a rival's package is not installed.
        Mismatch: a bundle is not what its manifest says.
        Unsupported: a device emulates its target.
    """
    loaded = [bundles.load(folder) for folder in folders]
    _refuse(loaded, against)
    by_graph = {network.info.onnx_sha256: network for network in networks}
    reference = "onnxruntime" if "onnxruntime" in against else next(iter(against), None)
    found: list[Contender] = []
    for one in loaded:
        network = by_graph.get(one.manifest.origin.onnx_sha256 or "")
        if against and network is None:
            raise UsageError(
                "the network this bundle was made from is gone or was compressed again, so no rival can run it",
                where=str(one.folder),
                reasons=broken,
                fix="deploy it again, or profile without --against",
            )
        found.append(_ours(one, network, open_device(one), threads, reference))
    for runtime in against:
        seen: set[str] = set()
        for ours in list(found):
            if ours.bundle and ours.compressed and ours.artefact not in seen and _takes(runtime, ours.compressed):
                seen.add(ours.artefact)
                found.append(_rival(runtime, ours.compressed, ours.bundle, threads))
        if not seen:
            raise UsageError(
                f"{runtime} cannot run a network quantised by us, and there is no float one to compare on",
                fix="edgevision compress --recipe fp32, edgevision deploy, and profile both: --all",
            )
    return found


def _ours(one: Bundle, network: Compressed | None, device: Device, threads: int, compared: str | None) -> Contender:
    recipe = one.manifest.origin.recipe
    name = f"edgevision {recipe}{' static' if one.manifest.static else ''}"
    artefact = network.folder.name if network else one.folder.name.split("@")[0]
    return Contender(
        engine=BundleEngine(name, one.folder, device, threads),
        runtime="edgevision",
        artefact=artefact,
        recipe=recipe,
        size_bytes=one.size_bytes,
        bundle=one,
        compressed=network,
        reference=_rival_name(compared, recipe) if network and compared else None,
    )


def _rival(runtime: str, network: Compressed, one: Bundle, threads: int) -> Contender:
    recipe = network.info.recipe.name
    sample = np.zeros(one.manifest.inputs[0].shape, np.float32)
    if one.manifest.golden:
        sample = np.array(one.golden(one.manifest.golden[0])[0])
    return Contender(
        engine=open_rival(runtime, _rival_name(runtime, recipe), network.onnx_path, threads, sample),
        runtime=runtime,
        artefact=network.folder.name,
        recipe=recipe,
        size_bytes=network.onnx_path.stat().st_size,
        bundle=None,
        compressed=network,
        reference=None,
    )


def _takes(runtime: str, network: Compressed) -> bool:
    integers = (Quantize, TrainQuantized)
    return takes_integers(runtime) or not any(isinstance(step, integers) for step in network.info.recipe.steps)


def _rival_name(runtime: str, recipe: str) -> str:
    return f"{runtime} {VARIANTS.get(recipe, recipe)}"


def _refuse(loaded: Sequence[Bundle], against: Sequence[str]) -> None:
    reasons = [f"unknown runtime '{name}'{nearest(name, RIVALS)}" for name in against if name not in RIVALS]
    if not loaded:
        reasons.append("no bundle was given")
    subjects = {(one.manifest.origin.model, one.manifest.origin.data) for one in loaded}
    if len(subjects) > 1:
        reasons += [
            f"one profile is about one model on one data set, got {model} on {data}" for model, data in subjects
        ]
    names = [(one.manifest.origin.recipe, one.manifest.static) for one in loaded]
    reasons += [f"two bundles of recipe {name}" for name, _ in sorted({n for n in names if names.count(n) > 1})]
    if reasons:
        raise UsageError(
            "these cannot be timed together", reasons=reasons, fix="name the bundles: edgevision profile A B"
        )
