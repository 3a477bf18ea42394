"""The solver's costs by mesh, as the benchmark writes them."""

from __future__ import annotations

from typing import Any

import msgspec

from edgevision.data import wave_cost
from edgevision.data.wave import WaveSet


def solver_costs(data: WaveSet, count: int) -> dict[str, Any]:
    """`edgevision.data.wave_cost` by the name of the mesh."""
    return {f"refine {cost.refine}": msgspec.to_builtins(cost) for cost in wave_cost.solver_costs(data, count)}
