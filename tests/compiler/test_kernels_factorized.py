"""The kernel of factorized convolutions against onnxruntime on its function's body, and on every architecture."""

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.execution import run_on
from helpers.factorized import graph_of
from helpers.walking import HOST, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision import compiler, target
from edgevision.compiler import lower
from edgevision.compiler.kernels.factorized import cut
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.graph import ir
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
