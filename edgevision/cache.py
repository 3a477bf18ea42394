"""Things built once and kept in the user's cache folder: bounded, safe with several processes, checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

#: Bytes a cache may take before its oldest entries are removed, and what is left then.
MOST_BYTES = 512 << 20
_KEPT = 0.8


def cache_folder() -> Path:
    """Folder of things built once: $EDGEVISION_CACHE, else edgevision/ in the user's cache folder."""
    if os.environ.get("EDGEVISION_CACHE"):
        return Path(os.environ["EDGEVISION_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgevision"


class Cache:
    """Byte strings by key, below one folder.

    An entry is written aside and renamed, and begins with the sha256 of its key and content: one that was cut short,
    damaged or moved is removed and counts as missing. A folder that cannot be written, or that belongs to another
    user, only costs time: nothing is found in it and nothing is kept.

    Args:
        name: folder below `cache_folder()`.
        most_bytes: the entries not used for longest go when there is more.
    """

    def __init__(self, name: str, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = cache_folder() / name
        self._most_bytes = most_bytes

    def get(self, key: str) -> bytes | None:
        """What was put under `key`, a hex digest; None when there is nothing or it is damaged."""
        path = self._path(key)
        try:
            if not self._ours():
                return None
            entry = path.read_bytes()
            content = entry[32:]
            if entry[:32] != _check(key, content):
                path.unlink(missing_ok=True)
                return None
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep `content` under `key`."""
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._ours():
                return
            handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".aside.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_check(key, content) + content)
                Path(aside).replace(path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise

    def trim(self) -> None:
        """Remove the entries not used for longest, as far as the cache is larger than it may be."""
        found = []
        for path in self.folder.glob("*/*"):
            # Another process may be trimming too.
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._most_bytes:
            return
        for _, size, path in sorted(found):
            if total <= _KEPT * self._most_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _ours(self) -> bool:
        """Whether nobody else decides what is in the folder: machine code from it will run as this user."""
        return self.folder.stat().st_uid in (os.getuid(), 0) and not self.folder.stat().st_mode & 0o002


def _check(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + content).digest()
