"""A training whose result is kept: read back where it is there, gone on with where it was stopped, else begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from torch import nn

from edgevision.compress.task import Task
from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings
from edgevision.data.metric import AnySet
from edgevision.errors import UsageError
from edgevision.files import write_atomic
from edgevision.progress import Progress, silent


def load_kept(module: nn.Module, path: Path) -> None:
    """Read what `kept_training` kept into `module`.

    Raises:
        UsageError: a number that is not finite.
    """
    state = safetensors.torch.load_file(path)
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise UsageError(
            "what was kept of an interrupted training holds numbers that are not finite", where=str(path),
            reasons=broken[:10], fix="compress again without --resume",
        )  # fmt: skip
    module.load_state_dict(state)


def kept_training(
    module: nn.Module,
    data: AnySet,
    settings: TrainSettings,
    *,
    folder: Path,
    name: str,
    task: Callable[[], Task] | None = None,
    part: str | None = None,
    seed: int = 0,
    load: Callable[[nn.Module, Path], None] = load_kept,
    progress: Progress = silent,
) -> nn.Module:
    """Give `module` the weights that training leaves it, in place, and return it in eval mode.

    Args:
        folder, name: `<name>.safetensors` holds the result, `<name>.training` the state after each epoch until then.
        task: makes that of `train`, where there is something to train: it may decode every image.
        part: as of `train`; its weights alone are kept then.
        load: how the result is read, with the checks it needs.

    Raises:
        Interrupted: ^C.
        UsageError: see `train` and `load`.
    """
    path, checkpoint = folder / f"{name}.safetensors", folder / f"{name}.training"
    if not path.is_file():
        done = train(
            module, data, settings, checkpoint=checkpoint, task=task() if task else None, part=part, resume=True,
            seed=seed, evaluate=False, progress=progress,
        )  # fmt: skip
        state = _learning(done.module, part).state_dict()
        write_atomic(path, safetensors.torch.save({key: value.contiguous() for key, value in state.items()}))
        checkpoint.unlink(missing_ok=True)
    load(_learning(module, part), path)
    return module.eval()


def _learning(module: nn.Module, part: str | None) -> nn.Module:
    return module if part is None else module.get_submodule(part)
