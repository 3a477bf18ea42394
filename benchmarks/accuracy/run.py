"""One network on one data set: the float teacher, then each arm and seed from it; every result a file of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import safetensors.torch
import torch

from benchmarks.accuracy.arms import stages
from benchmarks.accuracy.networks import NETWORKS, build
from edgevision.compress.binary_stages import load_stage, stage
from edgevision.compress.quantize import quantize
from edgevision.compress.session import predictor
from edgevision.compress.train import train
from edgevision.compress.train_settings import default_settings, fitted
from edgevision.data.dataset import DataSet
from edgevision.data.open import open_data
from edgevision.data.preprocess import Preprocessing
from edgevision.files import write_atomic
from edgevision.graph.export import export
from edgevision.progress import Progress, silent
from edgevision.recipe import Quantize
from edgevision.zoo.model import Model


class Result(msgspec.Struct, frozen=True):
    """One arm with one seed. `hits` has a digit for each test image, 1 where it was right: for paired comparisons."""

    network: str
    data: str
    data_sha256: str
    arm: str
    seed: int
    epochs: int
    top1_percent: float
    images: int
    seconds: float
    hits: str
    schema: str = "edgevision.bench.binary-accuracy/1"


@dataclass
class Experiment:
    """A network, its data and budgets; what is finished is read from `work`, what was interrupted goes on."""

    network: str
    data: str
    work: Path
    float_epochs: int
    epochs: int
    lr: float = 1e-3
    threads: int | None = None
    progress: Progress = silent

    def __post_init__(self) -> None:
        side = NETWORKS[self.network][0]
        usual = open_data(self.data).default_preprocessing
        self.preprocessing = Preprocessing(
            side, side, mean=usual.mean, std=usual.std, interpolation=usual.interpolation
        )
        self.images: DataSet = open_data(self.data, self.preprocessing)
        self.work.mkdir(parents=True, exist_ok=True)

    def teacher(self) -> Model:
        """The float network, trained once with seed 0."""
        model = build(self.network, self.images.classes, 0, self.preprocessing)
        path, checkpoint = self.work / "float.safetensors", self.work / "float.training"
        if model.module is None:
            raise TypeError("the networks are torch modules")
        if path.is_file():
            load_stage(model.module, path)
            return model
        usual = default_settings(model.name, self.data)
        asked = msgspec.structs.replace(
            usual, epochs=self.float_epochs, sizes=(), size_epochs=0, threads=self.threads,
            warmup_epochs=max(1.0, self.float_epochs * 0.15), lr=NETWORKS[self.network][1],
        )  # fmt: skip
        settings = fitted(asked, len(self.images.split("train")))
        done = train(model.module, self.images, settings, checkpoint=checkpoint, resume=True, progress=self.progress)
        state = {key: value.contiguous() for key, value in done.module.state_dict().items()}
        write_atomic(path, safetensors.torch.save(state))
        checkpoint.unlink(missing_ok=True)
        return replace(model, module=done.module.eval())

    def arm(self, name: str, seed: int) -> Result:
        """The result of one arm, from its file where it is finished."""
        path = self.work / f"{name}-{seed}.json"
        if path.is_file():
            return msgspec.json.decode(path.read_bytes(), type=Result)
        began, teacher = time.monotonic(), self.teacher()
        hits = self._hits(teacher, name, seed)
        result = Result(
            self.network, self.data, self.images.sha256, name, seed, 0 if name in ("float", "w8a8") else self.epochs,
            100 * float(hits.mean()), len(hits), time.monotonic() - began, "".join(map(str, hits.astype(int))),
        )  # fmt: skip
        write_atomic(path, msgspec.json.format(msgspec.json.encode(result), indent=2))
        return result

    def _hits(self, teacher: Model, name: str, seed: int) -> np.ndarray:
        if name == "w8a8":
            step = Quantize(calibration_images=min(256, len(self.images.split("calibration"))))
            run = predictor(quantize(export(teacher).graph, step, self.images.split("calibration")))
        else:
            model = teacher
            if name != "float":
                folder = self.work / f"{name}-{seed}"
                folder.mkdir(exist_ok=True)
                for number, step in enumerate(stages(name, self.epochs, self.lr)):
                    model, _ = stage(
                        model, teacher, step, self.images, folder=folder, name=f"stage{number}", seed=seed,
                        progress=self.progress, threads=self.threads,
                    )  # fmt: skip
            run = _predict(model)
        split = self.images.split("test")
        return np.concatenate([np.argmax(run(images), 1) == labels for images, labels in split.batches(64)])


def _predict(model: Model):
    def predict(images: np.ndarray) -> np.ndarray:
        assert model.module is not None
        with torch.inference_mode():
            return model.module(torch.from_numpy(images)).numpy()

    return predict
