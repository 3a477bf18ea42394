"""Which versions of packages are installed: part of what a result is said to follow from."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Installed versions by name; "unknown" for a package that is not installed."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"
