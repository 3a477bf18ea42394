"""The kernel of factorized convolutions against onnxruntime on its function's body, and on every architecture."""

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.execution import run_on
from helpers.factorized import graph_of
from helpers.graphs import node, quantized
from helpers.walking import HOST, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision import compiler, target
from edgevision.compiler import lower
from edgevision.compiler.kernels.factorized import cut
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.compress.onnxgraph import finished
from edgevision.graph import ir, reference
from edgevision.graph.integer import integerize
from edgevision.machine import resolve
from edgevision.zoo.factorized import largest_rank


@st.composite
def layers(draw):
    """Arguments of `graph_of`, whose input is never smaller than the kernel."""
    kernel = draw(st.sampled_from([(3, 3), (1, 3), (5, 2), (2, 4), (7, 1)]))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    channels = draw(st.sampled_from([(1, 1), (3, 17), (8, 64), (2, 151)]))
    rank = draw(st.integers(1, min(5, largest_rank(channels[0], kernel))))
    size = tuple(draw(st.integers(k, 24)) for k in kernel)
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return {"channels": channels, "kernel": kernel, "size": size, "rank": rank, "padding": padding, "stride": stride}


def sample(model: onnx.ModelProto) -> np.ndarray:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def in_factors(model: onnx.ModelProto) -> list[str]:
    """Families of the kernels of a graph whose factorized layers all stay in factors."""
    builder = lower.lower(integerize(ir.read(model)), simd_of(HOST), tvm_target(HOST))
    return [call.family for call in builder.calls if call.family != "layout"]


@given(layers())
@settings(max_examples=15, deadline=None)
def test_any_geometry_agrees_with_onnxruntime(monkeypatch_session, drawn):
    model = graph_of(0, **drawn)
    assert in_factors(model) == ["factorized"]
    x = sample(model)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(walk(model, x)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def monkeypatch_session():
    """Every layer in factors, whatever the cost model says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "for_floats", lambda shape: True)
        yield


@pytest.mark.parametrize("name", ["host", "rpi4", "zynq7020-ps"])
def test_every_architecture(monkeypatch_session, name):
    model = graph_of(3, channels=(6, 37), kernel=(3, 5), size=(11, 14), rank=3, padding=(1, 2), stride=(2, 1))
    x = sample(model)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_a_vector_of_few_channels_is_narrow_and_many_products_are_a_group_of_their_own():
    assert (cut(8, 1, 16).width, cut(9, 1, 16).width) == (8, 16)
    assert cut(256, 9, 4).blocks == 1
    assert cut(96, 2, 16).blocks == 2


def byte_network(**layer):
    """A call on bytes, its channel factors in bytes, with a ReLU and a quantiser behind it."""
    model = graph_of(5, **layer)
    factors = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    weight = factors["layer.channel"]
    scale = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
    (call,) = model.graph.node
    call.input[0], call.input[1], call.output[0] = "a", "w", "c"
    constants = {"s": np.float32(0.03), "z": np.uint8(100), "s2": np.float32(0.2), "w.s": scale,
                 "w.q": np.rint(weight / scale[:, None, None, None]).astype(np.int8),
                 "w.z": np.zeros(len(scale), np.int8)}  # fmt: skip
    nodes = [*quantized("x", "a"), node("DequantizeLinear", ["w.q", "w.s", "w.z"], ["w"], axis=0), call,
             node("Relu", ["c"], ["r"]), *quantized("r", "y", "s2")]  # fmt: skip
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items())
    return finished(model)


@given(layers())
@settings(max_examples=10, deadline=None)
def test_bytes_have_the_bits_of_the_reference(drawn):
    model = byte_network(**drawn)
    assert in_factors(model) == ["elementwise", "factorized", "elementwise"]
    assert compiler.check(model, HOST).float_mac_share == 0
    x = 3 * sample(model)
    (got,), (wanted,) = walk(model, x), reference.run(model, x)
    assert np.array_equal(got, wanted)
    # One step of the result, where onnxruntime's float sum falls on the other side of a tie.
    assert np.abs(got - onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]).max() < 0.201


@pytest.mark.parametrize("name", ["rpi4", "arm64-i8mm", "zynq7020-ps"])
def test_bytes_on_every_architecture(name):
    model = byte_network(channels=(9, 37), kernel=(3, 3), size=(7, 10), rank=2, padding=(1, 1))
    x = 3 * sample(model)
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    assert np.array_equal(got, reference.run(model, x)[0])
