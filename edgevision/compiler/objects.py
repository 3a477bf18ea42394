"""Kernels to object files, one each: from the cache where it has them, else compiled in child processes."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgevision.cache import Cache
from edgevision.compiler.children import Died, in_children
from edgevision.compiler.source import KernelSource
from edgevision.errors import Unsupported
from edgevision.progress import Progress, silent

#: Seconds one kernel may take; the slowest ones known take one.
KERNEL_SECONDS = 120.0
#: A child process is worth its start when it has this many kernels to do.
_PER_CHILD = 4
#: Passes that only concern blocks or GPUs, and take most of the time.
_FOR_BLOCKS = (
    "s_tir.CompactBufferAllocation",
    "s_tir.InjectPermutedLayout",
    "s_tir.InjectSoftwarePipeline",
    "s_tir.InjectVirtualThread",
    "s_tir.AnnotateIrregularLoop",
    "s_tir.HoistIfThenElse",
    "s_tir.InsertHoistIfThenElse",
)
_COMPILER = Path(__file__).parent
#: Files any kernel is made with, besides the one of its own generator.
_GENERATORS = (
    *sorted((_COMPILER / "kernels").glob("*.py")),
    *sorted((_COMPILER.parent / "graph").glob("*.py")),
    *(_COMPILER / name for name in ("simd.py", "source.py", "objects.py")),
)


def compile_kernels(
    kernels: Mapping[str, KernelSource],
    tvm_target: Any,
    *,
    layers: Mapping[str, Sequence[str]] | None = None,
    seconds: float = KERNEL_SECONDS,
    progress: Progress = silent,
) -> tuple[bytes, ...]:
    """One relocatable object file for each kernel, in the order of their names.

    The bytes do not depend on the cache, on the number of cores, or on which kernels are compiled together.

    Args:
        layers: labels of the steps that call a kernel, by its name, for errors.
        seconds: time one kernel may take.

    Raises:
        Unsupported: kernels that could not be compiled, each with its shapes and layers.
    """
    names = sorted(kernels)
    keys = {name: cache_key(kernels[name], tvm_target) for name in names}
    cache = Cache("kernels")
    found = {name: cache.get(keys[name]) for name in names}
    missing = [name for name in names if found[name] is None]
    kept = len(names) - len(missing)
    progress("compile kernels", kept, len(names), f"{kept} from the cache" if kept else "")
    if missing:
        results = in_children(
            lambda index: _compiled(kernels[missing[index]], tvm_target),
            len(missing),
            processes=min(len(os.sched_getaffinity(0)), math.ceil(len(missing) / _PER_CHILD)),
            seconds=seconds,
            done=lambda finished: progress("compile kernels", kept + finished, len(names)),
        )
        made = dict(zip(missing, results, strict=True))
        for name, result in made.items():
            if isinstance(result, bytes):
                cache.put(keys[name], result)
        cache.trim()
        found.update(_all_compiled(made, kernels, tvm_target, layers or {}))
    return tuple(content for name in names if (content := found[name]) is not None)


def cache_key(source: KernelSource, tvm_target: Any) -> str:
    """Hex digest of everything an object file follows from: specification, target, generators, versions."""
    maker = inspect.getsourcefile(inspect.unwrap(source.make)) or ""
    parts = [source.identity, _described(tvm_target), *_versions(), _files_hash((*_GENERATORS, Path(maker)))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def generators() -> str:
    """Hex digest of what generates and compiles kernels: as long as it stays, so do their times."""
    parts = [*_versions(), _files_hash(_GENERATORS)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _described(tvm_target: Any) -> str:
    return json.dumps({str(key): str(value) for key, value in tvm_target.export().items()}, sort_keys=True)


@functools.cache
def _versions() -> tuple[str, ...]:
    import tvm
    import tvm_ffi

    return tvm.__version__, tvm_ffi.__version__, str(tvm.target.codegen.llvm_version_major(allow_none=True))


@functools.cache
def _files_hash(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _compiled(source: KernelSource, tvm_target: Any) -> bytes:

    built = build_function(source.function(), tvm_target)
    with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
        path = Path(folder) / "kernel.o"
        built.write_to_file(str(path), "o")
        return path.read_bytes()


def build_function(function: Any, tvm_target: Any) -> Any:
    """Compile one TIR function, in this process; TVM's module."""
    import tvm

    if type(function.body).__name__ == "SBlockRealize":
        # TVM's own lowering: no order of a sum is promised, and LLVM makes no vectors of one it must keep.
        skipped: tuple[str, ...] = ()
        described = {**tvm_target.export(), "fast-math-reassoc": True}
        tvm_target = tvm.target.Target({k: v for k, v in described.items() if k not in ("tag", "keys")})
    else:
        # Our generators write neither blocks nor buffers to lower: the object file is the same without these passes.
        skipped = _FOR_BLOCKS
    with tvm.transform.PassContext(disabled_pass=list(skipped)):
        return tvm.tirx.build(tvm.IRModule({str(function.attrs["global_symbol"]): function}), target=tvm_target)


def _all_compiled(
    made: dict[str, bytes | Died],
    kernels: Mapping[str, KernelSource],
    tvm_target: Any,
    layers: Mapping[str, Sequence[str]],
) -> dict[str, bytes]:
    reasons = []
    for name, result in made.items():
        if isinstance(result, Died):
            labels = layers.get(name, ())
            of = f" of {', '.join(map(repr, labels[:3]))}{', ...' if len(labels) > 3 else ''}" if labels else ""
            reasons.append(f"{kernels[name].described()}{of}: {result.reason}")
    if reasons:
        described = tvm_target.export()
        words = [str(described[key]) for key in ("mtriple", "mcpu", "mattr") if described.get(key)]
        raise Unsupported(
            f"{len(reasons)} kernels could not be compiled; the compiler ran in a process of its own",
            where=" ".join(words),
            reasons=reasons,
            fix="change these layers' shapes or leave them out of the recipe (--keep-fp LAYER), or deploy for another "
            "target; please report the lines above",
        )
    return {name: result for name, result in made.items() if isinstance(result, bytes)}
