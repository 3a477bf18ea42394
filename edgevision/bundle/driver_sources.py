"""The Python driver as files of a bundle: a module of this package and everything of the package it imports."""

from __future__ import annotations

import ast
from pathlib import Path

START = "edgevision.engine.onboard"
_PACKAGE = Path(__file__).resolve().parent.parent


def driver_sources() -> dict[str, bytes]:
    """Contents by path, as they lie below a folder that is on Python's path."""
    found: dict[str, bytes] = {}
    waiting = [START]
    while waiting:
        name = waiting.pop()
        path = _PACKAGE.joinpath(*name.split(".")[1:])
        path = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        if not path.is_file() or (key := path.relative_to(_PACKAGE.parent).as_posix()) in found:
            continue
        found[key] = path.read_bytes()
        # The packages on the way are imported too.
        waiting += [name.rpartition(".")[0]] if "." in name else []
        if path != _PACKAGE / "__init__.py":
            waiting += _imported(found[key])
    return found


def _imported(source: bytes) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == _PACKAGE.name:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names
