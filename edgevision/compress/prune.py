"""Which units of a trained network are redundant: what bypassing each costs, and which to take out for a share of time.

Taken out one by one, that of the least harm per time first, and all others are judged anew in the network that is left:
two blocks that each can go may not both (A-SDM, arXiv 2312.15516 and 2406.00210, reconstructed where the papers are
silent).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.compress.prune_units import (
    WAYS,
    Unit,
    Way,
    bypassed,
    find_units,
    inside,
    modelled_time,
    outermost,
)
from edgevision.compress.work import Rows
from edgevision.errors import Unsupported
from edgevision.progress import Progress, silent

#: Units below this share of the modelled time are not judged: they are many, and save little.
LEAST_SHARE = 0.01
#: After each removal only so many of the units that were the least harmful before are judged again.
JUDGED_AGAIN = 12


@dataclass(frozen=True)
class Score:
    """What bypassing a unit costs.

    Attributes:
        unit: which.
        way: the one of the two that harms less.
        harm: mean over images of KL(network || without the unit) for classes, else the squared difference of the
            outputs as a share of their squares.
        share: of the network's modelled time that is saved.
    """

    unit: Unit
    way: Way
    harm: float
    share: float

    @property
    def harm_per_share(self) -> float:
        """By this units are ranked."""
        return self.harm / self.share


@dataclass(frozen=True)
class Pruned:
    """A network with units taken out.

    Attributes:
        module: a copy; what is left in it has the weights it had.
        removed: in the order they went, each with its harm in the network of that moment.
        ranking: every unit of the whole network, the most redundant first.
        share: of the modelled time that is saved.
    """

    module: nn.Module
    removed: tuple[Score, ...]
    ranking: tuple[Score, ...]
    share: float


def prune_blocks(
    module: nn.Module,
    share: float,
    images: Tensor,
    *,
    classes: bool = True,
    rows: Rows | None = None,
    progress: Progress = silent,
) -> Pruned:
    """Take out units until at least `share` of the modelled time is saved.

    Args:
        module: trained; stays as it is.
        share: above 0, below 1.
        images: float32 (N, C, H, W), normalised; what harm is measured on.
        classes: whether the output is logits of classes.
        rows: where measured harms are kept, so that an interrupted run goes on.
        progress: told after every unit.

    Raises:
        Unsupported: no unit can be bypassed, or those that can do not add up to `share`.
    """
    whole = copy.deepcopy(module).eval()
    example = images[:1]
    total = modelled_time(whole, example)
    units = [unit for unit in find_units(whole, example) if unit.time >= LEAST_SHARE * total]
    most = sum(unit.time for unit in outermost(units)) / total
    if most < share:
        raise Unsupported(
            f"expected units that take {100 * share:.3g} % of the modelled time, got "
            + (f"{len(units)} that take {100 * most:.3g} %" if units else "none that keep their input's shape"),
            where=type(module).__name__,
            fix="ask for less, or prune channels",
        )
    with torch.inference_mode():
        wanted = whole(images)
    judge = _Judge(images, wanted, classes, total, rows or Rows())
    made, removed, ranking, saved = whole, list[Score](), tuple[Score, ...](), 0.0
    while saved < share:
        candidates = units if not removed else _left(ranking, removed)
        scored = judge.scores(made, candidates, removed, progress)
        ranking = ranking or scored
        # What a unit saves beyond what is missing counts for nothing.
        missing = share - saved
        best = min(scored, key=lambda one: one.harm / min(one.share, missing))
        made = copy.deepcopy(made)
        bypassed(made, best.unit.path, best.way)
        removed.append(best)
        saved = 1 - modelled_time(made, example) / total
    return Pruned(made, tuple(removed), ranking, saved)


@dataclass
class _Judge:
    images: Tensor
    wanted: Tensor
    classes: bool
    total: int
    rows: Rows

    def scores(
        self, module: nn.Module, units: Sequence[Unit], removed: Sequence[Score], progress: Progress
    ) -> tuple[Score, ...]:
        """The better way around each unit, the least harm per share of time first."""
        done = "+".join(f"{one.unit.path}:{one.way}" for one in removed)
        scored = []
        for number, unit in enumerate(units):
            progress("judge units", number, len(units), unit.path)
            harms = {way: self._kept(f"harm {done}+{unit.path}:{way}", module, unit, way) for way in WAYS}
            way = min(WAYS, key=harms.__getitem__)
            scored.append(Score(unit, way, harms[way], unit.time / self.total))
        progress("judge units", len(units), len(units))
        return tuple(sorted(scored, key=lambda one: one.harm_per_share))

    def _kept(self, key: str, module: nn.Module, unit: Unit, way: Way) -> float:
        return self.rows.get(key, lambda: self._harm(module, unit, way))

    def _harm(self, module: nn.Module, unit: Unit, way: Way) -> float:
        whole = module.get_submodule(unit.path)
        bypassed(module, unit.path, way)
        try:
            with torch.inference_mode():
                got = module(self.images)
        finally:
            module.set_submodule(unit.path, whole)
        if self.classes:
            logs = [each.log_softmax(-1) for each in (got, self.wanted)]
            return max(0.0, float(F.kl_div(logs[0], logs[1], reduction="batchmean", log_target=True)))
        return float((got - self.wanted).square().sum() / self.wanted.square().sum())


def _left(ranking: Sequence[Score], removed: Sequence[Score]) -> list[Unit]:
    """Units that are neither taken out nor inside or around one that is, the most redundant of them."""
    gone = [one.unit.path for one in removed]
    left = [
        one.unit
        for one in ranking
        if not any(inside(path, one.unit.path) or inside(one.unit.path, path) for path in gone)
    ]
    return left[:JUDGED_AGAIN]
