"""What is left of a pruned network taught to do the work of the whole: part by part inside it, then all together.

A part is the block whose units were taken out, or the row of blocks where a whole one went. Incubation puts the part
into the frozen network in place of its own and trains it alone, to answer like the network and to hand on what the
whole part does; parts are independent of each other. Assembly puts the incubated parts together and trains everything
for a while (A-SDM, arXiv 2312.15516 and 2406.00210, after papers that could not be read in full).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgevision.compress.binary_stages import frozen
from edgevision.compress.distillation import Distillation
from edgevision.compress.kept_training import kept_training
from edgevision.compress.prune import Pruned, Score, prune_blocks
from edgevision.compress.prune_units import bypassed, inside
from edgevision.compress.task import Classification
from edgevision.compress.train_settings import TrainSettings, default_settings, fitted
from edgevision.compress.work import Rows
from edgevision.data.dataset import DataSet
from edgevision.data.metric import AnySet, Metric
from edgevision.progress import Progress, silent
from edgevision.recipe import PruneBlocks
from edgevision.zoo.model import Model

#: Units of the ranking that the ledger names.
NAMED = 12


def pruning_stage(
    model: Model,
    step: PruneBlocks,
    data: AnySet,
    *,
    folder: Path,
    name: str,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress = silent,
) -> tuple[Model, tuple[str, ...]]:
    """Take redundant units out of `model`, incubate what is left of their parts and train the assembled network.

    What is finished is kept in `folder`, part by part, and read back; an interrupted training goes on after its last
    whole epoch.

    Args:
        model: the trained network, the teacher of everything.
        data: with train and calibration splits and the network's preprocessing.
        folder: where `<name>.*` is kept.
        seed: of order and augmentation.
        threads: of torch; None leaves its own choice.

    Raises:
        Unsupported: see `prune_blocks`.
        Interrupted: ^C.
    """
    if model.module is None or not isinstance(data, DataSet):
        raise TypeError("admission lets only torch classifiers and labelled images through")
    batches = [torch.from_numpy(x) for x, _ in data.split("calibration").batches(16, limit=step.images)]
    rows = Rows.at(folder / f"{name}.rows.jsonl")
    pruned = prune_blocks(model.module, step.share, torch.cat(batches), rows=rows, progress=progress)
    teacher, made = frozen(model.module), pruned.module
    learn = functools.partial(kept_training, data=data, folder=folder, seed=seed, progress=progress)
    parts = parts_of(pruned) if step.incubate_epochs else ()
    alone = _settings(model.name, data, step, step.incubate_epochs, threads)
    together = _settings(model.name, data, step, step.epochs, threads)

    def inside_teacher(part: str) -> Incubation:
        return Incubation(Classification(data, alone), Observed(teacher, part), step.feature_weight)

    for part, units in parts:
        student = copy.deepcopy(teacher)
        for score in units:
            bypassed(student, score.unit.path, score.way)
        learn(
            Observed(student, part), settings=alone, name=f"{name}.{part}", part=f"network.{part}",
            task=functools.partial(inside_teacher, part),
        )  # fmt: skip
        made.get_submodule(part).load_state_dict(student.get_submodule(part).state_dict())
    if step.epochs:
        learn(
            made, settings=together, name=f"{name}.assembled",
            task=lambda: Distillation(Classification(data, together), teacher),
        )  # fmt: skip
    return replace(model, module=made.eval()), _told(pruned, parts, step)


def parts_of(pruned: Pruned) -> tuple[tuple[str, tuple[Score, ...]], ...]:
    """Parts that are incubated, each with the units it lost: the nearest module around a unit that has weights left.

    A part inside another one goes with it; the whole network is no part.
    """
    homes: dict[str, list[Score]] = {}
    for score in pruned.removed:
        path = score.unit.path
        while path and not any(True for _ in pruned.module.get_submodule(path).parameters()):
            path = path.rpartition(".")[0]
        if path:
            homes.setdefault(path, []).append(score)
    outermost = [path for path in sorted(homes) if not any(inside(path, other) for other in homes if other != path)]
    return tuple(
        (part, tuple(score for path in homes if inside(path, part) for score in homes[path])) for part in outermost
    )


def _settings(
    model_name: str, data: DataSet, step: PruneBlocks, epochs: int, threads: int | None = None
) -> TrainSettings:
    """The network's own augmentation, the step's rate and epochs, and no units dropped at random besides."""
    usual = fitted(default_settings(model_name, data.spec), len(data.split("train")), lr=step.lr)
    return msgspec.structs.replace(
        usual,
        epochs=epochs,
        warmup_epochs=min(usual.warmup_epochs, epochs / 10),
        drop_path=0.0,
        sizes=(),
        threads=threads,
    )


class Observed(nn.Module):
    """A network that also tells what one part of it hands on."""

    def __init__(self, network: nn.Module, part: str) -> None:
        super().__init__()
        self.network, self.part = network, part

    def forward(self, x: Tensor) -> tuple[Any, Tensor]:
        """What the network gives, and what the part gives."""
        seen: list[Tensor] = []
        handle = self.network.get_submodule(self.part).register_forward_hook(lambda _m, _i, out: seen.append(out))
        try:
            return self.network(x), seen[0]
        finally:
            handle.remove()


@dataclass
class Incubation:
    """Divergence of the answers, and squared difference of what the part hands on as a share of its variance."""

    images: Classification
    teacher: Observed
    feature_weight: float
    metric: Metric = "top-1"

    def batch(self, chosen: np.ndarray, size: int | None, generator: torch.Generator) -> tuple[Tensor, Any]:
        """Images; the teacher's log-probabilities and what its part hands on."""
        images, _ = self.images.batch(chosen, size, generator)
        with torch.no_grad():
            answers, features = self.teacher(images)
            return images, (answers.log_softmax(-1), features)

    def loss(self, outputs: tuple[Any, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
        """The weighted sum of both terms."""
        answers, features = outputs
        head = answers[0] if isinstance(answers, tuple) else answers
        wanted, handed = targets
        divergence = F.kl_div(head.log_softmax(-1), wanted, reduction="batchmean", log_target=True)
        error = (features - handed).square().mean() / handed.var().clamp(min=1e-12)
        return divergence + self.feature_weight * error


def _told(pruned: Pruned, parts: Sequence[tuple[str, Sequence[Score]]], step: PruneBlocks) -> tuple[str, ...]:
    """The ledger's line and its notes."""
    removed = ", ".join(f"{one.unit.path} ({_way(one)}, {100 * one.share:.1f} %)" for one in pruned.removed)
    ranking = "; ".join(
        f"{one.unit.path} {one.harm:.3g} for {100 * one.share:.1f} % ({_way(one)})" for one in pruned.ranking[:NAMED]
    )
    incubated = ", ".join(part for part, _ in parts) or "nothing"
    count, share = f"{len(pruned.removed)} of {len(pruned.ranking)}", f"{100 * pruned.share:.1f} %"
    count, share = f"{len(pruned.removed)} of {len(pruned.ranking)}", f"{100 * pruned.share:.1f} %"
    return (
        f"{count} units taken out, {share} of the modelled time",
        f"taken out: {removed}",
        f"most redundant before anything went, divergence for share of time: {ranking}",
        f"incubated {step.incubate_epochs} epochs: {incubated}",
        f"all trained {step.epochs} epochs against the whole network's answers, rate {step.lr:g}",
        "time of units is modelled: multiply-accumulates and elements written",
    )


def _way(score: Score) -> str:
    return "passed on" if score.way == "input" else "left out"
