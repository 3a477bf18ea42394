"""Measured figures kept in the user's cache folder under the content they were measured on.

What was finished before an interruption, or by another command on the same graphs and images, is not measured again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import onnx

from edgevision.cache import Cache

#: Of what a row means: another number forgets all rows.
VERSION = 2
#: A row takes 40 bytes; far more than that are never needed at once.
MOST_BYTES = 16 << 20


class Figures(Protocol):
    """Figures by name, each computed once."""

    def get(self, key: str, compute: Callable[[], float]) -> float:
        """The figure of `key`, computed when it is new."""


class KeptRows:
    """Figures of one content.

    Args:
        content: everything the figures depend on.
    """

    def __init__(self, content: Iterable[bytes]) -> None:
        digest = hashlib.sha256(f"sensitivity {VERSION}".encode())
        for part in content:
            digest.update(hashlib.sha256(part).digest())
        self._content, self._cache = digest.digest(), Cache("sensitivity", most_bytes=MOST_BYTES)
        self._cache.trim()

    @staticmethod
    def of(graphs: Iterable[onnx.ModelProto], images: np.ndarray, *more: str) -> KeptRows:
        """Figures of graphs on images; `more` names what else they depend on."""
        parts = [graph.SerializeToString(deterministic=True) for graph in graphs]
        return KeptRows([*parts, np.ascontiguousarray(images).tobytes(), *(text.encode() for text in more)])

    def get(self, key: str, compute: Callable[[], float]) -> float:
        """The figure of `key`, computed and written down when it is new."""
        name = hashlib.sha256(self._content + key.encode()).hexdigest()
        known = self._cache.get(name)
        if known is not None:
            return float(struct.unpack("<d", known)[0])
        value = compute()
        self._cache.put(name, struct.pack("<d", value))
        return value
