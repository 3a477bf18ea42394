"""A user's own `.pt2` exported program, opened only after every part of the archive was seen to be plain data.

`torch.export.load` falls back to a full unpickle for some parts and evaluates shape expressions as Python, so an
archive from a stranger could run code. What is let through here is an allow list: JSON, raw weights, tensors that load
with `weights_only=True`, ATen operators, and shape expressions of integers and symbols.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch

from edgevision.data.preprocess import Preprocessing
from edgevision.errors import Unsupported, UsageError
from edgevision.files import sha256_of
from edgevision.zoo.model import InputSpec, Model, Provenance
from edgevision.zoo.user import default_preprocessing

MAX_BYTES = 4 << 30
_ENTRY = re.compile(
    r"(archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|models/model\.json|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|data/(weights/weight|constants/tensor)_\d+|data/sample_inputs/model\.pt)"
)
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.\w+\.\w+|_operator\.\w+|torch\.sym_\w+")
_SYMBOL = re.compile(r"Symbol\('\w+'(, \w+=(True|False))*\)")
_ARITHMETIC = re.compile(r"([S\d\s+/()-]|\*(?!\*))*")
_FIX = (
    "export it again with torch.export.export(model.eval(), (example,)) and torch.export.save, in plain ATen operators"
)


def load_pt2(path: Path, *, preprocessing: Preprocessing | None = None, classes: tuple[str, ...] = ()) -> Model:
    """Read an exported network with one float32 input (N, C, H, W); it is used at batch 1.

    Raises:
        UsageError: not a whole `.pt2` archive, or one that holds pickled objects or code; all reasons at once.
        Unsupported: more than one input or output, another type or rank, or it cannot run at batch 1.
    """
    _refuse_code(path)
    try:
        program = torch.export.load(path)
    except Exception as error:
        # Schema, archive and operator errors have no common type.
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise UsageError(f"the exported program cannot be read: {first}", where=str(path), fix=_FIX) from error
    shape = _input_shape(program, path)
    module = program.module(check_guards=False)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    try:
        output = module(torch.zeros(shape))
    except Exception as error:
        raise Unsupported(
            f"the exported program does not run at batch 1: {error}", where=str(path), fix="export it with batch 1"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise Unsupported(f"expected one output tensor, got {type(output).__name__}", where=str(path))
    return Model(
        name=path.stem,
        input=InputSpec(name="input", shape=shape),
        preprocessing=preprocessing or default_preprocessing(shape),
        provenance=Provenance(origin=str(path), sha256=sha256_of(path)),
        classes=classes,
        module=module,
    )


def _refuse_code(path: Path) -> None:
    """Raise unless every entry of the archive is on the allow list and holds plain data."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise UsageError(f"expected at most {MAX_BYTES:,} bytes unpacked", where=str(path))
            reasons = list(_reasons(archive))
    except OSError as error:
        raise UsageError(f"cannot read the exported program: {error.strerror}", where=str(path)) from error
    except (zipfile.BadZipFile, msgspec.DecodeError, EOFError) as error:
        raise UsageError(f"the file is not a whole .pt2 archive: {error}", where=str(path), fix=_FIX) from error
    if reasons:
        shown = sorted(set(reasons))
        raise UsageError(
            "the exported program is refused and was not run", where=str(path), fix=_FIX, reasons=shown[:20]
        )


def _reasons(archive: zipfile.ZipFile) -> Iterator[str]:
    names = archive.namelist()
    root = names[0].split("/", 1)[0] + "/" if names else ""
    for name in names:
        inner = name.removeprefix(root)
        if not _ENTRY.fullmatch(inner) or names.count(name) > 1:
            yield f"unexpected part '{name[:80]}'"
        elif inner.endswith(".pt"):
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except Exception:
                # Whatever the reason, the loader behind this check would fall back to running it.
                yield f"'{name}' holds more than tensors"
        elif inner.endswith(".json"):
            yield from _json_reasons(msgspec.json.decode(archive.read(name)))


def _json_reasons(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _json_reasons(item)
    if not isinstance(value, dict):
        return
    if value.get("use_pickle"):
        yield "a weight or constant is stored as a pickle"
    if value.get("guards_code"):
        yield "it carries guard code"
    if "target" in value and "inputs" in value and not _OPERATOR.fullmatch(str(value["target"])):
        yield f"operator '{str(value['target'])[:80]}' is not an ATen operator"
    expression = value.get("expr_str")
    if expression is not None and not _ARITHMETIC.fullmatch(_SYMBOL.sub("S", str(expression))):
        yield f"shape expression '{str(expression)[:80]}' is more than arithmetic; export with static shapes"
    for item in value.values():
        yield from _json_reasons(item)


def _input_shape(program: torch.export.ExportedProgram, path: Path) -> tuple[int, ...]:
    names = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        raise Unsupported(f"expected one tensor input, got {len(inputs)}", where=str(path))
    value = inputs[0]
    sides = tuple(size if isinstance(size, int) else 0 for size in value.shape)
    reasons = []
    if value.dtype != torch.float32:
        reasons.append(f"expected a float32 input, got {value.dtype}")
    if len(sides) != 4 or sides[1] not in (1, 3) or 0 in sides[1:]:
        reasons.append(f"expected a static input (N, 1 or 3, H, W), got {tuple(str(s) for s in value.shape)}")
    elif sides[0] > 1:
        reasons.append(f"expected batch 1 or a free batch, got {sides[0]}")
    if reasons:
        raise Unsupported("this exported program cannot be taken as it is", where=str(path), reasons=reasons)
    return (1, *sides[1:])
