"""What onnxruntime's quantiser writes, in every format, runs in integers: our reference's bits, onnxruntime's steps."""

import numpy as np
import onnxruntime
import pytest
from helpers.execution import run_on
from helpers.quantised import FORMATS, image_shape, quantised
from helpers.walking import HOST, walk
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType

from edgevision import compiler, target
from edgevision.errors import Unsupported
from edgevision.graph import reference
from edgevision.machine import resolve

IDS = [f"{'channel' if c else 'tensor'}-{a.name}-{w.name}{'-symmetric' if s else ''}" for c, a, w, s in FORMATS]


def last_step(model):
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return float(constants[model.graph.node[-1].input[1]])


def compare(model, steps):
    x = np.random.default_rng(5).standard_normal(image_shape(model)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (theirs,) = session.run(None, {model.graph.input[0].name: x})
    (ours,) = reference.run(model, x)
    assert np.array_equal(walk(model, x)[0], ours)
    assert np.abs(ours - theirs).max() <= (steps + 0.01) * last_step(model)
    assert np.ptp(theirs) > 50 * last_step(model)


@pytest.mark.parametrize("form", FORMATS, ids=IDS)
@pytest.mark.parametrize("name", ["perceptron", "residual"])
def test_small_networks_in_every_format(name, form):
    model = quantised(name, *form)
    coverage = compiler.check(model, HOST)
    assert (coverage.float_mac_share, coverage.unsupported) == (0, ())
    assert coverage.tvm == ()
    compare(model, 1)


@pytest.mark.parametrize("form", FORMATS, ids=IDS)
def test_no_multiplication_of_efficientnet_stays_float(form):
    coverage = compiler.check(quantised("efficientnet_lite0", *form), HOST)
    assert (coverage.float_mac_share, coverage.unsupported) == (0, ())
    assert coverage.float_step_share < 0.06


@pytest.mark.parametrize("form", [FORMATS[0], FORMATS[2], FORMATS[7]], ids=[IDS[0], IDS[2], IDS[7]])
def test_no_multiplication_of_cas_vit_stays_float(form):
    coverage = compiler.check(quantised("cas_vit", *form), HOST)
    assert (coverage.float_mac_share, coverage.unsupported) == (0, ())


def test_cas_vit_compiled():
    compare(quantised("cas_vit", *FORMATS[0]), 4)


@pytest.mark.parametrize("name", ["rpi4", "zynq7020-ps"])
def test_the_residual_network_on_arm(name):
    model = quantised("residual", *FORMATS[7])
    x = np.random.default_rng(5).standard_normal(image_shape(model)).astype(np.float32)
    program = compiler.compile_graph(model, resolve(target.load(name)))
    assert np.array_equal(run_on(program, x), reference.run(model, x)[0])


def test_the_operator_format_is_refused_with_the_way_to_the_other():
    model = quantised("perceptron", True, QuantType.QUInt8, QuantType.QInt8, False, QuantFormat.QOperator)
    with pytest.raises(Unsupported) as caught:
        compiler.check(model, HOST)
    assert any("QLinearMatMul" in reason or "QGemm" in reason for reason in caught.value.reasons)
    assert "QuantFormat.QDQ" in str(caught.value.fix)
