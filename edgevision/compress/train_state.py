"""What a training run needs to go on from the end of an epoch as if it had never stopped."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import torch

from edgevision.compress.train_settings import TrainSettings
from edgevision.errors import UsageError
from edgevision.files import write_atomic

SCHEMA = "edgevision.training/1"


class EpochRecord(msgspec.Struct, frozen=True):
    """One epoch: mean loss, the learning rate at its end, and seconds."""

    epoch: int
    loss: float
    lr: float
    seconds: float


class RunIdentity(msgspec.Struct, frozen=True):
    """What must be the same for a run to be continued."""

    settings: TrainSettings
    data: str
    data_sha256: str
    seed: int
    parameters: int
    world: int


class TrainState(msgspec.Struct, frozen=True):
    """The state after `len(history)` epochs; the tensors are those of torch's own state dictionaries."""

    network: dict[str, Any]
    averaged: dict[str, Any]
    optimizer: dict[str, Any]
    history: tuple[EpochRecord, ...]


def save_state(path: Path, identity: RunIdentity, state: TrainState) -> None:
    """Write the state, whole or not at all. No random state is kept: every epoch is seeded by its number."""
    buffer = io.BytesIO()
    torch.save(
        {
            "schema": SCHEMA,
            "identity": msgspec.json.encode(identity).decode(),
            "history": msgspec.json.encode(state.history).decode(),
            "network": state.network,
            "averaged": state.averaged,
            "optimizer": state.optimizer,
        },
        buffer,
    )
    write_atomic(path, buffer.getvalue())


def load_state(path: Path, identity: RunIdentity) -> TrainState:
    """Read the state of the same run.

    Raises:
        UsageError: the file is missing, damaged, or of a run with other settings, data or seed; all are listed.
    """
    fix = "train from the start: leave out --resume and add --overwrite"
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
        saved = msgspec.json.decode(raw["identity"], type=RunIdentity)
        history = msgspec.json.decode(raw["history"], type=tuple[EpochRecord, ...])
        state = TrainState(raw["network"], raw["averaged"], raw["optimizer"], history)
        schema = raw["schema"]
    except OSError as error:
        raise UsageError(f"cannot read the training state: {error.strerror}", where=str(path), fix=fix) from error
    except Exception as error:
        # Damaged bytes surface as any of torch's, zipfile's and msgspec's errors.
        raise UsageError(f"the training state is damaged: {error}", where=str(path), fix=fix) from error
    if schema != SCHEMA:
        raise UsageError(f"expected a training state of schema {SCHEMA}, got {schema}", where=str(path), fix=fix)
    reasons = [
        f"{name}: the file has {getattr(saved, name)}, asked for {getattr(identity, name)}"
        for name in identity.__struct_fields__
        if getattr(saved, name) != getattr(identity, name)
    ]
    if reasons:
        raise UsageError("the training state is of another run", where=str(path), fix=fix, reasons=reasons)
    return state
