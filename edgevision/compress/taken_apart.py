"""A network with its convolutions in factors, as a recipe says: made before training or after, and trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from edgevision.compress.decompose import decompose
from edgevision.compress.factorize import plan, told
from edgevision.compress.fine_tune import fine_tune
from edgevision.compress.rank_search import least_energy
from edgevision.compress.work import Facts
from edgevision.data.metric import AnySet
from edgevision.progress import Progress
from edgevision.recipe import Decompose, Factorize, FineTune, Recipe


@dataclass
class TakenApart:
    """The network as it is after these steps, and what each has to say.

    Attributes:
        factors: of the step that made factors; a network factorized before training says what was done then.
        tuned: of the step that trained it on.
        accuracy: percent before it was taken apart, where that bounded the factors.
    """

    module: nn.Module
    factors: Facts = field(default_factory=Facts)
    tuned: Facts = field(default_factory=Facts)
    accuracy: float | None = None


def taken_apart(
    module: nn.Module,
    recipe: Recipe,
    *,
    model_name: str,
    data: AnySet | None,
    judge: Callable[[str, nn.Module], float],
    max_drop: float | None,
    folder: Path,
    seed: int,
    progress: Progress,
) -> TakenApart:
    """Apply the steps of `recipe` that make factors of convolutions or train these.

    Args:
        judge: accuracy in percent of a network, by a name it is kept under.
        max_drop: points that factors of a bound on accuracy may lose.
        folder: where a training is kept.

    Raises:
        AccuracyMissed, UsageError: see `rank_search` and `decompose`.
        Interrupted: ^C in a training.
    """
    made = TakenApart(module)
    for step in recipe.steps:
        began = time.monotonic()
        if isinstance(step, Factorize):
            made.factors = Facts(*told(plan(made.module, step)))
        elif isinstance(step, Decompose):
            _decompose(made, step, judge, max_drop or 0.0)
            made.factors = Facts(made.factors.change, made.factors.notes, seconds=time.monotonic() - began)
        elif isinstance(step, FineTune) and data is not None:
            made.module, change = fine_tune(
                made.module, module, step, data, model_name, folder=folder, seed=seed, progress=progress
            )
            made.tuned = Facts(change, seconds=time.monotonic() - began)
    return made


def _decompose(made: TakenApart, step: Decompose, judge: Callable[[str, nn.Module], float], max_drop: float) -> None:
    """With the energy of the step, or with as little as `max_drop` allows."""
    if step.energy != "auto":
        made.module, choices = decompose(made.module, step)
        made.factors = Facts(*told(choices, "after training"))
        return
    whole = made.accuracy = judge("whole", made.module)
    found = least_energy(
        made.module, step, lambda energy, module: judge(f"{step.method} at {energy:g}", module), whole - max_drop
    )
    change, notes = told(found.choices, "after training")
    note = (
        f"{100 * found.energy:g} % of the energy kept, {whole:.2f} to {found.accuracy:.2f} % accuracy; "
        f"{found.tried} shares tried"
    )
    made.module, made.factors = found.module, Facts(change, (note, *notes))
