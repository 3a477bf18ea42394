"""Training: AdamW, warm-up and cosine, running mean of the weights, resumable after every epoch.

What is trained for, images, loss and score, is a `Task`; the loop is the same for all.

Under `torchrun` the same call trains in several processes (gloo): each takes its share of every batch,
and the first writes.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgevision.compress.scoring import score, scoring_of
from edgevision.compress.task import Task, task_of
from edgevision.compress.train_settings import TrainSettings
from edgevision.compress.train_state import EpochRecord, RunIdentity, TrainState, load_state, save_state
from edgevision.data.metric import AnySet, Metric, Score
from edgevision.errors import UsageError
from edgevision.progress import Progress, silent
from edgevision.zoo.cas_vit import set_drop_path


class Interrupted(KeyboardInterrupt):
    """^C during training; its text says what was kept and how to go on."""


@dataclass(frozen=True)
class TrainResult:
    """A trained network.

    Attributes:
        module: in eval mode, with the running mean of the weights.
        metric: what the accuracy is measured by.
        accuracy: on the test split; None where the data has none, or it was not asked for.
        history: one record for each epoch, also those before a resume.
        seconds: of this call.
    """

    module: nn.Module = field(repr=False)
    metric: Metric
    accuracy: Score | None
    history: tuple[EpochRecord, ...]
    settings: TrainSettings
    seed: int
    seconds: float


def train(
    module: nn.Module,
    dataset: AnySet,
    settings: TrainSettings,
    *,
    checkpoint: Path,
    task: Task | None = None,
    part: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    seed: int = 0,
    evaluate: bool = True,
    progress: Progress = silent,
) -> TrainResult:
    """Train a copy of `module` on the train split and evaluate it on the test split.

    A run that is stopped and resumed gives the same bits as one that was not: every epoch draws its order,
    augmentation and drop path from a generator seeded by (seed, epoch).

    Args:
        module: float32 (N, C, H, W) to what the task's loss takes: logits, or a tuple of logits (several heads, their
            losses are averaged), or the maps of a detector.
        dataset: classes, splits and preprocessing.
        settings: see `TrainSettings`.
        checkpoint: file for the state, written after each epoch.
        task: what the network is trained for; without it, what the data is made for.
        part: path of the only submodule that learns; the rest stays as it is, its batch norms too.
        resume: continue from `checkpoint`; from the beginning, and `progress` is told, where there is none.
        overwrite: replace a `checkpoint` that is there.
        seed: of order, augmentation and drop path.
        evaluate: false where the caller measures what it makes of the network.
        progress: told after every step.

    Raises:
        ToolMissing: what measures a detector is not installed.
        UsageError: `checkpoint` exists and neither `resume` nor `overwrite` is given, it is of another run, the data
            has no train split or fewer than two images per step, or the loss is no longer a number.
        Interrupted: ^C; the last whole epoch is in `checkpoint`.
    """
    started = time.monotonic()
    with _processes() as rank, _seeded(seed, settings.threads):
        chosen = task or task_of(dataset, settings)
        run = _Run(copy.deepcopy(module), chosen, dataset, settings, rank, seed, part)
        run.prepare(checkpoint, resume=resume, overwrite=overwrite, progress=progress)
        try:
            while len(run.history) < settings.epochs:
                run.epoch(progress)
                if rank == 0:
                    save_state(checkpoint, run.identity, run.state())
        except KeyboardInterrupt as stop:
            kept = f"{len(run.history)} of {settings.epochs} epochs are in {checkpoint}"
            none = "no epoch was finished and nothing is kept of it"
            raise Interrupted(f"training was interrupted; {kept if run.history else none}") from stop
        trained = run.averaged.module.eval()
        measured = evaluate and "test" in dataset.splits
        accuracy = score(scoring_of(dataset), numpy_predictor(trained), batch=64) if measured else None
        seconds = time.monotonic() - started
        return TrainResult(trained, chosen.metric, accuracy, tuple(run.history), settings, seed, seconds)


class _Run:
    """A run between two epochs."""

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        dataset: AnySet,
        settings: TrainSettings,
        rank: int,
        seed: int,
        part: str | None,
    ) -> None:
        self.task, self.settings, self.seed, self.rank = task, settings, seed, rank
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.images = len(dataset.split("train"))
        self.steps = self.images // settings.batch
        if settings.batch % self.world or settings.batch // self.world < 2 or not self.steps:
            raise UsageError(
                f"expected a batch of at least 2 images per process that divides over {self.world} and is at most the "
                f"{self.images} training images, got {settings.batch}",
                where=dataset.spec,
                fix="change --batch",
            )
        set_drop_path(module, settings.drop_path)
        self.module = module.train()
        # channels_last is measured faster for depthwise convolutions on CPUs; torch's stubs do not know the argument.
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _let_learn(self.module, part)
        self.replicas = nn.parallel.DistributedDataParallel(self.module) if self.world > 1 else self.module
        self.averaged = AveragedModel(self.module, multi_avg_fn=_averaging(settings.ema_decay), use_buffers=True)
        self.optimizer = torch.optim.AdamW(_groups(self.module, settings.weight_decay), lr=settings.lr)
        self.history: list[EpochRecord] = []
        parameters = sum(parameter.numel() for parameter in self.module.parameters())
        self.identity = RunIdentity(settings, dataset.spec, dataset.sha256, seed, parameters, self.world)

    def prepare(self, checkpoint: Path, *, resume: bool, overwrite: bool, progress: Progress) -> None:
        """Take up the state in `checkpoint`, or make sure that a new one may be written there."""
        if not resume:
            if self.rank == 0 and checkpoint.exists():
                if not overwrite:
                    raise UsageError(
                        "an interrupted training is there already",
                        where=str(checkpoint),
                        fix="add --resume to go on with it, or --overwrite to begin again",
                    )
                # Else ^C in the first epoch would leave the state of another run for --resume to find.
                checkpoint.unlink()
            return
        if not checkpoint.exists():
            progress("resume", 1, 1, "no epoch of this training is kept, it starts from the beginning")
            return
        state = load_state(checkpoint, self.identity)
        self.module.load_state_dict(state.network)
        self.averaged.load_state_dict(state.averaged)
        self.optimizer.load_state_dict(state.optimizer)
        self.history = list(state.history)

    def state(self) -> TrainState:
        """What `prepare` takes up again."""
        return TrainState(
            self.module.state_dict(), self.averaged.state_dict(), self.optimizer.state_dict(), tuple(self.history)
        )

    def epoch(self, progress: Progress) -> None:
        """Train one epoch."""
        started, number = time.monotonic(), len(self.history)
        epoch_seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))
        shared = torch.Generator().manual_seed(epoch_seed)
        own = torch.Generator().manual_seed(epoch_seed ^ self.rank << 32 ^ 1)
        torch.manual_seed(epoch_seed ^ self.rank << 32)
        order = torch.randperm(self.images, generator=shared).numpy()
        total, rate = 0.0, 0.0
        for step in range(self.steps):
            chosen = order[step * self.settings.batch : (step + 1) * self.settings.batch][self.rank :: self.world]
            rate = self._rate(number * self.steps + step)
            size = self._size(number, shared)
            total += self._step(chosen, rate, size, own, f"epoch {number + 1}, step {step + 1}")
            done = number * self.steps + step + 1
            detail = f"epoch {number + 1}/{self.settings.epochs}, loss {total / (step + 1):.3f}"
            progress("train", done, self.steps * self.settings.epochs, detail)
        self.history.append(EpochRecord(number + 1, total / self.steps, rate, time.monotonic() - started))

    def _step(self, chosen: np.ndarray, rate: float, size: int | None, generator: torch.Generator, where: str) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, targets = self.task.batch(chosen, size, generator)
        loss = self.task.loss(self.replicas(images), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.gradient_clip)
        value = loss.item()
        if not (math.isfinite(value) and bool(norm.isfinite())):
            raise UsageError(
                f"training diverged: the loss is {value}, the norm of the gradient {norm.item()}",
                where=where,
                fix=f"train again with a lower rate, for example --lr {self.settings.lr / 4:g}; "
                "the checkpoint still holds the last whole epoch",
            )
        self.optimizer.step()
        self.averaged.update_parameters(self.module)
        return value

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to `final_lr`."""
        settings = self.settings
        warmup, total = settings.warmup_epochs * self.steps, settings.epochs * self.steps
        if step < warmup:
            return settings.lr * (step + 1) / max(1.0, warmup)
        share = (step - warmup) / max(1.0, total - warmup)
        return settings.final_lr + (settings.lr - settings.final_lr) * (1 + math.cos(math.pi * share)) / 2

    def _size(self, epoch: int, generator: torch.Generator) -> int | None:
        """The side of this step's images, None for that of the preprocessing; every process draws the same."""
        sizes = self.settings.sizes
        if not sizes or epoch >= self.settings.epochs - self.settings.size_epochs:
            return None
        return sizes[int(torch.randint(len(sizes), (1,), generator=generator))]


def _let_learn(module: nn.Module, part: str | None) -> None:
    """Ask gradients of `part` alone, of everything without one; what does not learn is in eval mode."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(part is None or name.startswith(f"{part}."))
    if part is not None:
        module.eval()
        module.get_submodule(part).train()


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Biases and norms are not decayed."""
    parameters = list(module.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _averaging(decay: float) -> Callable[..., None]:
    """A running mean that starts fast, so that the random first weights are forgotten also in a short run."""

    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value.to(mean.dtype), weight)
            else:
                mean.copy_(value)

    return average


def numpy_predictor(module: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 images (N, C, H, W) to outputs, as `session.predictor` makes of a graph."""

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(images)).numpy())

    return predict


@contextlib.contextmanager
def _seeded(seed: int, threads: int | None) -> Iterator[None]:
    """Leave torch's random state and number of threads as they were."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads or before)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _processes() -> Iterator[int]:
    """Join the group that `torchrun` describes in the environment; yield this process's rank, 0 when alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield dist.get_rank() if dist.is_initialized() else 0
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()
