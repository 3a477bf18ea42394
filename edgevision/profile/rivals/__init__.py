"""Other runtimes on this host, given the networks our bundles are made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgevision.profile.rivals.ncnn import NcnnEngine
from edgevision.profile.rivals.onnx_runtime import OnnxRuntimeEngine
from edgevision.profile.rivals.openvino import OpenVinoEngine
from edgevision.profile.rivals.timing import RivalEngine

__all__ = ["RIVALS", "NcnnEngine", "OnnxRuntimeEngine", "OpenVinoEngine", "RivalEngine", "open_rival", "takes_integers"]

_ENGINES: dict[str, type[RivalEngine]] = {
    "onnxruntime": OnnxRuntimeEngine,
    "openvino": OpenVinoEngine,
    "ncnn": NcnnEngine,
}
#: What `--against` takes.
RIVALS = tuple(_ENGINES)


def open_rival(runtime: str, name: str, path: Path, threads: int, sample: np.ndarray) -> RivalEngine:
    """Open an ONNX file in `runtime`, one of `RIVALS`, with its own defaults but float32 where nothing is quantised.

    Raises:
        ToolMissing: the runtime's package is not installed.
        Unsupported: it cannot take the network.
    """
    return _ENGINES[runtime](name, path, threads, sample)


def takes_integers(runtime: str) -> bool:
    """Whether `runtime` reads QDQ graphs; ncnn has its own calibration and its own form of an int8 network."""
    return runtime != "ncnn"
