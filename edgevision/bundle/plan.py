"""plan.txt, written from a program: the format is defined in FORMAT.md, the strict reader is runner/plan.c."""

from __future__ import annotations

import hashlib

from edgevision.bundle.link import kernels_id
from edgevision.bundle.objects import symbol_of
from edgevision.compiler.program import ALIGNMENT, Program, Tensor
from edgevision.errors import UsageError

FORMAT_VERSION = 2
NO_FILE = "0" * 64


def plan_text(program: Program, kernels: bytes | None) -> str:
    """Return plan.txt for `program`.

    Args:
        kernels: content of kernels.so; None when the kernels are linked into the runner.

    Raises:
        UsageError: a tensor is misplaced; every one is named.
    """
    _check_places(program)
    lines = [
        f"edgevision-plan {FORMAT_VERSION}",
        f"arch {program.target.arch}",
        " ".join(["requires", *program.target.cpu.requires]),
        f"kernels {kernels_id(program)}",
        f"kernels.so {_size_and_hash(kernels)}",
        f"weights.bin {_size_and_hash(program.constants)}",
        f"arena {program.arena_bytes}",
        f"tensors {len(program.tensors)}",
    ]
    lines += [_words("tensor", t.place, t.offset, t.dtype, len(t.shape), *t.shape) for t in program.tensors]
    lines += [_words("inputs", len(program.inputs), *program.inputs)]
    lines += [_words("outputs", len(program.outputs), *program.outputs)]
    lines += [f"steps {len(program.steps)} {program.prepared}"]
    for step in program.steps:
        label = " ".join(step.label.split()).encode("ascii", "replace").decode()
        lines.append(_words("step", symbol_of(step.kernel), len(step.tensors), *step.tensors, label).rstrip())
    return "\n".join([*lines, "end", ""])


def _words(*words: object) -> str:
    return " ".join(str(word) for word in words)


def _size_and_hash(content: bytes | None) -> str:
    return f"0 {NO_FILE}" if content is None else f"{len(content)} {hashlib.sha256(content).hexdigest()}"


def _check_places(program: Program) -> None:
    reasons = []
    for index, tensor in enumerate(program.tensors):
        size = {"arena": program.arena_bytes, "constant": len(program.constants)}.get(tensor.place)
        if size is not None and not _fits(tensor, size):
            reasons.append(
                f"tensor {index}: {tensor.nbytes} bytes at offset {tensor.offset} of {tensor.place} ({size} bytes), "
                f"offsets being multiples of {ALIGNMENT}"
            )
    if reasons:
        raise UsageError("tensors of the plan are misplaced", where="program.tensors", reasons=reasons)


def _fits(tensor: Tensor, size: int) -> bool:
    return tensor.offset % ALIGNMENT == 0 and tensor.offset >= 0 and tensor.offset + tensor.nbytes <= size
