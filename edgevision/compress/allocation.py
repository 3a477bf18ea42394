"""Bits for every layer at the least cost within a bound on the noise: an integer programme, solved by HiGHS.

Noise of layers quantised one at a time adds up at the output as long as it is small, so the noise of an assignment is
the sum over its layers (as in Yao et al., HAWQ-V3, arXiv 2011.10680, section 4). Exactly one width is chosen per layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

#: Seconds after which the best assignment found is taken.
SECONDS = 20.0


@dataclass(frozen=True)
class Choice:
    """One width of one layer: noise over signal at the output, and what it costs."""

    bits: int
    noise: float
    cost: float


def least_cost(options: Mapping[str, tuple[Choice, ...]], most_noise: float) -> dict[str, int] | None:
    """Bits by layer of the cheapest assignment whose noise is at most `most_noise`; None when there is none.

    Args:
        options: widths each layer can have; costs and noise are not negative.

    >>> layer = (Choice(4, 0.02, 1.0), Choice(8, 0.001, 2.0))
    >>> wide = (Choice(4, 0.02, 10.0), Choice(8, 0.001, 20.0))
    >>> least_cost({"a": layer, "b": wide}, 0.025), least_cost({"a": layer}, 0.0)
    ({'a': 8, 'b': 4}, None)
    """
    flat = [(layer, choice) for layer, choices in options.items() for choice in choices]
    if not flat:
        return {}
    rows = {layer: at for at, layer in enumerate(options)}
    one = coo_array(
        (np.ones(len(flat)), ([rows[layer] for layer, _ in flat], range(len(flat)))), shape=(len(rows), len(flat))
    )
    noise, cost = (np.array([getattr(choice, what) for _, choice in flat]) for what in ("noise", "cost"))
    # Both in units of their own bounds: the solver's tolerances are absolute.
    unit = max(most_noise, float(noise.max()) * 1e-9, 1e-300)
    result = milp(
        cost / max(float(cost.max()), 1e-300),
        constraints=[LinearConstraint(one, 1, 1), LinearConstraint(noise[None] / unit, -np.inf, most_noise / unit)],
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        options={"time_limit": SECONDS, "mip_rel_gap": 1e-4},
    )
    if result.x is None:
        return None
    return {layer: choice.bits for (layer, choice), taken in zip(flat, result.x, strict=True) if taken > 0.5}


def total(options: Mapping[str, tuple[Choice, ...]], bits: Mapping[str, int], what: str) -> float:
    """Sum of the "noise" or "cost" of an assignment."""
    return float(
        sum(
            getattr(choice, what)
            for name, choices in options.items()
            for choice in choices
            if choice.bits == bits[name]
        )
    )
