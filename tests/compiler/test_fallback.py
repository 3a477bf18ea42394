"""Operators without a generator: right whatever the lengths, shared when equal, and on vectors."""

import time

import numpy as np
import onnxruntime
import pytest
from helpers.execution import ORIGIN, run_on
from helpers.operators import CASES, array, model_of, node, product
from helpers.walking import HOST

from edgevision import compiler
from edgevision.bundle import load, write
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.device.walk import Walk
from edgevision.graph import ir
from edgevision.graph.integer import integerize


@pytest.mark.parametrize("case", sorted(CASES))
def test_agrees_with_onnxruntime(case):
    nodes, shape, constants = CASES[case]
    model = model_of(nodes, shape, **constants)
    x = 3 * array(*shape, seed=5)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    program = compiler.compile_graph(model, HOST)
    assert "fallback" in {step.family for step in program.steps}
    np.testing.assert_allclose(run_on(program, x), expected, rtol=2e-5, atol=1e-5)


def test_equal_operators_share_a_kernel_whatever_their_tensors_are_called():
    nodes = [
        node("LogSoftmax", ["x"], ["first"], axis=-1), node("Sigmoid", ["first"], ["other"]),
        node("LogSoftmax", ["other"], ["a_longer_name"], axis=-1), node("Sigmoid", ["a_longer_name"], ["y"]),
    ]  # fmt: skip
    graph = integerize(ir.read(model_of(nodes, (2, 5, 37))))
    builder = lower(graph, simd_of(HOST), tvm_target(HOST))
    calls = [call.kernel for call in builder.calls if call.family == "fallback"]
    assert len(calls) == 2 and len(set(calls)) == 1


@pytest.mark.parametrize("rows", [193, 197])
def test_products_run_on_vectors(rows, tmp_path):
    """Far from what a core does, and far above what it does one product at a time."""
    nodes, shape, constants = product(64, 3, rows)
    program = compiler.compile_graph(model_of(nodes, shape, **constants), HOST)
    results = [program.tensors[step.tensors[-1]].shape for step in program.steps]
    write(program, ORIGIN, tmp_path / "b")
    best = float("inf")
    with Walk(load(tmp_path / "b")) as walk:
        walk.run()
        for _ in range(10):
            begun = time.perf_counter()
            walk.step(results.index((3, rows, rows)))
            best = min(best, time.perf_counter() - begun)
    assert 2 * 3 * rows * rows * 64 / best > 4e9
