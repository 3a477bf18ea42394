"""Units of a network that can be bypassed, and what they would save.

A unit is a module that is called once, takes one tensor and gives one of the same shape, and holds at least two layers
with weights: a residual block, an attention or MLP branch, a row of blocks. There are two ways around it: its input
goes on as it is, or nothing does, where it is a branch whose result is added to something (A-SDM, arXiv 2312.15516 and
2406.00210; which way costs less is measured, not guessed from the code).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Way = Literal["input", "nothing"]
WAYS: tuple[Way, ...] = ("input", "nothing")
#: Multiply-accumulates in the time one element of a result is written, float32 on a Zen 4 core: about 59 GMAC/s from
#: registers, 15 GB/s through the second cache.
MACS_PER_ELEMENT = 16


class Nothing(nn.Module):
    """Zeros of the input's shape: what is left of a branch."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return torch.zeros_like(x)


@dataclass(frozen=True)
class Unit:
    """A module that can be bypassed.

    Attributes:
        path: of the module.
        layers: with weights in it.
        parameters: it holds.
        time: modelled, in multiply-accumulates: those of its layers, and `MACS_PER_ELEMENT` for each element that its
            modules write.
    """

    path: str
    layers: int
    parameters: int
    time: int


def find_units(module: nn.Module, example: Tensor) -> tuple[Unit, ...]:
    """The units of `module`, outer ones before those inside them; one that holds nothing but another is left out.

    Args:
        module: in eval mode.
        example: float32 (1, C, H, W).

    >>> block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 1), block, nn.Flatten(), nn.Linear(64, 2)).eval()
    >>> [(unit.path, unit.layers, unit.time) for unit in find_units(network, torch.zeros(1, 3, 4, 4))]
    [('1', 2, 5632)]
    """
    calls, times = _called(module, example)
    found: list[Unit] = []
    for path, part in module.named_modules():
        layers = sum(1 for layer in part.modules() if _weighted(layer))
        if not path or layers < 2 or calls.get(path) != 1:
            continue
        unit = Unit(path, layers, sum(p.numel() for p in part.parameters()), _within(times, path))
        if not any(inside(path, outer.path) and unit.parameters == outer.parameters for outer in found):
            found.append(unit)
    return tuple(found)


def modelled_time(module: nn.Module, example: Tensor) -> int:
    """Modelled time of the whole network, as that of a `Unit`."""
    return sum(_called(module, example)[1].values())


def inside(path: str, outer: str) -> bool:
    """Whether a module is another one, or in it.

    >>> inside("layer1.0", "layer1"), inside("layer10", "layer1")
    (True, False)
    """
    return f"{path}.".startswith(f"{outer}.")


def outermost(units: Sequence[Unit]) -> list[Unit]:
    """The units that are in no other one."""
    return [unit for unit in units if not any(inside(unit.path, other.path) for other in units if other is not unit)]


def bypassed(module: nn.Module, path: str, way: Way) -> None:
    """Take the unit at `path` out of `module`, in place."""
    module.set_submodule(path, nn.Identity() if way == "input" else Nothing())


def _called(module: nn.Module, example: Tensor) -> tuple[dict[str, int], dict[str, int]]:
    """How often each module that keeps a tensor's shape was called (0 where one call did not), and times of leaves."""
    calls: Counter[str] = Counter()
    misfits: set[str] = set()
    times: Counter[str] = Counter()
    names = {part: path for path, part in module.named_modules()}

    def note(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        path = names[part]
        calls[path] += 1
        one = len(inputs) == 1 and isinstance(inputs[0], Tensor) and isinstance(output, Tensor)
        if not one or inputs[0].shape != output.shape:
            misfits.add(path)
        if isinstance(output, Tensor) and not any(True for _ in part.children()):
            macs = output.numel() * part.weight[0].numel() if _weighted(part) else 0  # type: ignore[operator, index]
            times[path] += macs + MACS_PER_ELEMENT * output.numel()

    handles = [part.register_forward_hook(note) for part in names]
    try:
        with torch.inference_mode():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return {path: 0 if path in misfits else count for path, count in calls.items()}, dict(times)


def _weighted(layer: nn.Module) -> bool:
    """Convolutions, linear layers and their kin: those whose weight has rows of products."""
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim >= 2


def _within(times: dict[str, int], path: str) -> int:
    return sum(time for leaf, time in times.items() if inside(leaf, path))
