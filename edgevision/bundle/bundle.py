"""A bundle: the folder that is deployed, written whole or not at all, and checked before it is trusted."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevision.bundle.link import link_kernels, link_runner, link_static
from edgevision.bundle.manifest import (
    NAME,
    SCHEMA,
    FileEntry,
    GoldenVector,
    Manifest,
    Origin,
    StepInfo,
    TensorSpec,
    numerics_version,
    read_manifest,
)
from edgevision.bundle.objects import check_objects
from edgevision.bundle.plan import plan_text
from edgevision.bundle.toolchain import need_compiler
from edgevision.compiler.program import Program
from edgevision.errors import Mismatch, Unsupported, UsageError
from edgevision.files import folder_aside, refuse_overwrite, sha256_of, write_atomic
from edgevision.installed import versions_of

#: Packages that decide the bytes of a bundle, besides those that decide its network.
COMPILING = ("edgevision", "apache-tvm", "apache-tvm-ffi", "numpy", "onnx", "onnxruntime")

Golden = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Bundle:
    """A folder whose files are what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def identity(self) -> str:
        """Sha256 of the manifest, which names the hash of every other file."""
        return sha256_of(self.folder / NAME)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files but the golden vectors: what a board has to hold."""
        return sum(entry.size for entry in self.board_files if not entry.path.startswith("golden/"))

    @property
    def board_files(self) -> tuple[FileEntry, ...]:
        """Files a board needs: all but the sources of the engine."""
        return tuple(entry for entry in self.manifest.files if not entry.path.startswith("hw/"))

    def golden(self, vector: GoldenVector) -> tuple[np.ndarray, np.ndarray]:
        """Input and expected output of a golden vector.

        Raises:
            Mismatch: a file is not of the size its tensor has.
        """
        pairs = ((vector.input, self.manifest.inputs[0]), (vector.output, self.manifest.outputs[0]))
        first, second = (_tensor(self.folder / name, spec) for name, spec in pairs)
        return first, second


def write(
    program: Program,
    origin: Origin,
    out: Path,
    *,
    golden: Golden = (),
    tolerance: float = 1e-4,
    static: bool = False,
    tune_minutes: float | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Link `program` and write it as a bundle; the same arguments give the same bytes.

    Args:
        golden: inputs and the outputs they must give, in the shapes of the program's input and output.
        tolerance: largest absolute difference allowed in a float output; an integer output must be equal.
        static: link runner and kernels into one file. Targets with musl are always static.
        tune_minutes: how long loops of the program were searched for; for the manifest.

    Raises:
        ToolMissing: no C compiler for the target.
        Unsupported: the kernels need a TVM runtime, or the graph has more than one input or output.
        UsageError: `out` exists and `overwrite` is false, or a golden vector is not of the program's shape.
    """
    refuse_overwrite(out, overwrite=overwrite)
    static = static or program.target.libc == "musl"
    inputs, outputs = _specs(program, origin)
    _check_golden(golden, inputs[0], outputs[0])
    symbols = check_objects(program)
    compiler = need_compiler(program.target, static=static)
    kernels = None if static else link_kernels(program, compiler)
    files: dict[str, bytes] = {
        "plan.txt": plan_text(program, kernels).encode(),
        "weights.bin": program.constants,
        "runner": link_static(program, symbols, compiler) if kernels is None else link_runner(compiler),
    }
    if kernels is not None:
        files["kernels.so"] = kernels
    vectors = []
    exact = not np.issubdtype(np.dtype(outputs[0].dtype), np.floating)
    for index, (given, expected) in enumerate(golden):
        names = f"golden/input_{index}.bin", f"golden/output_{index}.bin"
        files[names[0]], files[names[1]] = raw(given), raw(expected)
        vectors.append(GoldenVector(*names, tolerance=0.0 if exact else tolerance))
    manifest = Manifest(
        schema=SCHEMA,
        origin=origin,
        target=program.target,
        static=static,
        compiler=compiler.version,
        numerics_version=numerics_version(),
        inputs=inputs,
        outputs=outputs,
        arena_bytes=program.arena_bytes,
        live_bytes=program.live_bytes,
        weights_bytes=len(program.constants),
        macs=sum(step.macs for step in program.steps),
        steps=tuple(
            StepInfo(s.label, s.kernel, s.family, s.macs, s.integer, s.operations)
            for s in program.steps[program.prepared :]
        ),
        golden=tuple(vectors),
        files=tuple(FileEntry(n, len(c), hashlib.sha256(c).hexdigest()) for n, c in sorted(files.items())),
        built_with=versions_of(COMPILING),
        tune_minutes=tune_minutes,
    )
    write_files(out, {**files, NAME: manifest.encoded()}, overwrite=overwrite)
    return Bundle(out, manifest)


def load(folder: Path) -> Bundle:
    """Read a bundle and check every file against the manifest before anything in it is used.

    Raises:
        UsageError: no bundle there, or a manifest that cannot be read.
        Mismatch: a file is missing, extra, a link, of another size or another hash; every reason.
    """
    manifest = read_manifest(folder)
    listed = {entry.path: entry for entry in manifest.files}
    reasons: list[str] = []
    found = _walk(folder, reasons)
    reasons += [f"{name} is missing" for name in sorted(listed.keys() - found.keys())]
    reasons += [
        f"{name[:200]!r} is not in the manifest; move it out of the folder"
        for name in sorted(found.keys() - listed.keys())
    ]
    for name in sorted(listed.keys() & found.keys()):
        entry = listed[name]
        if found[name] != entry.size:
            reasons.append(f"{name}: expected {entry.size} bytes, got {found[name]}")
        elif (got := sha256_of(folder / name)) != entry.sha256:
            reasons.append(f"{name}: expected sha256 {entry.sha256[:12]}, got {got[:12]}")
    if reasons:
        raise Mismatch(
            "the bundle is not what its manifest says",
            where=str(folder),
            reasons=reasons[:20],
            fix="copy it again, or make it again with edgevision deploy --overwrite",
        )
    return Bundle(folder, manifest)


def _walk(folder: Path, reasons: list[str]) -> dict[str, int]:
    """Sizes of all plain files below `folder` but the manifest; anything that is not one becomes a reason."""
    sizes = {}
    for at, folders, names in os.walk(folder, followlinks=False):
        for name in [*folders, *names]:
            path = Path(at) / name
            relative = path.relative_to(folder).as_posix()
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                sizes[relative] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                reasons.append(f"{relative[:200]!r} is a link or another thing that is not a file")
    sizes.pop(NAME, None)
    return sizes


def write_files(out: Path, files: dict[str, bytes], *, overwrite: bool) -> None:
    """Write a bundle's files, whole or not at all."""
    with folder_aside(out, overwrite=overwrite) as folder:
        for name, content in files.items():
            path = folder / name
            write_atomic(path, content)
            path.chmod(0o755 if name in ("runner", "kernels.so") else 0o644)


def _specs(program: Program, origin: Origin) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    if len(program.inputs) != 1 or len(program.outputs) != 1:
        raise Unsupported(
            f"expected a graph with one input and one output, got {len(program.inputs)} and {len(program.outputs)}",
            where=origin.model,
        )
    given, result = program.tensors[program.inputs[0]], program.tensors[program.outputs[0]]
    return (
        (TensorSpec(origin.input_name, given.shape, given.dtype),),
        (TensorSpec("output", result.shape, result.dtype),),
    )


def _check_golden(golden: Golden, given: TensorSpec, result: TensorSpec) -> None:
    reasons = [
        f"vector {index}: expected {spec.dtype} {spec.shape}, got {array.dtype} {array.shape}"
        for index, pair in enumerate(golden)
        for spec, array in zip((given, result), pair, strict=True)
        if array.shape != spec.shape or array.dtype != np.dtype(spec.dtype)
    ]
    if reasons:
        raise UsageError("the golden vectors are not of the program's shape", reasons=reasons)


def raw(array: np.ndarray) -> bytes:
    """The bytes of a tensor file, little-endian."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _tensor(path: Path, spec: TensorSpec) -> np.ndarray:
    content = path.read_bytes()
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    expected = int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
    if len(content) != expected:
        raise Mismatch(f"expected {expected} bytes for {spec.dtype} {spec.shape}, got {len(content)}", where=str(path))
    return np.frombuffer(content, dtype).reshape(spec.shape)
