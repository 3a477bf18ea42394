"""What a training step costs, dense and factorized, in turns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.surrogate.training import DENSE, module_of, network
from edgevision.compress.task import task_of
from edgevision.compress.train_settings import TrainSettings
from edgevision.data.wave import WaveSet


def step_times(forms: Sequence[str], data: WaveSet, settings: TrainSettings, rounds: int) -> dict[str, Any]:
    """Median seconds of one step (forward, backward, AdamW) of each form, and the median of its quotient to dense.

    Forms take turns within a round, so that a disturbance falls on all of them; each runs twice untimed first.
    """
    task = task_of(data, settings)
    chosen = np.arange(settings.batch) % len(data.split("train"))
    inputs, targets = task.batch(chosen, None, torch.Generator().manual_seed(0))
    modules = {form: module_of(network(form, data, 0)).train() for form in forms}
    for module in modules.values():
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = {form: torch.optim.AdamW(module.parameters(), lr=1e-4) for form, module in modules.items()}
    times: dict[str, list[float]] = {form: [] for form in forms}
    for round_ in range(rounds + 2):
        for form, module in modules.items():
            began = time.perf_counter()
            optimizers[form].zero_grad(set_to_none=True)
            task.loss(module(inputs), targets).backward()
            optimizers[form].step()
            if round_ >= 2:
                times[form].append(time.perf_counter() - began)
    dense = np.array(times[DENSE])
    return {
        form: {
            "seconds": float(np.median(own)),
            "over_dense": float(np.median(np.array(own) / dense)),
            "rounds": rounds,
        }
        for form, own in times.items()
    }
