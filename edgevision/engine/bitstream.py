"""What a bitstream says of itself: the part, and the engine it holds as its user id (hw/scripts/vivado.tcl).

The head of a .bit file is a short preamble, then fields: a letter, the length in two bytes, a text that ends in zero;
"a" the design with `UserID=0X...`, "b" the part, "c" and "d" the date; "e" with four bytes of length is the rest.
"""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree
from dataclasses import dataclass, field

import numpy as np

from edgevision.engine.hardware import fingerprint
from edgevision.errors import Mismatch, UsageError
from edgevision.target import Engine

_PREAMBLE = bytes.fromhex("00090ff00ff00ff00ff000")
_SYNC = bytes.fromhex("aa995566")
LARGEST_BITSTREAM = 64 << 20


@dataclass(frozen=True)
class Bitstream:
    """Head and configuration words of a .bit file; `engine` is the fingerprint, or None where there is no user id."""

    part: str
    engine: str | None
    words: bytes = field(repr=False)


def read(data: bytes, where: str) -> Bitstream:
    """The bitstream in `data`.

    Raises:
        UsageError: it is no .bit file, or a part of one.
    """
    fields: dict[str, bytes] = {}
    at = len(_PREAMBLE) + 2
    try:
        if data[: len(_PREAMBLE)] != _PREAMBLE or len(data) > LARGEST_BITSTREAM:
            raise struct.error
        while "e" not in fields:
            key = data[at : at + 1].decode("ascii")
            (size,) = struct.unpack_from(">I" if key == "e" else ">H", data, at + 1)
            at += 5 if key == "e" else 3
            if key not in ("a", "b", "c", "d", "e") or at + size > len(data):
                raise struct.error
            fields[key] = data[at : at + size]
            at += size
        if at != len(data) or _SYNC not in fields["e"][:4096] or len(fields["e"]) % 4:
            raise struct.error
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise UsageError(
            "expected a bitstream, got another file or a part of one", where=where, fix="make -C hw bitstream"
        ) from error
    text = {key: value.rstrip(b"\0").decode("ascii", "replace") for key, value in fields.items() if key != "e"}
    found = re.search(r"UserID=0X([0-9A-F]{1,8})", text.get("a", ""), re.IGNORECASE)
    return Bitstream(text.get("b", ""), found[1].lower().zfill(8) if found else None, fields["e"])


def require(found: Bitstream, engine: Engine, where: str) -> None:
    """Refuse a bitstream that is not the one of `engine`.

    Raises:
        Mismatch: it is for another part, or holds another engine; both are named.
    """
    reasons = []
    # Vivado leaves out the family's "xc" and, of most parts, the speed grade.
    wanted, part = engine.part.removeprefix("xc"), found.part.removeprefix("xc")
    if wanted != part and not (part and wanted.startswith(f"{part}-")):
        reasons.append(f"expected one for part {engine.part}, got one for '{found.part}'")
    if found.engine != fingerprint(engine):
        reasons.append(f"expected engine {fingerprint(engine)} as user id, got {found.engine or 'none'}")
    if reasons:
        raise Mismatch(
            "the bitstream is not the one of this target's engine", where=where, reasons=reasons,
            fix="build it from the hw folder of the bundle: make -C hw bitstream",
        )  # fmt: skip


def swapped(found: Bitstream) -> bytes:
    """The configuration words as Linux's FPGA manager of the Zynq-7000 takes them: bytes of every word turned round."""
    return np.frombuffer(found.words, ">u4").astype("<u4").tobytes()


def window_of(hwh: bytes, where: str) -> tuple[int, int]:
    """Address and bytes of the engine's registers, from a hardware description (.hwh).

    Raises:
        UsageError: it is no XML, or names no engine.
    """
    try:
        # Entities would let a small file become a large one.
        if b"<!ENTITY" in hwh or len(hwh) > LARGEST_BITSTREAM:
            raise ValueError("it declares entities, or is too large")
        for one in xml.etree.ElementTree.fromstring(hwh).iter("MEMRANGE"):
            if one.get("INSTANCE") == "engine" and (one.get("MEMTYPE") or "REGISTER") == "REGISTER":
                low, high = int(one.get("BASEVALUE", ""), 16), int(one.get("HIGHVALUE", ""), 16)
                return low, high - low + 1
    except (xml.etree.ElementTree.ParseError, ValueError) as error:
        raise UsageError(f"expected a hardware description: {error}", where=where) from error
    raise UsageError(
        "the hardware description has no registers of an instance 'engine'", where=where,
        fix="take the engine.hwh that was written beside engine.bit",
    )  # fmt: skip
