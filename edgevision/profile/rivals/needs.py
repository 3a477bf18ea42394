"""Runtimes are optional packages: what is missing is named with the command that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from edgevision.errors import ToolMissing


def need(package: str) -> ModuleType:
    """Import a runtime.

    Raises:
        ToolMissing: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ToolMissing(
            f"the runtime to compare with needs the Python package '{package}': {error}",
            fix="pip install 'edgevision[bench-cpu]'",
        ) from error
