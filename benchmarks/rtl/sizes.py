"""Sizes at which the engine is synthesised: to fit the model of resources, and to be held out from it."""

from __future__ import annotations

import msgspec

from edgevision.engine.hardware import hardware
from edgevision.target import Engine


def fitted() -> dict[str, Engine]:
    """The engine of the PYNQ-Z2, and one of half the lanes and little memory."""
    board = hardware("pynq-z2")
    little = msgspec.structs.replace(
        board,
        lanes=8,
        columns=8,
        scale_lanes=4,
        line_vectors=32,
        weight_blocks=32,
        planes=6,
        groups=40,
        tile_vectors=16,
    )
    return {"pynq-z2": board, "little": little}


def held_out() -> dict[str, Engine]:
    """Sizes in between and beyond, of which the fit knows nothing."""
    board = hardware("pynq-z2")
    narrow = msgspec.structs.replace(
        board, lanes=8, columns=16, scale_lanes=8, line_vectors=512, weight_blocks=512, planes=64
    )
    wide = msgspec.structs.replace(board, columns=32, scale_lanes=16, tile_vectors=1024, axi_bits=128)
    return {"narrow": narrow, "wide": wide}
