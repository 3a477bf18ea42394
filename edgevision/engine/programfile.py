"""The file of a program (hw/PROGRAM.md): a header in JSON, then the words, at a multiple of a burst."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from edgevision.engine.program import Program, ProgramHeader
from edgevision.engine.validate import LARGEST_PROGRAM, validated
from edgevision.errors import UsageError
from edgevision.files import write_atomic
from edgevision.target import Engine

MAGIC = b"EVENGINE"
ALIGNMENT = 128
LARGEST_HEADER = 1 << 24
_FIX = "compile the network again"


def write(program: Program, path: Path) -> None:
    """Write `program`.

    Raises:
        UsageError: the file cannot be written.
    """
    write_atomic(path, to_bytes(program))


def read(path: Path, engine: Engine) -> Program:
    """Read a program from a file nobody vouches for, and make sure `engine` can run it.

    Raises:
        UsageError: it is damaged or contradicts itself; every reason is named.
        Unsupported: it was made for another engine.
    """
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= 8 * LARGEST_PROGRAM + LARGEST_HEADER else b""
    except OSError as error:
        raise UsageError(f"cannot read the program: {error.strerror}", where=str(path)) from error
    return validated(from_bytes(data, str(path)), engine, str(path))


def to_bytes(program: Program) -> bytes:
    """The file's bytes."""
    text = msgspec.json.encode(program.header)
    head = MAGIC + len(text).to_bytes(4, "little") + text
    return head + bytes(-len(head) % ALIGNMENT) + program.words.astype("<u8").tobytes()


def from_bytes(data: bytes, where: str = "engine program") -> Program:
    """The program in `data`; its words are not looked at.

    Raises:
        UsageError: it is cut short, or its header is not one.
    """
    start = len(MAGIC) + 4
    size = int.from_bytes(data[len(MAGIC) : start], "little")
    if data[: len(MAGIC)] != MAGIC or len(data) < start or size > min(LARGEST_HEADER, len(data) - start):
        raise UsageError("expected an engine program, got another file or a part of one", where=where, fix=_FIX)
    try:
        header = msgspec.json.decode(data[start : start + size], type=ProgramHeader)
    except msgspec.DecodeError as error:
        raise UsageError(f"the header of the program: {error}", where=where, fix=_FIX) from error
    begin = -(-(start + size) // ALIGNMENT) * ALIGNMENT
    if len(data) - begin != 8 * header.words:
        raise UsageError(
            f"expected {8 * header.words} bytes of words, the file has {len(data) - begin}", where=where, fix=_FIX
        )
    return Program(header, np.frombuffer(data, "<u8", offset=begin).astype(np.uint64))
