"""What fits on chip."""

from __future__ import annotations

from edgevision.engine.calls import Pointwise, Spatial
from edgevision.target import Engine

#: Largest rows, pixels and strides the fields of a program hold.
LARGEST_FIELD = (1 << 31) - 1


def spatial_reasons(spatial: Spatial, engine: Engine) -> list[str]:
    """Why the line buffer's unit cannot do this."""
    reasons = []
    if spatial.width * spatial.planes > engine.line_vectors:
        reasons.append(
            f"a row of {spatial.width} pixels and {spatial.planes} planes, the line buffer has room for "
            f"{engine.line_vectors} vectors"
        )
    return reasons


def pointwise_reasons(pointwise: Pointwise, engine: Engine) -> list[str]:
    """Why the 1x1 array cannot do this."""
    reasons = []
    if pointwise.groups > engine.groups:
        reasons.append(f"{pointwise.groups} vectors of inputs for one pixel, the engine takes {engine.groups}")
    blocks = weight_blocks(pointwise, engine)
    if blocks > engine.weight_blocks:
        reasons.append(f"{blocks} blocks of weights, the engine has room for {engine.weight_blocks}")
    if padded_planes(pointwise.planes, engine) > engine.planes:
        reasons.append(f"{pointwise.planes} planes of results, the engine takes {engine.planes}")
    return reasons


def padded_planes(planes: int, engine: Engine) -> int:
    """Planes that the columns of the 1x1 array make for `planes` of them."""
    step = engine.columns // engine.lanes
    return -(-planes // step) * step


def weight_blocks(pointwise: Pointwise, engine: Engine) -> int:
    """Blocks of lanes x columns weights; also the cycles of one pixel."""
    outputs = padded_planes(pointwise.planes, engine) * engine.lanes // engine.columns
    return pointwise.groups * outputs * (2 if pointwise.halves else 1)
