"""Resize of images as two one-dimensional resamplings: which input rows and columns each output one reads, how much.

Coordinates are computed in binary32, as onnxruntime does: where a coordinate falls between two pixels decides which
is nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgevision.graph.ir import Node

#: Fraction bits of an interpolation weight in integer arithmetic.
BITS = 11
F = np.float32
_HALF = F(0.5)
_NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda v: np.ceil(v - _HALF),
    "round_prefer_ceil": lambda v: np.floor(v + _HALF),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Axis:
    """One axis of a resampling.

    Attributes:
        taps: input positions each output position reads: 1 (nearest) or 2 (linear).
        indices: (size, taps) int32, within the input.
        weights: (size, taps) float32; each row sums to 1.
    """

    taps: int
    indices: np.ndarray = field(repr=False)
    weights: np.ndarray = field(repr=False)

    @property
    def fixed(self) -> np.ndarray:
        """The weights as integers that sum to 2^BITS exactly, or to 1 with one tap; int32."""
        if self.taps == 1:
            return np.ones_like(self.indices)
        second = np.rint(self.weights[:, 1].astype(np.float64) * 2**BITS).astype(np.int32)
        return np.stack([2**BITS - second, second], axis=1)


def axes_of(
    node: Node, x: tuple[int, ...], y: tuple[int, ...], constants: Mapping[str, np.ndarray]
) -> tuple[Axis, Axis] | None:
    """Rows and columns of an ONNX Resize of images (N, C, H, W); None for modes this does not describe."""
    mode, transform = _text(node, "mode", "nearest"), _text(node, "coordinate_transformation_mode", "half_pixel")
    plain = len(x) == 4 and x[:2] == y[:2] and not node.get("antialias")
    if not plain or mode not in ("nearest", "linear") or transform == "tf_crop_and_resize":
        return None
    scales = _scales(node, x, y, constants)
    if scales is None:
        return None
    rounding = _text(node, "nearest_mode", "round_prefer_floor") if mode == "nearest" else None
    rows, columns = (_axis(x[a], y[a], F(scales[a]), transform, rounding) for a in (2, 3))
    return None if rows is None or columns is None else (rows, columns)


def _text(node: Node, name: str, default: str) -> str:
    value = node.get(name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def _scales(
    node: Node, x: tuple[int, ...], y: tuple[int, ...], constants: Mapping[str, np.ndarray]
) -> list[float] | None:
    """Output size per input size, along every axis: as given, or from the sizes."""
    scales = [float(F(b) / F(a)) for a, b in zip(x, y, strict=True)]
    if len(node.inputs) > 2 and node.inputs[2]:
        given = constants.get(node.inputs[2])
        if given is None:
            return None
        axes = node.get("axes") or range(len(x))
        for axis, scale in zip(axes, given.reshape(-1).tolist(), strict=False):
            scales[axis % len(x)] = scale
    return scales


def _axis(size: int, result: int, scale: np.float32, transform: str, rounding: str | None) -> Axis | None:
    """One axis from `size` to `result` pixels; None for an unknown coordinate transformation or rounding."""
    i = np.arange(result, dtype=F)
    half = _HALF
    if transform == "half_pixel" or (transform == "pytorch_half_pixel" and result > 1):
        place = (i + half) / scale - half
    elif transform == "pytorch_half_pixel":
        place = np.zeros(1, F)
    elif transform == "asymmetric":
        place = i / scale
    elif transform == "align_corners":
        place = i * F(size - 1) / F(max(1, result - 1))
    elif transform == "half_pixel_symmetric":
        adjustment = F(result) / (scale * F(size))
        center = F(size) * half
        place = center * (F(1) - adjustment) + (i + half) / scale - half
    else:
        return None
    if rounding is None:
        # Out of the image the edge pixel counts, whatever its weight.
        place = np.clip(place, F(0), F(size - 1))
        low = np.floor(place).astype(np.int32)
        high = np.minimum(low + 1, size - 1).astype(np.int32)
        second = (place - low).astype(F)
        return Axis(2, np.stack([low, high], axis=1), np.stack([F(1) - second, second], axis=1))
    nearest = _NEAREST.get(rounding)
    if nearest is None:
        return None
    index = np.clip(nearest(place), 0, size - 1).astype(np.int32).reshape(-1, 1)
    return Axis(1, index, np.ones_like(index, F))
