"""manifest.json: what a bundle is, and sha256 and size of every file in it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import msgspec

from edgevision.data.metric import Metric
from edgevision.data.preprocess import Preprocessing
from edgevision.engine.deployed import ALWAYS, WITH_BITSTREAM
from edgevision.engine.figures import Figures
from edgevision.errors import Mismatch, ToolMissing, UsageError
from edgevision.recipe import Step
from edgevision.resources import shipped
from edgevision.target import Target

SCHEMA = "edgevision.bundle/1"
NAME = "manifest.json"

_MAX_MANIFEST_BYTES = 16 << 20
_MAX_FILES = 10_000
_MAX_FILE_BYTES = 4 << 30


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the bundle, by its path relative to the folder."""

    path: str
    size: int
    sha256: str


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name, shape and numpy type of an input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class StepInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one step of the plan computes; same order as in plan.txt.

    Attributes:
        operations: what is fused into the kernel, in order: "gelu+add".
    """

    label: str
    kernel: str
    family: str
    macs: int
    integer: bool
    operations: str = ""


class GoldenVector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input, the output it must give, and how far off a float output may be; integers must be equal."""

    input: str
    output: str
    tolerance: float


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a bundle came from: what the network is, what was done to it, and on what it was calibrated.

    Attributes:
        model, recipe: names as the command line takes them.
        input_name: name of the graph's input.
        classes: class names in the order of the outputs; empty when unknown.
        weights: where the weights came from, in words.
        onnx_sha256: hash of the compressed graph.
        weights_sha256: hash of the file the weights came from; None for random ones.
        steps: of the recipe, as they were applied.
        keep_fp: layers that were left in float.
        versions: packages that took part in compressing, by name.
        metric: what the network's accuracy is measured by; with "AP50" the output holds the maps of a detector.
    """

    model: str
    recipe: str
    seed: int
    input_name: str
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    data: str = ""
    data_sha256: str | None = None
    weights: str = ""
    onnx_sha256: str | None = None
    weights_sha256: str | None = None
    steps: tuple[Step, ...] = ()
    keep_fp: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    metric: Metric = "top-1"


class EngineInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The engine's part of a manifest.

    Attributes:
        fingerprint: of the engine the programs are for.
        bitstream: whether the bundle holds one.
        figures: of the network on that engine, modelled.
    """

    fingerprint: str
    bitstream: bool
    figures: Figures

    @property
    def files(self) -> tuple[str, ...]:
        """Files the bundle must hold for the engine."""
        return ALWAYS + (WITH_BITSTREAM if self.bitstream else ())


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of manifest.json.

    Attributes:
        numerics_version: version of quant/NUMERICS.md the integer kernels follow.
        arena_bytes, live_bytes: arena of the plan, and the lower bound no plan can go below.
        compiler: what linked the bundle.
        static: whether the kernels are inside the runner.
        engine: of a bundle that runs on the engine of an FPGA.
        built_with: packages that compiled it, by name.
        tune_minutes: how long faster loops were searched for; None where they were not.
    """

    schema: str
    origin: Origin
    target: Target
    static: bool
    compiler: str
    numerics_version: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    arena_bytes: int
    live_bytes: int
    weights_bytes: int
    macs: int
    steps: tuple[StepInfo, ...]
    golden: tuple[GoldenVector, ...]
    files: tuple[FileEntry, ...]
    engine: EngineInfo | None = None
    built_with: dict[str, str] = {}
    tune_minutes: float | None = None

    def encoded(self) -> bytes:
        """The file: the same manifest always gives the same bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2) + b"\n"


def numerics_version() -> int:
    """Version of the rounding specification this installation follows.

    Raises:
        ToolMissing: quant/NUMERICS.md is missing or has no version line.
    """
    path = shipped("quant") / "NUMERICS.md"
    found = re.search(r"^Version:\s*(\d+)", path.read_text(encoding="utf-8") if path.is_file() else "", re.MULTILINE)
    if found is None:
        raise ToolMissing(
            "expected a line 'Version: N' in the rounding specification, found none",
            where=str(path),
            fix="reinstall: pip install --force-reinstall edgevision, or run from a full checkout",
        )
    return int(found.group(1))


def read_manifest(folder: Path) -> Manifest:
    """Read and check manifest.json; no other file is touched.

    Raises:
        UsageError: no bundle there, unknown schema, or not the JSON of a manifest.
        Mismatch: names that leave the folder, sizes out of bounds, vectors or files listed twice; every reason.
    """
    path = folder / NAME
    try:
        size = path.lstat().st_size
        content = path.read_bytes() if size <= _MAX_MANIFEST_BYTES and not path.is_symlink() else b""
    except OSError as error:
        raise UsageError(
            f"cannot read the bundle: {error.strerror}", where=str(path), fix="edgevision deploy makes a bundle"
        ) from error
    if not content:
        raise UsageError(f"expected a file of 1 to {_MAX_MANIFEST_BYTES} bytes, got {size} or a link", where=str(path))
    try:
        schema = msgspec.json.decode(content, type=_SchemaOnly).schema
        if schema != SCHEMA:
            raise UsageError(
                f"expected schema {SCHEMA}, got {schema[:80]!r}",
                where=str(path),
                fix="use the version of edgevision that made the bundle, or deploy again",
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the file is not a manifest: {error}", where=str(path)) from error
    reasons = _doubts(manifest)
    if reasons:
        raise Mismatch("the manifest cannot be trusted", where=str(path), reasons=reasons[:20])
    return manifest


class _SchemaOnly(msgspec.Struct):
    schema: str


def plain(name: str) -> bool:
    """Whether `name` is a relative path that stays inside its folder and is written in the one normal way.

    >>> plain("golden/input_0.bin"), plain("../weights.bin"), plain("/etc/passwd"), plain("a//b")
    (True, False, False, False)
    """
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and str(PurePosixPath(name)) == name
        and not name.startswith("/")
        and all(part not in ("..", ".") and re.fullmatch(r"[A-Za-z0-9_.-]+", part) for part in parts)
    )


def _doubts(manifest: Manifest) -> list[str]:
    names = [entry.path for entry in manifest.files]
    reasons = [f"expected a plain relative name, got {name[:200]!r}" for name in names if not plain(name)]
    reasons += (
        [f"{name} is listed twice" for name in sorted({n for n in names if names.count(n) > 1})[:20]]
        if (len(names) <= _MAX_FILES)
        else [f"expected at most {_MAX_FILES} files, got {len(names)}"]
    )
    for entry in manifest.files:
        if not 0 <= entry.size <= _MAX_FILE_BYTES:
            reasons.append(f"{entry.path}: expected a size from 0 to {_MAX_FILE_BYTES}, got {entry.size}")
    if manifest.engine is None:
        needed = {"plan.txt", "weights.bin", "runner"} | (set() if manifest.static else {"kernels.so"})
    else:
        needed = {"runner", *manifest.engine.files}
    for vector in manifest.golden:
        needed |= {vector.input, vector.output}
    reasons += [f"the manifest does not list {name[:200]!r}" for name in sorted(needed - set(names))]
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1:
        reasons.append(f"expected one input and one output, got {len(manifest.inputs)} and {len(manifest.outputs)}")
    return reasons
