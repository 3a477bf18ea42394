"""One network in one runtime, a few inferences, and the memory this process came to: a child of `memory.py`.

usage: python -m benchmarks.cpu.resident RUNTIME ONNX THREADS; RUNTIME "none" imports numpy alone.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    """Run and print the peak and the present resident bytes as JSON."""
    runtime, path, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if runtime == "onnxruntime":
        _onnxruntime(path, threads)
    elif runtime == "openvino":
        _openvino(path, threads)
    status = Path("/proc/self/status").read_text()
    peak, now = (int(re.findall(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[0]) for name in ("VmHWM", "VmRSS"))
    print(json.dumps({"peak_bytes": peak << 10, "resident_bytes": now << 10}))


def _onnxruntime(path: Path, threads: int) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    for _ in range(3):
        session.run(None, {given.name: np.zeros(given.shape, np.float32)})


def _openvino(path: Path, threads: int) -> None:
    import openvino

    asked = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", asked)
    for _ in range(3):
        compiled(np.zeros(list(compiled.input(0).shape), np.float32))


if __name__ == "__main__":
    main()
