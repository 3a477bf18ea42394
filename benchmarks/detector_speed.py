"""A detector end to end, one thread: W4A8 compiled by EdgeVision against onnxruntime on the float graph, in turns.

onnxruntime runs its best choice of two: its own DeformConv, and the function's body of dilated depthwise convolutions.
Random weights: no kernel is faster for the weights' sake. Both sizes are those of the weights in the files.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import common
import numpy as np
import onnx
import onnxruntime
import torch

from edgevision import compiler
from edgevision import target as targets
from edgevision.bundle import Origin, write
from edgevision.compress.measure import measure
from edgevision.compress.qat_codenet import quantised_codenet
from edgevision.compress.standins import stand_in
from edgevision.device import open_device
from edgevision.graph.export import export
from edgevision.machine import resolve
from edgevision.zoo import load_model

ROUNDS, RUNS = 15, 8


def median_ms(session: onnxruntime.InferenceSession, image: np.ndarray) -> Callable[[], float]:
    """Median of some runs in milliseconds."""
    name = session.get_inputs()[0].name

    def run() -> float:
        taken = []
        for _ in range(RUNS):
            began = time.perf_counter()
            session.run(None, {name: image})
            taken.append(time.perf_counter() - began)
        return statistics.median(taken) * 1e3

    return run


def main() -> None:
    """Build all, time them in turns, print and write medians and paired ratios."""
    parser = common.flags(__doc__ or "")
    parser.add_argument("--model", default="codenet_a")
    parser.add_argument("--image-size", type=int)
    asked = parser.parse_args()
    model = load_model(asked.model, weights="random", image_size=asked.image_size, classes=tuple("abc"))
    assert model.module is not None
    generator = torch.Generator().manual_seed(0)
    many = torch.rand((8, *model.input.shape[1:]), generator=generator) * 2 - 1
    model.module.train()
    for _ in range(20):  # batch norms with statistics, else all scales are tiny
        model.module(many)
    model.module.eval()
    images = many[:1]
    plain = export(model).graph
    standard = onnx.ModelProto.FromString(plain.SerializeToString())
    stand_in(standard)
    trained = quantised_codenet(model.module, [many], preprocessing=model.preprocessing)
    small = export(replace(model, module=trained)).graph

    host = resolve(targets.load("host"))
    folder = Path(tempfile.mkdtemp()) / "bundle"
    origin = Origin(asked.model, "w4a8", 0, small.graph.input[0].name, model.preprocessing)
    write(compiler.compile_graph(small, host), origin, folder)
    device = open_device("host", host, timeout=60)
    device.push(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    contenders: dict[str, Callable[[], float]] = {
        "edgevision w4a8": lambda: float(np.median(device.profile(RUNS, warmup=1, threads=1).run_ns)) / 1e6
    }
    for name, graph in (("onnxruntime float, DeformConv", standard), ("onnxruntime float, function body", plain)):
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
        contenders[name] = median_ms(session, images.numpy())
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            taken[name].append(run())
    ours = taken["edgevision w4a8"]
    rows = {
        name: {
            "median_ms": statistics.median(times),
            "times_ours": statistics.median(t / o for t, o in zip(times, ours, strict=True)),
        }
        for name, times in taken.items()
    }
    sizes = {"float_bytes": measure(plain).weight_bytes, "w4a8_bytes": measure(small).weight_bytes}
    for name, row in rows.items():
        print(f"{name:34s} {row['median_ms']:8.2f} ms  {row['times_ours']:6.2f}")
    print(f"weights: float {sizes['float_bytes']} bytes, W4A8 {sizes['w4a8_bytes']} bytes")
    common.write(asked.out, "edgevision.bench.detector_speed/1", {"model": asked.model, "rows": rows, **sizes})


if __name__ == "__main__":
    main()
