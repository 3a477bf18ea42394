"""Where the package finds `quant/`, `targets/` and `hw/`: in the wheel, or beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

from edgevision.errors import ToolMissing

_PACKAGE = Path(__file__).resolve().parent


def shipped(room: str) -> Path:
    """Return the folder `room` ("quant", "targets" or "hw") of this installation.

    >>> shipped("targets").name
    'targets'
    """
    for folder in (_PACKAGE / "_shipped" / room, _PACKAGE.parent / room):
        if folder.is_dir():
            return folder
    raise ToolMissing(
        f"the package data folder '{room}' is missing from this installation",
        where=str(_PACKAGE),
        fix="reinstall: pip install --force-reinstall edgevision, or run from a full checkout",
    )
