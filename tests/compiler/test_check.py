"""`check` and a build give the same answer, whatever the operator."""

from __future__ import annotations

import numpy as np
import pytest

from edgevision import compiler
from edgevision import target as targets
from edgevision.compiler.lower import lower
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.errors import Unsupported
from edgevision.machine import resolve
from tests.helpers.operators import CASES, model_of, node

HOST = resolve(targets.load("host"))
#: Operators at the edge of what TVM takes: some are refused, and which ones may change with its version.
EDGE = {
    "TopK": ([node("TopK", ["x", "k"], ["y", "i"], name="n")], {"k": np.array([2])}),
    "CumSum": ([node("CumSum", ["x", "a"], ["y"], name="n")], {"a": np.array(1)}),
    "NonZero": ([node("NonZero", ["x"], ["i"], name="n"), node("Cast", ["i"], ["y"], to=1)], {}),
    "OneHot": ([node("Cast", ["x"], ["i"], to=7), node("OneHot", ["i", "d", "v"], ["y"], name="n")],
               {"d": np.array(5), "v": np.array([0, 1], np.float32)}),
    "ArgMax": ([node("ArgMax", ["x"], ["i"], name="n"), node("Cast", ["i"], ["y"], to=1)], {}),
    "Tile": ([node("Tile", ["x", "r"], ["y"], name="n")], {"r": np.array([1, 2])}),
    "Trilu": ([node("Trilu", ["x"], ["y"], name="n")], {}),
    "IsNaN": ([node("IsNaN", ["x"], ["i"], name="n"), node("Cast", ["i"], ["y"], to=1)], {}),
    "Shrink": ([node("Shrink", ["x"], ["y"], name="n", lambd=0.5)], {}),
    "LpNormalization": ([node("LpNormalization", ["x"], ["y"], name="n")], {}),
    "Unique": ([node("Unique", ["x"], ["y"], name="n")], {}),
    "Det": ([node("Det", ["x"], ["y"], name="n")], {}),
    "GatherElements": ([node("GatherElements", ["x", "j"], ["y"], name="n", axis=1)], {"j": np.array([[1, 0]])}),
    "Mod": ([node("Mod", ["x", "m"], ["y"], name="n", fmod=1)], {"m": np.float32(2)}),
}  # fmt: skip


@pytest.mark.parametrize("op", sorted(EDGE))
def test_check_says_what_a_build_would(op):
    nodes, constants = EDGE[op]
    model = model_of(nodes, (4, 4), **constants)
    try:
        found = compiler.check(model, HOST).unsupported
    except Unsupported as error:
        found = error.reasons or (error.what,)
    try:
        compiler.compile_graph(model, HOST)
    except Unsupported as error:
        assert tuple(error.reasons) == tuple(found) != ()
    else:
        assert found == ()


def test_some_operators_are_refused_and_all_of_them_named_with_their_share():
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="heavy"),
        node("CumSum", ["h", "a"], ["c"], name="first bad"),
        node("Relu", ["c"], ["r"], name="good"),
        node("Det", ["r"], ["d"], name="second bad"),
        node("Relu", ["d"], ["y"], name="last"),
    ]
    model = model_of(nodes, (4, 4), w=np.ones((4, 4), np.float32), a=np.array(1))
    found = "\n".join(compiler.check(model, HOST).unsupported)
    assert "CumSum 'first bad'" in found and "Det 'second bad' (0.0 % of MACs)" in found
    assert "heavy" not in found and "good" not in found and "last" not in found


def test_a_refused_integer_operator_does_not_hide_the_next(monkeypatch):
    from edgevision.compiler import lower as module
    from edgevision.graph import ir
    from edgevision.graph.integer import integerize

    step = {"s": np.float32(0.1), "z": np.uint8(3)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("Add", ["d", "d"], ["t"], name="first"), node("QuantizeLinear", ["t", "s", "z"], ["u"]),
        node("DequantizeLinear", ["u", "s", "z"], ["v"]), node("Mul", ["v", "v"], ["m"], name="second"),
        node("QuantizeLinear", ["m", "s", "z"], ["o"]), node("DequantizeLinear", ["o", "s", "z"], ["y"]),
    ]  # fmt: skip
    graph = integerize(ir.read(model_of(nodes, (1, 8), **step)))
    for op in ("IntAdd", "IntMul"):
        monkeypatch.setitem(module.RULES, op, lambda builder, node: False)
    with pytest.raises(Unsupported) as caught:
        lower(graph, simd_of(HOST), tvm_target(HOST))
    assert len(caught.value.reasons) == len([n for n in graph.nodes if n.op in ("IntAdd", "IntMul")]) > 0


@pytest.mark.parametrize("name", sorted(CASES))
def test_operators_that_go_through_tvm_pass_the_check(name):
    nodes, shape, constants = CASES[name]
    assert compiler.check(model_of(nodes, shape, **constants), HOST).unsupported == ()
