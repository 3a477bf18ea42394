"""Finished pieces of work, each a JSON file by name and identity: a run that was stopped does not do them again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgevision.files import write_atomic


def piece(work: Path, name: str, identity: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` returns, or returned before for the same `identity`."""
    path = work / f"{name}.json"
    # Through JSON also when new, so that a tuple is what is read back for it.
    identity = json.loads(json.dumps(identity))
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["identity"] == identity:
            return dict(kept["result"])
    text = json.dumps({"identity": identity, "result": make()}, indent=1)
    write_atomic(path, text + "\n")
    return dict(json.loads(text)["result"])
