"""`reproduce`: a bundle built again from what its manifest says, and compared byte for byte."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edgevision.api.choosing import usable
from edgevision.errors import Mismatch, UsageError
from edgevision.progress import Progress, silent
from edgevision.workspace import DEFAULT_OUT, Workspace

if TYPE_CHECKING:
    from edgevision.bundle import Manifest, Origin
    from edgevision.compress.compressed import Compressed


@dataclass(frozen=True)
class Reproduced:
    """A bundle whose bytes came out again.

    Attributes:
        identity: sha256 of both manifests.
        network: folder of the compressed network it was built from; None where that was made again too.
        files: whose hashes were compared.
    """

    bundle: Path
    identity: str
    network: Path | None
    files: int


def reproduce(
    bundle: Path | str | None = None,
    *,
    again: bool = False,
    model: Path | None = None,
    weights: Path | None = None,
    out: Path | str = DEFAULT_OUT,
    timeout: float = 60,
    progress: Progress = silent,
) -> Reproduced:
    """Build a bundle again in a temporary folder, for the target in its manifest, and compare every file.

    It is built from the compressed network it was made of where that still is in `out`; where it is not, or with
    `again`, the network is compressed again from its weights first.

    Args:
        bundle: a folder, or its name in `out`; the newest without it.
        again: compress again too.
        model: the `.onnx` or `.pt2` file of a network of the user's own, for compressing again.
        weights: the weights' file, where it is not in `out` any more.
        timeout: seconds to wait for a tuner's device.

    Raises:
        UsageError: no such bundle, or weights or data it was made of are not there.
        Mismatch: other bytes came out; versions that differ are named first, then files. Or the bundle is damaged.
        Unsupported, DoesNotFit, ToolMissing: it cannot be built here.
    """
    from edgevision import bundle as bundles
    from edgevision.api.deploying import build
    from edgevision.bundle.comparison import differing_files, differing_versions
    from edgevision.device.tuning import tuner_for

    workspace = Workspace(Path(out))
    first = bundles.load(workspace.find_bundle(str(bundle) if bundle else None))
    manifest = first.manifest
    minutes = manifest.tune_minutes
    tuner = None if minutes is None else tuner_for(None, manifest.target, minutes=minutes, timeout=timeout)
    with tempfile.TemporaryDirectory(prefix="edgevision-reproduce-") as scratch:
        found = None if again else _network(workspace, manifest.origin)
        network = found or _compressed_again(workspace, manifest, model, weights, Path(scratch, "network"), progress)
        made = build(
            network, manifest.target, Path(scratch, "bundle"), static=manifest.static, tuner=tuner,
            tune_minutes=minutes, progress=progress,
        )  # fmt: skip
        versions, files = differing_versions(manifest, made.manifest), differing_files(manifest, made.manifest)
        if versions or files or made.identity != first.identity:
            raise Mismatch(
                "other bytes came out than those of the bundle"
                if files
                else "every file came out the same, but other versions took part",
                where=str(first.folder),
                reasons=[*versions, *files][:40],
                fix=_fix(versions, tuned=minutes is not None),
            )
    return Reproduced(first.folder, first.identity, found.folder if found else None, len(manifest.files))


def _fix(versions: list[str], *, tuned: bool) -> str:
    if tuned:
        return "a search of loops gives the same again only from what the cache kept of it; deploy without --tune"
    if versions:
        return "install the versions the bundle was made with, and reproduce again"
    return (
        "the versions are the same: edgevision's own source, this machine's arithmetic (golden outputs of a float "
        "network), or the data may have changed; run again to see whether it differs from itself"
    )


def _network(workspace: Workspace, origin: Origin) -> Compressed | None:
    """The compressed network a bundle was made of, as long as it is in the work folder."""
    from edgevision.compress.compressed import Compressed

    known = usable(list(reversed(workspace.all_compressed())), Compressed.load, [])
    return next((network for network in known if network.info.onnx_sha256 == origin.onnx_sha256), None)


def _compressed_again(
    workspace: Workspace,
    manifest: Manifest,
    model: Path | None,
    weights: Path | None,
    place: Path,
    progress: Progress,
) -> Compressed:
    from edgevision.api.compressing import opened
    from edgevision.compress.apply import compress
    from edgevision.compress.factorize import alteration_of
    from edgevision.graph.export import export
    from edgevision.recipe import Recipe, load

    origin = manifest.origin
    recipe = load(origin.recipe)
    if origin.steps:
        recipe = Recipe(name=recipe.name, title=recipe.title, steps=origin.steps)
    shape = manifest.inputs[0].shape
    name, found = _sources(workspace, origin, model, weights)
    network, images = opened(
        name, found, origin.data or None, shape[2] if len(shape) == 4 else None, alteration_of(recipe), origin.seed,
        progress,
    )  # fmt: skip
    # A file that has moved is the same file.
    known = msgspec.structs.replace(network.provenance, origin=origin.weights)
    network = replace(network, name=origin.model, provenance=known)
    reasons = []
    if origin.data_sha256 is not None and (images is None or images.sha256 != origin.data_sha256):
        got = images.sha256[:12] if images else "none"
        reasons.append(f"data {origin.data}: expected sha256 {origin.data_sha256[:12]}, got {got}")
    if origin.weights_sha256 is not None and network.provenance.sha256 != origin.weights_sha256:
        got = (network.provenance.sha256 or "none")[:12]
        reasons.append(f"weights {origin.weights}: expected sha256 {origin.weights_sha256[:12]}, got {got}")
    if reasons:
        raise Mismatch("what the network was made of has changed", where=origin.model, reasons=reasons)
    return compress(
        network, recipe, export=export, out=place, data=images, keep_fp=origin.keep_fp, sensitivity=False,
        evaluate_limit=1 if images else None, seed=origin.seed, progress=progress,
    )  # fmt: skip


def _sources(
    workspace: Workspace, origin: Origin, model: Path | None, weights: Path | None
) -> tuple[str, Path | Literal["random"] | None]:
    """What to load the network from: its name or file, and its weights by their hash.

    Raises:
        UsageError: they are not there any more.
    """
    from edgevision import zoo

    own = origin.model not in zoo.names()
    if own:
        places = [model] if model else [Path(origin.weights)]
        found = _hashed(places, origin.weights_sha256)
        if found is None:
            raise UsageError(
                f"the file of network '{origin.model}' is not there any more, or has changed",
                where=origin.weights or origin.model,
                fix="--model FILE says where it is now",
            )
        return str(found), None
    if origin.weights_sha256 is None:
        return origin.model, "random" if origin.weights == "random" else None
    folder = workspace.root / "weights"
    places = [weights] if weights else [folder / origin.weights, *sorted(folder.glob("*.safetensors"))]
    found = _hashed(places, origin.weights_sha256)
    if found is None and zoo.pretrained(origin.model) and weights is None:
        return origin.model, None
    if found is None:
        raise UsageError(
            f"the weights of {origin.model} are not there any more, or have changed",
            where=str(weights or folder / origin.weights),
            reasons=[f"expected a file with sha256 {origin.weights_sha256[:12]}"],
            fix="--weights FILE says where they are now",
        )
    return origin.model, found


def _hashed(places: Iterable[Path], sha256: str | None) -> Path | None:
    """The first of some files that has a hash; any that exists where it is not known."""
    from edgevision.files import sha256_of

    return next((path for path in places if path.is_file() and sha256 in (None, sha256_of(path))), None)
