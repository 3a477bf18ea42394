"""Training a network that predicts fields in time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from edgevision.compress.train_settings import TrainSettings
from edgevision.data.metric import Metric
from edgevision.data.wave import WaveSet, WaveSplit
from edgevision.data.wave_spec import PAST
from edgevision.errors import UsageError

#: Below this share of the norm of its input, a field's error is taken against that share: nearly nothing is left of it.
_LEAST = 0.05


@dataclass
class FieldPrediction:
    """Later fields: the relative L2 error, mean over windows.

    With `augmentation.flip` a window is mirrored where both borders it changes places with are of one kind, and turned
    where all four are; and since the equation is linear, its sign is drawn.

    Raises:
        UsageError: there is no train split, or fields would be changed in ways that are not those of waves.
    """

    dataset: WaveSet
    settings: TrainSettings
    metric: Metric = "fit"
    split: WaveSplit = field(init=False)

    def __post_init__(self) -> None:
        asked = self.settings.augmentation
        changes = ("shift", "rotate", "scale", "shear", "brightness", "contrast", "saturation")
        reasons = [f"{name} of {getattr(asked, name):g}" for name in changes if getattr(asked, name)]
        reasons += [f"sizes of {self.settings.sizes}"] if self.settings.sizes else []
        if reasons:
            raise UsageError("fields changed so would not be waves any more", reasons=reasons, fix="leave flip alone")
        self.split = self.dataset.split("train")

    def batch(self, chosen: np.ndarray, size: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs and later fields, both turned and mirrored alike; `size` is that of the data, or None."""
        inputs, later = (torch.from_numpy(part) for part in self.split.windows(chosen))
        if self.settings.augmentation.flip:
            inputs, later = self._mirrored(inputs, later, generator)
        return inputs.contiguous(memory_format=torch.channels_last), later

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean of |predicted - true| / |true|, norms over all fields of a window."""
        wrong, true = (outputs - targets).flatten(1).norm(dim=1), targets.flatten(1).norm(dim=1)
        # Past fields have a root mean square of 1.
        return (wrong / true.clamp_min(_LEAST * targets[0].numel() ** 0.5)).mean()

    def _mirrored(self, inputs: Tensor, later: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One draw for the batch in space, one for each window in sign."""
        left, right, bottom, top = self.dataset.waves.borders
        turn, along_x, along_y = torch.randint(2, (3,), generator=generator).tolist()
        if turn and len({left, right, bottom, top}) == 1:
            inputs, later = inputs.transpose(2, 3), later.transpose(2, 3)
        axes = [3] if along_x and left == right else []
        axes += [2] if along_y and bottom == top else []
        inputs, later = inputs.flip(axes), later.flip(axes)
        signs = 1 - 2 * torch.randint(2, (len(inputs), 1, 1, 1), generator=generator).float()
        return torch.cat([inputs[:, :PAST] * signs, inputs[:, PAST:]], dim=1), later * signs
