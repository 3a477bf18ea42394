"""What a step of a plan has to do, in figures a model of its time can use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    import onnx

    from edgevision.bundle import Bundle
    from edgevision.target import Target


class StepWork(msgspec.Struct, frozen=True):
    """One kernel call.

    Attributes:
        form: what the kernel does besides its family's own work: types of its tensors and fused operations.
        macs: multiply-accumulates.
        constants: bytes of weights and parameters it reads.
        read, written: bytes of activations, each storage once.
    """

    label: str
    family: str
    form: str
    integer: bool
    macs: int
    constants: int
    read: int
    written: int

    @property
    def touched(self) -> int:
        """Bytes it reads or writes."""
        return self.constants + self.read + self.written


class Touched(Protocol):
    """A tensor of a step."""

    @property
    def place(self) -> str:
        """ "input", "output", "arena" or "constant"."""

    @property
    def offset(self) -> int:
        """Where in its place."""

    @property
    def dtype(self) -> str:
        """Type of an element."""

    @property
    def nbytes(self) -> int:
        """Bytes."""


def work_of(
    label: str, family: str, operations: str, *, integer: bool, macs: int, tensors: Sequence[Touched]
) -> StepWork:
    """A step's work from the tensors of its call, inputs first; the last one is what it is for."""
    constants = {t.offset: t for t in tensors if t.place == "constant"}
    *given, result = tensors
    read = {(t.place, t.offset): t for t in given if t.place != "constant"}
    # One letter and the bits for each activation: what is read decides the loops as much as what is computed.
    types = ",".join(_short(t.dtype) for t in (*read.values(), result))
    return StepWork(
        label=label,
        family=family,
        form=f"{types} {operations}".strip(),
        integer=integer,
        macs=macs,
        constants=sum(t.nbytes for t in constants.values()),
        read=sum(t.nbytes for t in read.values()),
        written=result.nbytes,
    )


def works_of(bundle: Bundle) -> tuple[StepWork, ...]:
    """The work of every step of a bundle, in order.

    Raises:
        UsageError: plan.txt is not the plan of its manifest.
    """
    from edgevision.bundle.plan_reader import read_steps
    from edgevision.errors import UsageError

    described, tensors = bundle.manifest.steps, read_steps(bundle.folder / "plan.txt")
    if len(described) != len(tensors):
        raise UsageError(
            f"expected {len(described)} steps as the manifest has, got {len(tensors)}",
            where=str(bundle.folder / "plan.txt"),
            fix="edgevision deploy --overwrite",
        )
    return tuple(
        work_of(step.label, step.family, step.operations, integer=step.integer, macs=step.macs, tensors=touched)
        for step, touched in zip(described, tensors, strict=True)
    )


def works_before(model: onnx.ModelProto, target: Target) -> tuple[StepWork, ...]:
    """The work of every step a network would have on a target; nothing is built.

    Raises:
        Unsupported: it cannot be compiled.
    """
    from edgevision.compiler import outline

    return tuple(
        work_of(step.label, step.family, step.operations, integer=step.integer, macs=step.macs, tensors=tensors)
        for step, tensors in outline(model, target)
    )


def _short(dtype: str) -> str:
    """float32 as f32, uint8 as u8."""
    return dtype.replace("float", "f").replace("uint", "u").replace("int", "i").replace("bool", "b8")
