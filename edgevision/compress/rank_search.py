"""The smallest factors that keep the accuracy: one share of the energy for every layer, found by bisection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from torch import nn

from edgevision.compress.decompose import decompose
from edgevision.compress.factorize import LayerChoice
from edgevision.errors import AccuracyMissed, UsageError
from edgevision.recipe import Decompose

#: Shares of the energy that are tried; what a share costs in accuracy says less than a step of these.
ENERGIES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Found:
    """A network in factors, and the share of energy that made it."""

    module: nn.Module
    choices: tuple[LayerChoice, ...]
    energy: float
    accuracy: float
    tried: int


def least_energy(
    module: nn.Module, step: Decompose, accuracy: Callable[[float, nn.Module], float], least: float
) -> Found:
    """Take `module` apart with the least energy whose accuracy is `least` or more, taking more energy as never worse.

    Args:
        accuracy: percent of a network taken apart with this energy.

    Raises:
        AccuracyMissed: not even the largest share tried, at which factors are still fewer than weights, keeps it.
        UsageError: no convolution is smaller in factors at any share.
    """
    low, high, best, tried = 0, len(ENERGIES) - 1, None, 0
    closest = (-1.0, 0.0)
    refusal: UsageError | None = None
    while low <= high:
        middle = (low + high) // 2
        energy = ENERGIES[middle]
        try:
            made, choices = decompose(module, msgspec.structs.replace(step, energy=energy))
        except UsageError as error:
            # Nothing is smaller with this share, and so with none above.
            refusal, high = error, middle - 1
            continue
        tried += 1
        got = accuracy(energy, made)
        closest = max(closest, (got, energy))
        if got >= least:
            best, high = Found(made, choices, energy, got, tried), middle - 1
        else:
            low = middle + 1
    if best is not None:
        return Found(best.module, best.choices, best.energy, best.accuracy, tried)
    if refusal is not None and not tried:
        raise refusal
    raise AccuracyMissed(
        f"expected {least:.2f} % or more of the network in factors, the best of {tried} tried has {closest[0]:.2f}",
        where=f"{step.method}, {100 * closest[1]:g} % of the energy",
        fix="raise --max-drop, or train the factors on: a recipe with the steps 'decompose' and 'fine_tune'",
    )
