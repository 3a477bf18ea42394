"""Files as Vivado writes them, as far as anything here reads them."""

from __future__ import annotations

import struct

from helpers.engines import Z2

from edgevision.engine.hardware import fingerprint

HWH = (
    b'<EDKSYSTEM><MODULES><MODULE><MEMORYMAP><MEMRANGE BASEVALUE="0x40000000" HIGHVALUE="0x4000FFFF" INSTANCE="engine" '
    b'MEMTYPE="REGISTER"/></MEMORYMAP></MODULE></MODULES></EDKSYSTEM>'
)


def bit(
    part: str = "7z020clg400", user: str = fingerprint(Z2), words: bytes = bytes.fromhex("ffffffffaa99556620000000")
) -> bytes:
    design = b"engine_wrapper" + (f";UserID=0X{user.upper()};Version=2022.2".encode() if user else b"") + b"\0"
    texts = {b"a": design, b"b": part.encode() + b"\0", b"c": b"2026/11/24\0", b"d": b"12:00:00\0"}
    head = bytes.fromhex("00090ff00ff00ff00ff00000") + b"\x01"
    head += b"".join(key + struct.pack(">H", len(text)) + text for key, text in texts.items())
    return head + b"e" + struct.pack(">I", len(words)) + words
