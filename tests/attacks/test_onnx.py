"""ONNX graphs that do not belong here: refused with every reason, before anything is written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgevision.data.preprocess import Preprocessing
from edgevision.errors import EdgeVisionError, Unsupported, UsageError
from edgevision.graph.export import export
from edgevision.zoo.model import InputSpec, Model, Provenance


def as_model(nodes, *, outputs=("y",), weights=(), opset=20, functions=()) -> Model:
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in outputs],
        list(weights),
    )
    domains = {node.domain for node in nodes if node.domain}
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)
    return Model("hostile", InputSpec("x", (1, 3, 8, 8)), Preprocessing(8, 8), Provenance("x.onnx"), onnx=model)


def test_operators_of_unknown_domains_are_all_named():
    nodes = [
        helper.make_node("Mystery", ["x"], ["a"], name="first", domain="acme"),
        helper.make_node("Riddle", ["a"], ["y"], name="second", domain="acme"),
    ]
    with pytest.raises(Unsupported) as caught:
        export(as_model(nodes))
    assert ["first" in caught.value.reasons[0], "second" in caught.value.reasons[1]] == [True, True]


def test_an_operator_hidden_behind_our_domain_is_refused():
    with pytest.raises(Unsupported, match="edgevision::Relu"):
        export(as_model([helper.make_node("Relu", ["x"], ["y"], name="r", domain="edgevision")]))


def test_control_flow_is_refused():
    inner = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    condition = numpy_helper.from_array(np.asarray(True), "c")
    node = helper.make_node("If", ["c"], ["y"], name="branch", then_branch=inner, else_branch=inner)
    with pytest.raises(Unsupported, match="branch"):
        export(as_model([node], weights=[condition]))


def test_two_outputs_are_refused():
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["z"])]
    with pytest.raises(Unsupported, match="one output, got 2"):
        export(as_model(nodes, outputs=("y", "z")))


def test_a_later_opset_than_we_know_is_refused():
    model = as_model([helper.make_node("Relu", ["x"], ["y"])])
    model.onnx.opset_import[0].version = 24
    with pytest.raises(Unsupported, match="24"):
        export(model)


def test_shapes_that_do_not_fit_are_an_error_of_ours():
    weight = numpy_helper.from_array(np.ones((4, 5, 3, 3), np.float32), "w")
    with pytest.raises(EdgeVisionError) as caught:
        export(as_model([helper.make_node("Conv", ["x", "w"], ["y"], name="c")], weights=[weight]))
    assert isinstance(caught.value, UsageError | Unsupported)


def test_a_cycle_is_refused():
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    with pytest.raises(UsageError, match="not valid ONNX"):
        export(as_model([*nodes, helper.make_node("Relu", ["b"], ["y"])]))


def test_an_empty_graph_is_refused():
    model = as_model([])
    with pytest.raises(EdgeVisionError):
        export(model)
    assert isinstance(model.onnx, onnx.ModelProto)
