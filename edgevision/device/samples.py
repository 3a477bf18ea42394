"""Batches as the runner takes them: samples one behind the other, little-endian."""

from __future__ import annotations

import numpy as np

from edgevision.bundle.manifest import Manifest, TensorSpec
from edgevision.errors import DeviceError, UsageError


def samples_of(inputs: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Return `inputs` as a contiguous little-endian array (samples, *shape), shape being the plan's.

    Arrays that lie in memory in another way (strided, transposed, not aligned) are copied.

    Raises:
        UsageError: no numpy array, or another shape or type than the bundle takes.
    """
    spec = manifest.inputs[0]
    if not isinstance(inputs, np.ndarray):
        raise UsageError(
            f"expected a numpy array, got {type(inputs).__name__}",
            where=f"input '{spec.name}' of {manifest.origin.model}",
            fix=f"numpy.asarray(..., dtype=numpy.{spec.dtype})",
        )
    batch = spec.shape[0] if spec.shape else 1
    fits = inputs.shape[1:] == spec.shape[1:] and inputs.ndim == len(spec.shape) and len(inputs) % batch == 0
    if not fits or not len(inputs) or inputs.dtype != np.dtype(spec.dtype):
        raise UsageError(
            f"expected {spec.dtype} of shape (N, {', '.join(map(str, spec.shape[1:]))}), N a multiple of {batch}; "
            f"got {inputs.dtype} {inputs.shape}",
            where=f"input '{spec.name}' of {manifest.origin.model}",
        )
    little = np.dtype(spec.dtype).newbyteorder("<")
    return np.ascontiguousarray(inputs, dtype=little).reshape(-1, *spec.shape)


def outputs_of(raw: bytes, count: int, spec: TensorSpec, *, where: str) -> np.ndarray:
    """Return the outputs of `count` samples, joined along the first axis.

    Raises:
        DeviceError: not as many bytes as that takes.
    """
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    expected = count * int(np.prod(spec.shape, dtype=np.int64)) * dtype.itemsize
    if len(raw) != expected:
        raise DeviceError(f"expected {expected} bytes of output, got {len(raw)}", where=where)
    return np.frombuffer(raw, dtype).astype(spec.dtype).reshape(count * spec.shape[0], *spec.shape[1:])
