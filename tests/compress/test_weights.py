from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.networks import SIZE, digits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgevision.compress.measure import measure
from edgevision.compress.session import session
from edgevision.compress.weights import quantize_weights, symmetric_per_channel
from edgevision.errors import UsageError

WEIGHTS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=st.floats(-1e6, 1e6, width=32),
)


@settings(max_examples=200, deadline=None)
@given(WEIGHTS)
def test_error_is_at_most_half_a_step(weight):
    quantised, scale = symmetric_per_channel(weight, axis=0)
    step = scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float64)
    error = np.abs(weight - quantised * step)
    # Two float32 roundings (of the scale and of the quotient) come on top of half a step.
    assert (error <= step / 2 + 127 * step * 2**-22).all()
    assert quantised.min() >= -127


@settings(max_examples=50, deadline=None)
@given(WEIGHTS)
def test_channels_do_not_disturb_each_other(weight):
    whole, scales = symmetric_per_channel(weight, axis=1)
    for channel in range(weight.shape[1]):
        alone, scale = symmetric_per_channel(weight[:, channel : channel + 1], axis=1)
        np.testing.assert_array_equal(alone, whole[:, channel : channel + 1])
        assert scale == scales[channel]


@pytest.mark.parametrize("value", [0.0, np.float32(1e-45), np.float32(3e38)])
def test_edge_magnitudes_stay_finite(value):
    quantised, scale = symmetric_per_channel(np.full((1, 3), value, np.float32), axis=0)
    assert np.isfinite(scale).all() and (scale > 0).all()
    assert (quantised == quantised[0, 0]).all()


def test_the_file_shrinks_and_the_answer_stays(float_graph):
    small = quantize_weights(float_graph)
    onnx.checker.check_model(small, full_check=True)
    before, after = measure(float_graph), measure(small)
    assert after.parameters == before.parameters
    assert all(layer.dtype == "int8" for layer in after.layers)
    weights = sum(layer.parameters for layer in before.layers)
    assert after.weight_bytes < before.weight_bytes - 2 * weights
    image = next(iter(digits().split("test").batches(1)))[0]
    expected, got = (session(graph).run(None, {"input": image})[0] for graph in (float_graph, small))
    assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()
    assert image.shape[-1] == SIZE


def test_kept_layers_keep_their_float_weights(float_graph):
    kept = {layer.name: layer for layer in measure(quantize_weights(float_graph, keep_fp=["head", "qkv"])).layers}
    assert {name for name, layer in kept.items() if layer.dtype == "float32"} == {"head", "qkv"}


def test_unknown_layers_are_refused_with_the_nearest_name(float_graph):
    with pytest.raises(UsageError) as caught:
        quantize_weights(float_graph, keep_fp=["heads", "stem.00"])
    assert "did you mean 'head'" in caught.value.reasons[0]
    assert "did you mean 'stem.0'" in caught.value.reasons[1]
