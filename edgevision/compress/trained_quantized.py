"""The step that trains quantised: a CoDeNet in the engine's own arithmetic, any other network by its QDQ graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from torch import nn

from edgevision.compress.exported_graph import ExportedGraph
from edgevision.compress.measure import measure
from edgevision.compress.qat import QatSettings
from edgevision.compress.qat_codenet import quantised_codenet
from edgevision.compress.qat_graph import QatGraph, refuse_untrainable
from edgevision.compress.quantize import quantize
from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings, quantized_settings
from edgevision.compress.work import Facts
from edgevision.data.metric import AnySet
from edgevision.progress import Progress
from edgevision.recipe import Quantize, TrainQuantized
from edgevision.zoo.codenet import CoDeNet
from edgevision.zoo.model import Model


@dataclass(frozen=True)
class Training:
    """One run of the step.

    Args:
        model: the network.
        data: it is trained on.
        step: the recipe's settings.
        checkpoint: the training's state; one that is there is taken up.
        seed: of the training.
        progress: told after every step.
    """

    model: Model
    data: AnySet
    step: TrainQuantized
    checkpoint: Path
    seed: int
    progress: Progress

    def codenet(self, export: Callable[[Model], ExportedGraph]) -> tuple[onnx.ModelProto, Facts]:
        """Train a CoDeNet in the arithmetic of the integer engine."""
        began, module = time.monotonic(), self.model.module
        assert isinstance(module, CoDeNet)
        split = self.data.split("calibration")
        images = [torch.from_numpy(x) for x, _ in split.batches(8, limit=self.step.calibration_images)]
        network = quantised_codenet(module, images, self._how, preprocessing=self.model.preprocessing)
        exported = export(replace(self.model, module=self._trained(network)))
        notes = (f"exported to ONNX, largest difference {exported.max_abs_error:.2g}", *exported.notes)
        return exported.graph, self._facts(exported.graph, notes, began)

    def graph(self, original: onnx.ModelProto, keep_fp: Sequence[str]) -> tuple[onnx.ModelProto, Facts]:
        """Quantise the float graph `original` after training, then train what came of it; layers `keep_fp` stay float.

        Raises:
            Unsupported: the graph cannot be quantised, or has operators that cannot be trained through.
        """
        began, count = time.monotonic(), self.step.calibration_images
        refuse_untrainable(original)
        eight = quantize(
            original, Quantize(calibration_images=count), self.data.split("calibration"), keep_fp=keep_fp,
            progress=self.progress,
        )  # fmt: skip
        trained = self._trained(QatGraph(eight, self._how))
        assert isinstance(trained, QatGraph)
        graph = trained.written()
        notes = [
            f"quantisers placed and first ranges taken on {min(count, len(self.data.split('calibration')))} images"
        ]
        notes += [f"left in float as asked: {', '.join(keep_fp)}"] if keep_fp else []
        return graph, self._facts(graph, tuple(notes), began)

    def _trained(self, network: nn.Module) -> nn.Module:
        return train(
            network, self.data, self._settings, checkpoint=self.checkpoint, resume=self.checkpoint.exists(),
            seed=self.seed, evaluate=False, progress=self.progress,
        ).module  # fmt: skip

    @property
    def _settings(self) -> TrainSettings:
        return quantized_settings(self.model.name, self.data, self.step)

    @property
    def _how(self) -> QatSettings:
        steps = max(1, len(self.data.split("train")) // self._settings.batch)
        settling = round(self.step.settled * self.step.epochs * steps)
        return QatSettings(self.step.weight_bits, self.step.first_bits, self.step.ranges, settling_batches=settling)

    def _facts(self, graph: onnx.ModelProto, notes: tuple[str, ...], began: float) -> Facts:
        done, step = measure(graph), self.step
        change = (
            f"{len(done.layers)} layers trained {step.epochs} epochs with {step.weight_bits}-bit weights, the first "
            f"with {step.first_bits}; {100 * done.integer_share:.1f} % of the multiply-accumulates on integers"
        )
        trained = f"trained on {len(self.data.split('train'))} images of {self.data.spec}, seed {self.seed}"
        return Facts(change, (trained, *notes), seconds=time.monotonic() - began)
