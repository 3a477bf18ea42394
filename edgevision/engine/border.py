"""Where a network of integers meets real numbers: the image on its way in, the results on their way out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgevision.engine.checks import tensors_of
from edgevision.engine.network import IntegerNetwork
from edgevision.errors import UsageError


def quantised_image(network: IntegerNetwork, image: np.ndarray) -> np.ndarray:
    """The normalised image, float32 (C, H, W), in int8 of the input's group: rint(image / scale) + zero, clamped.

    Raises:
        UsageError: another size or type, or values that are no numbers.
    """
    header = network.header
    if image.shape != header.input_shape or image.dtype != np.float32 or not np.isfinite(image).all():
        raise UsageError(
            f"expected a float32 image {header.input_shape} of finite numbers, got {image.dtype} {image.shape}",
            fix="prepare it as the network was trained, or export the network for this size",
        )
    group = header.groups[header.input_group]
    steps = np.rint(image / np.float32(group.scale)) + np.float32(group.zero)
    return np.clip(steps, -128, 127).astype(np.int8)


def real_outputs(network: IntegerNetwork, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The outputs among `tensors` (int8 (C, h, w), by name) one after another: float32 (all C, h, w), scale (q - zero).

    Raises:
        UsageError: an output is missing, or of another shape or type.
    """
    header, kinds = network.header, tensors_of(network.header)
    reasons, parts = [], []
    for name in header.outputs:
        wanted, group = kinds[name].shape, kinds[name].group
        got = tensors.get(name)
        if got is None or got.shape != wanted or got.dtype != np.int8:
            found = "nothing" if got is None else f"{got.dtype} {got.shape}"
            reasons.append(f"output '{name}': expected int8 {wanted}, got {found}")
        elif group is not None:
            quantised = header.groups[group]
            parts.append((got.astype(np.float32) - np.float32(quantised.zero)) * np.float32(quantised.scale))
    if reasons:
        raise UsageError("the outputs are not those of the network", reasons=reasons, fix="run the same network")
    return np.concatenate(parts)
