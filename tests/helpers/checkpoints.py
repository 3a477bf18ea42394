"""Random checkpoints in the layout of a release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch


def write(path: Path, shapes: Mapping[str, tuple[int, ...]], *, under: str | None = None) -> dict[str, torch.Tensor]:
    """Write small random tensors of `shapes` as a `.pth`, under one key as some releases do; variances positive."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator) * 0.05
        state[key] = value.abs() + 0.5 if key.endswith("running_var") else value
    torch.save({under: state} if under else state, path)
    return state
