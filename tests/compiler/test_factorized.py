"""Factorized convolutions in graphs: the function's body, both ways to compute it, compiled and in the reference."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.execution import run_on
from helpers.factorized import graph_of, one_way_after_another
from helpers.walking import walk
from onnx.reference import ReferenceEvaluator
from torch import nn

from edgevision import compiler, target
from edgevision.compress.factorized_graph import as_convolutions
from edgevision.compress.fold import fold_batch_norm
from edgevision.compress.measure import measure
from edgevision.data.preprocess import Preprocessing
from edgevision.graph import reference
from edgevision.graph.export import export
from edgevision.machine import resolve
from edgevision.zoo.factorized import FactorizedConv2d, FactorizedConvTranspose2d
from edgevision.zoo.model import InputSpec, Model, Provenance

LAYERS = [
    {"channels": (5, 7), "kernel": (3, 3), "size": (9, 8), "rank": 1, "padding": (1, 1)},
    {"channels": (3, 20), "kernel": (5, 3), "size": (9, 12), "rank": 4, "padding": (2, 1), "stride": (2, 1)},
    {"channels": (6, 4), "kernel": (4, 4), "size": (5, 6), "rank": 3, "padding": (1, 1), "stride": (2, 2),
     "transposed": True},
]  # fmt: skip


def sample(model: onnx.ModelProto) -> np.ndarray:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def in_onnxruntime(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_body_computes_what_the_layer_does(layer):
    model = graph_of(0, **layer)
    x, arrays = sample(model), {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy())
                                for t in model.graph.initializer}  # fmt: skip
    kind = FactorizedConvTranspose2d if layer.get("transposed") else FactorizedConv2d
    module = kind(*layer["channels"], layer["kernel"], layer.get("stride", 1), layer["padding"], layer["rank"])
    with torch.no_grad():
        for own, name in ((module.channel, "layer.channel"), (module.filters[0], "layer.rows"),
                          (module.filters[1], "layer.columns"), (module.bias, "layer.bias")):  # fmt: skip
            own.copy_(arrays[name].reshape(own.shape))
        wanted = one_way_after_another(module, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(in_onnxruntime(model, x), wanted, rtol=1e-4, atol=1e-4)
    if not layer.get("transposed"):  # whose groups the reference of onnx does not know
        np.testing.assert_allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("thin", [True, False])
@pytest.mark.parametrize("layer", LAYERS)
def test_both_ways_to_compute_it_agree_with_the_body(layer, thin):
    model = graph_of(1, **layer)
    x = sample(model)
    plain, (choice,) = as_convolutions(model, lambda shape: thin)
    assert choice.factored is thin and choice.nodes[-1] == "layer" and not plain.functions
    assert {node.domain for node in plain.graph.node} == {""}
    wanted = in_onnxruntime(model, x)
    np.testing.assert_allclose(in_onnxruntime(plain, x), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(walk(plain, x)[0], wanted, rtol=1e-4, atol=1e-4)
    layers = measure(plain)
    assert layers.macs == (sum(choice.shape.macs) if thin else choice.shape.dense_macs)
    assert layers.parameters == measure(model).parameters or not thin
    assert measure(model).macs == sum(choice.shape.macs)


@pytest.mark.parametrize("layer", LAYERS)
def test_compiled_and_reference_agree_with_onnxruntime(layer):
    model = graph_of(2, **layer)
    x = sample(model)
    wanted = in_onnxruntime(model, x)
    np.testing.assert_allclose(walk(model, x)[0], wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(reference.run(model, x)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["host", "rpi4", "zynq7020-ps"])
def test_every_architecture(name):
    model = graph_of(3, **LAYERS[1])
    x = sample(model)
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    np.testing.assert_allclose(got, in_onnxruntime(model, x), rtol=1e-4, atol=1e-4)


def test_a_call_with_factors_that_do_not_fit_is_refused_by_the_compiler():
    model = graph_of(4, **LAYERS[0])
    next(a for a in model.graph.node[0].attribute if a.name == "group").i = 3
    found = compiler.check(model, resolve(target.load("host")))
    assert any("edgevision::FactorizedConv 'layer'" in reason for reason in found.unsupported)


def test_torch_exports_one_call_per_layer_under_its_name_with_the_norm_in_its_factors():
    torch.manual_seed(0)
    net = nn.Sequential(
        FactorizedConv2d(3, 8, (3, 5), (2, 1), (1, 2), 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        FactorizedConvTranspose2d(8, 6, 4, 2, 1, 3), nn.Flatten(), nn.Linear(6 * 16 * 32, 10),
    ).eval()  # fmt: skip
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0.5, 2)
    folded, report = fold_batch_norm(net, torch.randn(1, 3, 16, 16))
    assert report.folded == ("1 -> 0",)
    spec, prepared = InputSpec("input", (1, 3, 16, 16)), Preprocessing(height=16, width=16)
    exported = export(Model("net", spec, prepared, Provenance("random"), module=folded))
    calls = {n.name: n.op_type for n in exported.graph.graph.node if n.domain == "edgevision"}
    assert calls == {"0": "FactorizedConv", "3": "FactorizedConvTranspose"}
    names = {t.name for t in exported.graph.graph.initializer}
    assert {f"{i}.{factor}" for i in "03" for factor in ("channel", "rows", "columns", "bias")} <= names
