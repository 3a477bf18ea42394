"""Whether an engine computes the network at all: nothing is compared with a broken one."""

from __future__ import annotations

from typing import Any

import numpy as np

#: A float engine's largest error, as a share of the largest output.
FLOAT_ERROR = 1e-3
#: What the outputs of an engine in 8 or 16 bits must correlate with.
LEAST_CORRELATION = 0.9
#: Names of engines that compute in less than float32.
_LOSSY = ("int8", "default")


def judged(name: str, output: np.ndarray, expected: np.ndarray) -> dict[str, Any]:
    """Largest relative error and correlation to onnxruntime's float output, and whether they will do."""
    got, wanted = output.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if got.shape != wanted.shape:
        return {"relative_error": None, "correlation": None, "agrees": False}
    error = float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))
    correlation = float(np.corrcoef(got, wanted)[0, 1])
    exact = not any(word in name for word in _LOSSY)
    fine = error <= FLOAT_ERROR if exact else correlation >= LEAST_CORRELATION
    return {"relative_error": error, "correlation": correlation, "agrees": bool(fine)}
