"""Checkpoints: read without running anything they carry, matched key by key against the network.

A `.pth` or `.pt` file is opened with `weights_only=True`, so a pickle that holds code is refused before it runs. A
`.safetensors` file written by `save_weights` also carries its classes and preprocessing, so one file is enough.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from edgevision.data.preprocess import Preprocessing
from edgevision.errors import UsageError
from edgevision.files import sha256_of, write_atomic

#: Larger files are refused; the largest network of the zoo is 346 MB.
MAX_BYTES = 4 << 30
SCHEMA = "edgevision.weights/1"
_META_KEY = "edgevision"
_SHOWN = 20


class WeightsMeta(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a weights file says about itself.

    Attributes:
        model: zoo name the weights belong to.
        classes: class names in the order of the outputs.
        detail: how they were made: data set, seed, epochs, accuracy in percent.
    """

    model: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    detail: dict[str, str | int | float] = {}
    schema: str = SCHEMA


class WeightsReport(msgspec.Struct, frozen=True):
    """How a checkpoint met a network: tensors loaded, and the keys that did not fit, each with its reason."""

    path: str
    sha256: str
    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Every key of both sides was used."""
        return not (self.missing or self.unexpected or self.mismatched)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by key, and what the file says about itself when it is one of ours."""

    path: Path
    sha256: str
    state: dict[str, Tensor] = field(repr=False)
    meta: WeightsMeta | None = None

    def head_classes(self, *heads: str) -> int | None:
        """Rows of the first of the named linear layers or 1x1 convolutions that the file holds (as "head", "_fc")."""
        for head in heads:
            weight = self.state.get(f"{head}.weight")
            if weight is not None and weight.ndim >= 2 and set(weight.shape[2:]) <= {1}:
                return int(weight.shape[0])
        return None


def read_checkpoint(path: Path, *, max_bytes: int = MAX_BYTES) -> Checkpoint:
    """Read a `.pth`, `.pt` or `.safetensors` file; the state is under `model`, `state_dict` or bare.

    Raises:
        UsageError: the file is missing, larger than `max_bytes`, truncated, not a checkpoint, holds code, or its
            tensors are not plain numbers.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read the weights: {error.strerror}", where=str(path)) from error
    if not path.is_file():
        raise UsageError("expected a weights file, got something that is not a file", where=str(path))
    if size > max_bytes:
        raise UsageError(f"expected weights of at most {max_bytes:,} bytes, got {size:,}", where=str(path))
    meta: WeightsMeta | None = None
    state: Mapping[str, Any]
    if path.suffix == ".safetensors":
        state, meta = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt", ".bin"):
        state = _unwrapped(_read_torch(path, max_bytes), path)
    else:
        raise UsageError(f"expected .pth, .pt or .safetensors, got '{path.suffix}'", where=str(path))
    return Checkpoint(path, sha256_of(path), _plain(state, path), meta)


def load_weights(module: nn.Module, checkpoint: Checkpoint, *, strict: bool = True) -> WeightsReport:
    """Copy a checkpoint into `module`; with `strict`, nothing is copied unless every key fits.

    A key that names a buffer outside the state_dict may be there or not; where it is, its values must be the buffer's.

    Raises:
        UsageError: keys are missing, unexpected or of another shape or value (strict), or hold NaN or infinity.
    """
    own = module.state_dict()
    given = checkpoint.state
    # A checkpoint from before torch 0.4.1, or from another framework, has no batch counters; nothing depends on them.
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    # What a network computes from its configuration, and some releases store beside the weights.
    derived = {key: value for key, value in module.named_buffers() if key not in own}
    missing = tuple(key for key in own if key not in given and key not in counters)
    unexpected = tuple(key for key in given if key not in own and key not in derived)
    mismatched = tuple(
        f"{key}: the network has {tuple(own[key].shape)}, the file {tuple(value.shape)}"
        for key, value in given.items()
        if key in own and own[key].shape != value.shape
    )
    mismatched += tuple(
        f"{key}: the file holds {tuple(given[key].shape)}, which is not what the network computes"
        for key, value in derived.items()
        if key in given and not torch.equal(given[key].reshape(-1).to(value.dtype), value.reshape(-1))
    )
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    report = WeightsReport(str(checkpoint.path), checkpoint.sha256, len(fitting), missing, unexpected, mismatched)
    if strict and not report.exact:
        raise UsageError(
            f"the weights do not fit the network: {len(missing)} keys missing, {len(unexpected)} unexpected, "
            f"{len(mismatched)} of another shape or value",
            where=str(checkpoint.path),
            fix="choose the model the weights were trained for (edgevision list models)",
            reasons=[*_some("missing", missing), *_some("unexpected", unexpected), *_some("mismatch", mismatched)],
        )
    broken = [key for key, value in fitting.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UsageError(
            "the weights hold NaN or infinity", where=str(checkpoint.path), reasons=_some("not finite", broken)
        )
    module.load_state_dict(fitting, strict=False)
    return report


def save_weights(path: Path, module: nn.Module, meta: WeightsMeta) -> str:
    """Write the state of `module` and `meta` to one safetensors file, whole or not at all; return its sha256."""
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    content = safetensors.torch.save(state, metadata={_META_KEY: msgspec.json.encode(meta).decode()})
    write_atomic(path, content)
    return hashlib.sha256(content).hexdigest()


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], WeightsMeta | None]:
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            described = (file.metadata() or {}).get(_META_KEY)
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"the file is not whole safetensors: {error}", where=str(path), fix=_AGAIN) from error
    if described is None:
        return state, None
    try:
        meta = msgspec.json.decode(described, type=WeightsMeta)
    except msgspec.DecodeError as error:
        raise UsageError(f"the description inside the weights cannot be read: {error}", where=str(path)) from error
    if meta.schema != SCHEMA:
        raise UsageError(f"expected weights of schema {SCHEMA}, got {meta.schema}", where=str(path))
    return state, meta


_AGAIN = "download or copy the file again, and compare its size and sha256 with the source"


def _read_torch(path: Path, max_bytes: int) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > max_bytes:
                raise UsageError(f"expected at most {max_bytes:,} bytes unpacked, got {unpacked:,}", where=str(path))
        # Released checkpoints keep their training flags as a Namespace, which carries attributes and no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except Exception as error:
        # torch raises UnpicklingError for code it refuses, and a dozen other types for damaged bytes.
        code = _imports(path)
        if code:
            raise UsageError(
                f"the weights file holds code ({', '.join(code)}), which is refused and was not run",
                where=str(path),
                fix="save the tensors alone where the file came from: torch.save(model.state_dict(), path)",
            ) from error
        # torch wraps the cause in advice to read the file unsafely, which is not ours to give.
        cause = str(error.__context__ or error).strip() or type(error).__name__
        raise UsageError(
            f"the file is not a whole checkpoint: {cause.splitlines()[0][:160]}", where=str(path), fix=_AGAIN
        ) from error


#: What the tensors of a checkpoint need to be put together; anything else imported is code.
_HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\.\w*Storage|torch\.storage\.\w+|torch\._tensor\.\w+|collections\.OrderedDict|"
    r"torch\.(Size|Tensor|device|float\w*|bfloat16|int\w*|uint8|bool|nn\.parameter\.Parameter)|argparse\.Namespace"
)
_MOST_OPCODES = 1_000_000


def _imports(path: Path) -> list[str]:
    """What the pickle of a checkpoint imports besides tensors, read without running it; at most eight names."""
    found: list[str] = []
    strings: list[str] = []
    memo: dict[int, str] = {}
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = next(name for name in archive.namelist() if name.endswith("data.pkl"))
                stream = archive.read(inside)
        else:
            stream = path.read_bytes()
        for opcode, argument in islice(_opcodes(stream), _MOST_OPCODES):
            if opcode.name in ("GLOBAL", "INST"):
                found.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                found.append(".".join(strings[-2:]))
            elif opcode.name == "MEMOIZE" and strings:
                memo[len(memo)] = strings[-1]
            elif opcode.name in ("BINGET", "LONG_BINGET") and argument in memo:
                strings.append(memo[argument])
            elif isinstance(argument, str):
                strings.append(argument)
    except (ValueError, StopIteration, OSError, zipfile.BadZipFile, KeyError, UnicodeDecodeError, IndexError):
        # Damaged: what was found so far still counts.
        pass
    return [name for name in dict.fromkeys(found) if not _HARMLESS.fullmatch(name)][:8]


def _opcodes(stream: bytes) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    """Opcodes and arguments of the pickles that follow one another in `stream`, as in files of torch before 1.6."""
    file = io.BytesIO(stream)
    while file.tell() < len(stream):
        for opcode, argument, _ in pickletools.genops(file):
            yield opcode, argument


def _unwrapped(raw: Any, path: Path) -> Mapping[str, Any]:
    """The state inside `model` or `state_dict`, or the file itself; `module.` of multi-process training is cut."""
    for key in ("model", "state_dict"):
        if isinstance(raw, Mapping) and isinstance(raw.get(key), Mapping):
            raw = raw[key]
            break
    if not isinstance(raw, Mapping):
        raise UsageError(f"expected a dictionary of tensors, got {type(raw).__name__}", where=str(path))
    if raw and all(isinstance(key, str) and key.startswith("module.") for key in raw):
        raw = {key.removeprefix("module."): value for key, value in raw.items()}
    return raw


def _plain(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    wrong = [
        f"{key}: {type(value).__name__}" if not isinstance(value, Tensor) else f"{key}: {value.dtype}, {value.layout}"
        for key, value in state.items()
        if not isinstance(value, Tensor)
        or value.layout != torch.strided
        or value.is_complex()
        or value.is_quantized
        or value.is_meta
    ]
    if wrong or not state:
        raise UsageError(
            "expected a dictionary of plain tensors" + ("" if state else ", got an empty one"),
            where=str(path),
            fix="the state must be under 'model', under 'state_dict', or be the file itself",
            reasons=_some("not a plain tensor", wrong),
        )
    return {str(key): value for key, value in state.items()}


def _some(label: str, keys: Sequence[str]) -> list[str]:
    """The first keys as lines of an error, and how many were left out."""
    more = [f"{label}: and {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    return [f"{label}: {key}" for key in keys[:_SHOWN]] + more
