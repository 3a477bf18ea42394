"""One run of a recipe: the graph as it is now, and the ledger of how it got there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import onnx
import torch

from edgevision.compress.binary_stages import stage
from edgevision.compress.bypass import left_in_float
from edgevision.compress.compressed import LayerSensitivity, LedgerEntry, MixedSearch
from edgevision.compress.costs import FLOAT, StepTimes, costs
from edgevision.compress.exported_graph import ExportedGraph
from edgevision.compress.factorized_cost import for_integers
from edgevision.compress.factorized_graph import Choice, as_convolutions
from edgevision.compress.few_bits import in_four_bits
from edgevision.compress.fold import fold_batch_norm
from edgevision.compress.identity import versions
from edgevision.compress.incubate import pruning_stage
from edgevision.compress.kept_rows import KeptRows
from edgevision.compress.layer_noise import noise_alone
from edgevision.compress.layers import MOVES, quantised_layers, quantised_operators, refuse_unknown
from edgevision.compress.measure import measure
from edgevision.compress.mixed import Search, options_of
from edgevision.compress.onnxgraph import BINARY, WEIGHT_BINARY
from edgevision.compress.prepare import prepare
from edgevision.compress.quantize import quantize
from edgevision.compress.scoring import Scoring, score, scoring_of
from edgevision.compress.search import Outcome, hold_accuracy
from edgevision.compress.sensitivity import Ranking, rank
from edgevision.compress.session import predictor
from edgevision.compress.strategy import strategy
from edgevision.compress.taken_apart import TakenApart, taken_apart
from edgevision.compress.train import numpy_predictor
from edgevision.compress.trained_quantized import Training
from edgevision.compress.weights import quantize_weights
from edgevision.compress.work import Facts, Rows, Work
from edgevision.data.metric import AnySet, Metric, metric_of
from edgevision.errors import UsageError
from edgevision.progress import Progress
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
    QuantizeWeights,
    Recipe,
    Smooth,
    TrainQuantized,
)
from edgevision.zoo.codenet import CoDeNet
from edgevision.zoo.model import Model

#: Binary layers of one-bit operands.
ONE_BIT = tuple(name for name in BINARY if name not in WEIGHT_BINARY)
#: Images the sensitivity of a layer is taken from: for the output's noise, quick and full, and for its accuracy.
NOISE_IMAGES, FULL_NOISE_IMAGES, ACCURACY_IMAGES = 8, 32, 256
#: Images that show whether the accuracy depends on the network at all.
CONSTANT_IMAGES = 128


#: Calibration images below which the ledger warns.
FEW_IMAGES = 16


@dataclass
class Job:
    """One run: what it was given, and what it has so far."""

    model: Model
    recipe: Recipe
    export: Callable[[Model], ExportedGraph]
    data: AnySet | None
    keep_fp: tuple[str, ...]
    evaluate_limit: int | None
    progress: Progress
    work: Work
    rows: Rows
    seed: int = 0
    max_drop: float | None = None
    ledger: list[LedgerEntry] = field(default_factory=list)
    float_accuracy: float | None = None
    accuracy: float | None = None
    max_abs_error: float | None = None

    def __post_init__(self) -> None:
        self.original = self.graph = onnx.ModelProto()
        self.apart: TakenApart | None = None

    def apply_steps(self) -> None:
        """Train what the recipe trains, export the graph of that and apply the other steps to it in order."""
        self._train()
        model = self._taken_apart()
        self.original, facts = self.work.graph("float", lambda: self._float(model))
        self.graph, self.max_abs_error = self.original, facts.max_abs_error
        refuse_unknown(self.original.graph, self.keep_fp)
        for line in strategy(self.original.graph, self.recipe.steps, self.keep_fp):
            self.progress(f"plan: {line}", 1, 1)
        if self.data is not None:
            scoring_of(self.data, next(iter(self.data.splits))).refuse(
                self._output, f"{self.model.name} on {self.data.spec}"
            )
        self.accuracy = self.measured("float", self.original)
        if self.float_accuracy is None:
            self.float_accuracy = self.accuracy
        for position, step in enumerate(self.recipe.steps):
            if isinstance(step, Binarize | PruneBlocks | MixedPrecision):
                continue
            if isinstance(step, Factorize | Decompose | FineTune) and self.apart is not None:
                done = self.apart.tuned if isinstance(step, FineTune) else self.apart.factors
                self._record(str(type(step).__struct_config__.tag), done, before=None)
                continue
            if isinstance(step, FoldBatchNorm):
                self._record("fold_batch_norm", facts, before=None)
                continue
            if isinstance(step, Equalize | Smooth):
                self._prepare(position, step)
                continue
            before = self.accuracy
            make = self._trained if isinstance(step, TrainQuantized) else self._quantised
            chosen: Sequence[Choice] = ()
            if not isinstance(step, TrainQuantized):
                # Quantisers go between standard operators; what is quantised is named after the same layers.
                self.original, chosen = as_convolutions(self.original, for_integers, fused=True)
                parts = {choice.name: choice.nodes for choice in chosen}
                self.keep_fp = tuple(part for name in self.keep_fp for part in parts.get(name, (name,)))
            self.graph, done = self.work.graph(f"step{position}", lambda s=step, make=make: make(s))  # type: ignore[misc]
            self.accuracy = self.measured("quantised", self.graph)
            self._record(str(type(step).__struct_config__.tag), with_choices(done, chosen), before)

    def _prepare(self, position: int, step: Equalize | Smooth) -> None:
        """Make the float graph easier to quantise; what follows is compared with the graph that this leaves."""
        before, source = self.accuracy, self.original
        split = self.data.split("calibration") if self.data is not None and isinstance(step, Smooth) else None
        self.original, done = self.work.graph(
            f"step{position}", lambda: prepare(source, step, split, progress=self.progress)
        )
        self.graph = self.original
        self.accuracy = self.measured(f"step{position}", self.graph)
        self._record(str(type(step).__struct_config__.tag), done, before)

    def _train(self) -> None:
        """Take the network through the stages that prune or binarise it; the float network is their teacher."""
        stages = [
            (position, step)
            for position, step in enumerate(self.recipe.steps)
            if isinstance(step, Binarize | PruneBlocks)
        ]
        if not stages or self.data is None:
            return
        teacher = self.model
        self.original, facts = self.work.graph("teacher", lambda: self._exported(teacher, "float graph exported"))
        self.float_accuracy = self.accuracy = self.measured("teacher", self.original)
        for position, step in stages:
            before, name = self.accuracy, f"stage{position}"
            folder, seed = self.work.folder, self.seed
            if isinstance(step, PruneBlocks):
                self.model, change = pruning_stage(
                    self.model, step, self.data, folder=folder, name=name, seed=seed, progress=self.progress
                )
            else:
                self.model, change = stage(
                    self.model, teacher, step, self.data, folder=folder, name=name, seed=seed, progress=self.progress
                )
            self.graph, facts = self.work.graph(name, lambda c=change: self._exported(self.model, *c))  # type: ignore[misc]
            self.accuracy = self.measured(name, self.graph)
            self._record(str(type(step).__struct_config__.tag), facts, before)

    def _exported(self, model: Model, change: str, *notes: str) -> tuple[onnx.ModelProto, Facts]:
        began = time.monotonic()
        exported = self.export(model)
        return exported.graph, Facts(change, notes, exported.max_abs_error, time.monotonic() - began)

    def _taken_apart(self) -> Model:
        """The network with its convolutions in factors where the recipe says so; the ledger gets what was done."""
        if self.model.module is None:
            return self.model
        self.apart = taken_apart(
            self.model.module, self.recipe, model_name=self.model.name, data=self.data, judge=self._torch_accuracy,
            max_drop=self.max_drop, folder=self.work.folder, seed=self.seed, progress=self.progress,
        )  # fmt: skip
        if self.apart.accuracy is not None:
            self.float_accuracy = self.apart.accuracy
        return replace(self.model, module=self.apart.module)

    def _torch_accuracy(self, name: str, module: torch.nn.Module) -> float:
        """Accuracy of a torch network on the test split, which admission has seen to."""
        scoring = self._scoring
        assert scoring is not None
        predict = numpy_predictor(module)
        return self.rows.get(
            f"accuracy {name} on {self.evaluated_images}",
            lambda: score(scoring, predict, batch=64, limit=self.evaluated_images).percent,
        )

    def _float(self, model: Model) -> tuple[onnx.ModelProto, Facts]:
        """Fold, where the recipe says so, and export."""
        began = time.monotonic()
        change, notes = "float graph exported", []
        self.progress("export", 0, 1, model.name)
        if model.module is not None and self._folds:
            example = torch.from_numpy(
                np.random.default_rng(0).standard_normal((1, *model.input.shape[1:])).astype(np.float32)
            )
            module, report = fold_batch_norm(model.module, example)
            model = replace(model, module=module)
            change = f"{len(report.folded)} batch norms folded, {len(report.merged_heads)} heads merged"
            notes = [f"largest difference {report.max_abs_error:.2g}", *report.kept]
        exported = self.export(model)
        self.progress("export", 1, 1, model.name)
        outputs = exported.graph.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
        if self.data is not None and self.metric == "top-1" and len(self.data.classes) < outputs:
            notes.append(
                f"the network tells {outputs} classes apart, {self.data.spec} has {len(self.data.classes)}: accuracy "
                "counts its first outputs as these classes, in their order"
            )
        notes += [f"exported to ONNX, largest difference {exported.max_abs_error:.2g}", *exported.notes]
        facts = Facts(change, tuple(notes), exported.max_abs_error, time.monotonic() - began)
        return exported.graph, facts

    @property
    def _folds(self) -> bool:
        """Whether the float graph has its batch norms folded; a CoDeNet that trains quantised keeps them till then."""
        trains = any(isinstance(step, TrainQuantized) for step in self.recipe.steps)
        folds = any(isinstance(step, FoldBatchNorm) for step in self.recipe.steps)
        return folds or (trains and not isinstance(self.model.module, CoDeNet))

    def _trained(self, step: TrainQuantized) -> tuple[onnx.ModelProto, Facts]:
        assert self.data is not None
        training = Training(self.model, self.data, step, self.work.folder / "training", self.seed, self.progress)
        if isinstance(self.model.module, CoDeNet):
            return training.codenet(self.export)
        return training.graph(self.original, self.keep_fp)

    def _quantised(self, step: Quantize | QuantizeWeights) -> tuple[onnx.ModelProto, Facts]:
        began = time.monotonic()
        notes = [f"left in float as asked: {', '.join(self.keep_fp)}"] if self.keep_fp else []
        if isinstance(step, Quantize) and self.data is not None:
            split = self.data.split("calibration")
            graph = quantize(self.original, step, split, keep_fp=self.keep_fp, progress=self.progress)
            used = min(step.calibration_images, len(split))
            few = "; ranges of so few may not hold for others" if used < FEW_IMAGES else ""
            notes.append(f"calibrated on {used} images of {self.data.spec}{few}")
            notes += self.data.notes
        else:
            graph = quantize_weights(self.original, keep_fp=self.keep_fp)
        done = measure(graph)
        layers = set(quantised_layers(graph.graph))
        bits = Counter(4 if layer.dtype == "int4" else 8 for layer in done.layers if layer.name in layers)
        each = " and ".join(f"{count} of {len(done.layers)} layers with int{width}" for width, count in bits.items())
        change = (
            f"{each or 'no layer with int8'} weights; {100 * done.integer_share:.1f} % of the multiply-accumulates on "
            "integers"
        )
        floats = ", ".join(f"{count} {name}" for name, count in float_operators(graph.graph).items())
        notes.append(f"computed in float: {floats or 'nothing'}")
        return graph, Facts(change, tuple(notes), seconds=time.monotonic() - began)

    @property
    def _output(self) -> tuple[int, ...]:
        """Shape of the network's output."""
        return tuple(dim.dim_value for dim in self.original.graph.output[0].type.tensor_type.shape.dim)

    @property
    def metric(self) -> Metric:
        """What accuracy is measured by: the data's, without data the network's own."""
        return metric_of(self.data) if self.data is not None else self.model.metric or "top-1"

    @property
    def _scoring(self) -> Scoring | None:
        """How the test split is judged; None where there is none."""
        return scoring_of(self.data) if self.data is not None and "test" in self.data.splits else None

    def measured(self, name: str, graph: onnx.ModelProto, limit: int | None = None) -> float | None:
        """Accuracy of `graph` in percent on the test split, at most `limit` images; None without test images."""
        scoring = self._scoring
        if scoring is None:
            return None
        count = min(limit or len(scoring), self.evaluated_images)

        def told(stage: str, done: int, total: int, detail: str = "") -> None:
            self.progress(f"{stage} {name}", done, total, detail)

        return self.rows.get(
            f"accuracy {name} on {count}",
            lambda: score(scoring, predictor(graph), limit=count, progress=told).percent,
        )

    @property
    def evaluated_images(self) -> int:
        """Test images accuracy is measured on."""
        count = len(self._scoring or ())
        return min(count, self.evaluate_limit or count)

    def rank(self, deadline: float, *, full: bool = False) -> Ranking:
        """Sensitivity of each quantised operator; empty when nothing is quantised or there are no images."""
        if self.data is None or "calibration" not in self.data.splits or not quantised_operators(self.graph.graph):
            return Ranking()
        if any(isinstance(step, TrainQuantized) for step in self.recipe.steps):
            # A layer trained in few bits has no float twin to be compared with.
            return Ranking()
        images = self.noise_images(FULL_NOISE_IMAGES if full else NOISE_IMAGES)
        scoring, count = self._scoring, min(ACCURACY_IMAGES, self.evaluated_images)
        return rank(
            self.graph,
            self.original,
            images,
            macs={layer.name: layer.macs for layer in measure(self.graph).layers},
            full=full,
            classes=self.metric == "top-1",
            evaluate=(lambda predict: score(scoring, predict, limit=count).percent) if scoring else None,
            deadline=deadline,
            rows=KeptRows.of((self.graph, self.original), images, *self._measured_on, str(count)),
            progress=self.progress,
        )

    def noise_images(self, count: int) -> np.ndarray:
        """The first `count` calibration images, float32 (N, C, H, W)."""
        assert self.data is not None
        return np.concatenate([x for x, _ in self.data.split("calibration").batches(8, limit=count)])

    @property
    def _measured_on(self) -> tuple[str, ...]:
        """What figures depend on besides graphs and images."""
        data = self.data
        return (data.spec, str(data.sha256), str(data.preprocessing), str(versions())) if data else ()

    def hold(self, max_drop: float, ranking: Sequence[LayerSensitivity], deadline: float) -> Outcome:
        """Put layers back into float until at most `max_drop` points are lost; the ledger says which."""
        before = self.accuracy
        outcome = hold_accuracy(
            self.graph,
            self.original,
            [row.layer for row in ranking],
            start=self.accuracy or 0.0,
            target=(self.float_accuracy or 0.0) - max_drop,
            evaluate=lambda name, graph: self.measured(name, graph) or 0.0,
            deadline=deadline,
            progress=self.progress,
        )
        if outcome.best.layers:
            began = time.monotonic()
            self.graph = left_in_float(self.graph, self.original, outcome.best.layers)
            self.keep_fp = (*self.keep_fp, *outcome.best.layers)
            self.accuracy = outcome.best.accuracy
            change = f"{len(outcome.best.layers)} operators back in float to lose at most {max_drop:g} points"
            notes = (f"in float: {', '.join(outcome.best.layers)}", f"{len(outcome.tried)} points tried")
            self._record("hold_accuracy", Facts(change, notes, seconds=time.monotonic() - began), before)
        return outcome

    def mix(self, step: MixedPrecision, max_drop: float, deadline: float, times: StepTimes | None) -> MixedSearch:
        """Choose the bits of each layer; the graph becomes that of the best point, and the ledger says what it is."""
        before, began = self.accuracy, time.monotonic()
        images = self.noise_images(FULL_NOISE_IMAGES)
        four, _ = self.work.graph("four", lambda: (in_four_bits(self.graph, images), Facts()))
        operators, layers = quantised_operators(self.graph.graph), quantised_layers(four.graph)
        noise = {
            bits: noise_alone(graph, self.original, images, names, deadline=deadline, progress=self.progress)
            for bits, graph, names in ((8, self.graph, operators), (4, four, layers))
        }
        found = costs(self.graph, step.minimise, times)
        search = Search(
            self.graph, four, self.original, options_of(noise, found, step.bits),
            target=(self.float_accuracy or 0.0) - max_drop,
            evaluate=lambda name, graph: self.measured(name, graph) or 0.0, deadline=deadline, progress=self.progress,
        )  # fmt: skip
        best = search.run()
        self.graph, self.accuracy = search.graph_of(best.bits), best.accuracy
        floats = tuple(name for name, bits in best.bits.items() if bits == FLOAT)
        self.keep_fp = (*self.keep_fp, *floats)
        weighted = {layer: best.bits[layer] for layer in layers if layer in best.bits}
        counts = ", ".join(
            f"{sum(b == bits for b in weighted.values())} {'in float' if bits == FLOAT else f'of {bits} bits'}"
            for bits in sorted(set(weighted.values()))
        )
        notes = [f"least {step.minimise}, {found.basis}", f"{len(search.points)} assignments measured on test images"]
        notes += [f"in float: {', '.join(floats)}"] if floats else []
        change = f"layers with weights {counts} to lose at most {max_drop:g} points"
        self._record("mixed_precision", Facts(change, tuple(notes), seconds=time.monotonic() - began), before)
        return MixedSearch(
            minimise=step.minimise, basis=found.basis, target=search.target, met=best.accuracy >= search.target,
            best=best.name, points=tuple(search.points), finished=search.finished,
        )  # fmt: skip

    def refuse_constant_metric(self) -> None:
        """Raise where the accuracy does not depend on what the network answers, so that no bound on it means anything.

        Raises:
            UsageError: the float network and one that says the opposite score the same.
        """
        scoring, predict = self._scoring, predictor(self.original)
        if scoring is None:
            return
        count = min(CONSTANT_IMAGES, self.evaluated_images)
        right = self.rows.get("constant: float", lambda: score(scoring, predict, limit=count).percent)
        wrong = self.rows.get("constant: opposite", lambda: score(scoring, lambda x: -predict(x), limit=count).percent)
        if right == wrong:
            raise UsageError(
                f"expected a {self.metric} that depends on the network, got {right:.2f} % on {count} images for the "
                "float network and for one with the opposite outputs",
                where=self.data.spec if self.data else "",
                fix="give test images of more classes, more of them (--limit), or weights that were trained",
            )

    def _record(self, step: str, facts: Facts, before: float | None) -> None:
        size = measure(self.graph)
        self.ledger.append(
            LedgerEntry(
                step=step,
                change=facts.change,
                parameters=size.parameters,
                macs=size.macs,
                weight_bytes=size.weight_bytes,
                accuracy_before=before,
                accuracy_after=self.accuracy,
                seconds=round(facts.seconds, 3),
                notes=facts.notes,
            )
        )


def with_choices(facts: Facts, chosen: Sequence[Choice]) -> Facts:
    """`facts` with a note of what became of factorized layers."""
    if not chosen:
        return facts
    thin = [choice for choice in chosen if choice.factored]
    note = f"factorized layers in integers: {len(thin)} in factors, those of the channels in 8 bits"
    if len(thin) < len(chosen):
        note += f"; {len(chosen) - len(thin)} with the kernel their factors make, which is sooner done"
    return msgspec.structs.replace(facts, notes=(*facts.notes, note))


def float_operators(graph: onnx.GraphProto) -> dict[str, int]:
    """Operators, with their number, that read nothing quantised: float arithmetic, alone or behind an integer operator.

    Data movements on integers and binary layers that sign what they read are none of them.
    """
    integer: set[str] = set()
    floats: Counter[str] = Counter()
    for node in graph.node:
        quantiser = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if quantiser or (node.op_type in MOVES and node.input[0] in integer):
            integer.update(node.output)
        elif node.op_type in ONE_BIT:
            continue
        elif not integer.intersection(node.input):
            floats[node.op_type] += 1
    return dict(sorted(floats.items()))
