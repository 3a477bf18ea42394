"""Finished pieces of the benchmark on disk, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import edgevision
from edgevision.files import write_atomic


class Pieces:
    """Results in a folder, each found again by its name and everything it depends on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, inputs: dict[str, Any], make: Callable[[], Any]) -> Any:
        """The piece made from `inputs`, made now where it was not before; both must be JSON."""
        path = self.folder / f"{re.sub(r'[^a-zA-Z0-9_.-]+', '_', name)}-{key_of(inputs)}.json"
        if path.is_file():
            return json.loads(path.read_text())
        made = make()
        write_atomic(path, json.dumps(made, indent=1).encode())
        return made


def key_of(inputs: dict[str, Any]) -> str:
    """A short hash of JSON-able inputs, whatever their order.

    >>> key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1})
    True
    """
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


@cache
def source_hash(*parts: str) -> str:
    """Hash of this package's source, or of parts of it (folders, files): what a result depends on."""
    root = Path(edgevision.__file__).parent
    roots = [root / part for part in parts] or [root]
    files = [path for top in roots for path in (top.rglob("*") if top.is_dir() else [top])]
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.suffix in (".py", ".c", ".h")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
