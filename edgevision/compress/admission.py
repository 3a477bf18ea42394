"""Everything that can be known to be wrong with a compression before any work is done, said at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgevision.data.dataset import DataSet
from edgevision.data.metric import AnySet, metric_of, mismatch
from edgevision.errors import UsageError
from edgevision.files import refuse_overwrite
from edgevision.recipe import (
    Binarize,
    Decompose,
    Equalize,
    Factorize,
    FineTune,
    FoldBatchNorm,
    MixedPrecision,
    PruneBlocks,
    Quantize,
    Recipe,
    Smooth,
    TrainQuantized,
)
from edgevision.zoo.codenet import CoDeNet
from edgevision.zoo.model import Model


def admit(
    model: Model,
    recipe: Recipe,
    *,
    data: AnySet | None,
    out: Path,
    keep_fp: Sequence[str],
    max_drop: float | None,
    max_minutes: float | None,
    evaluate_limit: int | None,
    overwrite: bool,
) -> None:
    """Raise unless these can go together.

    Raises:
        UsageError: every reason why not.
    """
    refuse_overwrite(out, overwrite=overwrite)
    reasons = [*_recipe_reasons(model, recipe, keep_fp), *_data_reasons(model, recipe, data)]
    if any(isinstance(step, TrainQuantized) for step in recipe.steps):
        reasons += _training_reasons(model, recipe, data, keep_fp, max_drop)
    if max_drop is not None:
        if not max_drop >= 0:
            reasons.append(f"expected --max-drop of 0 points or more, got {max_drop}")
        if data is None or "test" not in data.splits:
            reasons.append("--max-drop compares accuracies: it needs data with a test split; add --data NAME")
        if not _quantises(recipe) and not _searches(recipe):
            reasons.append(f"--max-drop puts quantised layers back into float; recipe '{recipe.name}' quantises none")
    elif _searches(recipe):
        reasons.append("the recipe makes factors as small as accuracy allows; add --max-drop POINTS")
    if any(isinstance(step, MixedPrecision) for step in recipe.steps) and (data is None or "test" not in data.splits):
        reasons.append("bits are chosen by the accuracy they leave: that needs data with a test split; add --data NAME")
    if max_minutes is not None and not max_minutes > 0:
        reasons.append(f"expected --max-minutes above 0, got {max_minutes}")
    if evaluate_limit is not None and evaluate_limit < 1:
        reasons.append(f"expected at least 1 image to evaluate on, got {evaluate_limit}")
    if reasons:
        raise UsageError(
            f"recipe '{recipe.name}' cannot be applied to '{model.name}' as asked", where=str(out), reasons=reasons
        )


#: Steps that come before a weight is quantised.
_BEFORE = (FoldBatchNorm, Binarize, PruneBlocks, Factorize, Decompose, FineTune, Equalize, Smooth)


def _quantises(recipe: Recipe) -> bool:
    return any(not isinstance(step, _BEFORE) for step in recipe.steps)


def _searches(recipe: Recipe) -> bool:
    return any(isinstance(step, Decompose) and step.energy == "auto" for step in recipe.steps)


def _recipe_reasons(model: Model, recipe: Recipe, keep_fp: Sequence[str]) -> list[str]:
    reasons = []
    quantising = [i for i, step in enumerate(recipe.steps) if not isinstance(step, (*_BEFORE, MixedPrecision))]
    mixing = [i for i, step in enumerate(recipe.steps) if isinstance(step, MixedPrecision)]
    folding = [i for i, step in enumerate(recipe.steps) if isinstance(step, FoldBatchNorm)]
    training = [i for i, step in enumerate(recipe.steps) if isinstance(step, Binarize | PruneBlocks)]
    if training and max(training) > min([*quantising, *folding, len(recipe.steps)]):
        reasons.append(
            "the recipe prunes or binarises after it folds or quantises; training comes first, as in bivit+w8a8"
        )
    factorizing = [i for i, step in enumerate(recipe.steps) if isinstance(step, Factorize | Decompose)]
    if not recipe.steps:
        reasons.append("the recipe has no steps")
    if len(quantising) > 1:
        reasons.append(f"the recipe quantises {len(quantising)} times; a weight can be quantised once")
    if quantising and folding and max(folding) > min(quantising):
        reasons.append("the recipe folds batch norms after it quantises; folding changes the weights, so it goes first")
    preparing = [i for i, step in enumerate(recipe.steps) if isinstance(step, Equalize | Smooth)]
    if preparing and (max(preparing) > min(quantising, default=-1) or min(preparing) < max(folding, default=-1)):
        reasons.append("equalize and smooth prepare folded weights for quantising: they go between the two")
    if mixing and (mixing != [len(recipe.steps) - 1] or not any(isinstance(s, Quantize) for s in recipe.steps)):
        reasons.append("the recipe chooses bits layer by layer; that comes once, last, and behind a step of 'quantize'")
    if len(factorizing) > 1:
        reasons.append(f"the recipe factorizes {len(factorizing)} times; a kernel can be made of factors once")
    if factorizing and max(factorizing) > min([*folding, *quantising], default=len(recipe.steps)):
        reasons.append("the recipe factorizes after another step; that makes other layers of it, so it goes first")
    tuning = [i for i, step in enumerate(recipe.steps) if isinstance(step, FineTune)]
    if tuning and (not factorizing or min(tuning) < max(factorizing)):
        reasons.append("the recipe fine-tunes ahead of what makes factors; it trains these, so it comes after that")
    if tuning and max(tuning) > min([*folding, *quantising], default=len(recipe.steps)):
        reasons.append("the recipe fine-tunes after it folds or quantises; training comes before both")
    if factorizing and model.module is None:
        reasons.append(
            f"the recipe takes layers of a torch network apart; {model.name} came as an ONNX graph, whose are fixed"
        )
    if keep_fp and not quantising:
        reasons.append(f"--keep-fp names layers to leave in float; recipe '{recipe.name}' quantises none")
    doubled = sorted({name for name in keep_fp if list(keep_fp).count(name) > 1})
    reasons += [f"--keep-fp names '{name}' more than once" for name in doubled]
    return reasons


def _training_reasons(
    model: Model, recipe: Recipe, data: AnySet | None, keep_fp: Sequence[str], max_drop: float | None
) -> list[str]:
    reasons = []
    if data is not None and "train" not in data.splits:
        reasons.append(f"the recipe trains; {data.spec} has no train split")
    if len(recipe.steps) > 1:
        reasons.append("a step that trains quantised folds batch norms itself and stands alone in its recipe")
    if max_drop is not None:
        reasons.append("--max-drop puts layers back into float, which layers trained in few bits are not")
    if keep_fp and isinstance(model.module, CoDeNet):
        reasons.append("--keep-fp leaves layers in float; a CoDeNet trains in integers throughout")
    return reasons


def _data_reasons(model: Model, recipe: Recipe, data: AnySet | None) -> list[str]:
    if data is None:
        return ["the recipe calibrates or trains on images; add --data NAME"] if recipe.needs_data() else []
    reasons = []
    if any(isinstance(step, Binarize | PruneBlocks) for step in recipe.steps):
        if model.module is None or not isinstance(data, DataSet):
            reasons.append(
                "binary and pruned networks are trained in torch, as classifiers: name a network of the zoo that is one"
            )
        if "train" not in data.splits:
            reasons.append(f"the recipe trains on images; {data.spec} has no train split")
    tuning = [step for step in recipe.steps if isinstance(step, FineTune)]
    if tuning and "train" not in data.splits:
        reasons.append(f"the recipe fine-tunes; {data.spec} has no train split")
    if any(step.distill for step in tuning) and not isinstance(data, DataSet):
        reasons.append(f"the recipe distills a classifier's answers; {data.spec} is not made of labelled images")
    other = mismatch(model.name, model.metric, data.spec, metric_of(data))
    reasons += [other] if other else []
    if recipe.needs_data() and not ("calibration" in data.splits and len(data.split("calibration"))):
        reasons.append(f"the recipe calibrates on images; {data.spec} has no calibration split")
    if data.preprocessing != model.preprocessing:
        reasons.append(
            f"the network takes {model.preprocessing}, {data.spec} was opened with {data.preprocessing}: "
            "open the data with the network's preprocessing"
        )
    if model.classes and model.classes != data.classes:
        reasons.append(
            f"the network was trained on {len(model.classes)} classes ({', '.join(model.classes[:3])}, ...), "
            f"{data.spec} has {len(data.classes)} ({', '.join(data.classes[:3])}, ...)"
        )
    return reasons
