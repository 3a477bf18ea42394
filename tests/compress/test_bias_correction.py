from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from edgevision.compress.bias_correction import correct, differences
from edgevision.compress.observe import observe
from edgevision.compress.onnxgraph import Index
from edgevision.compress.weights import quantize_weights

RNG = np.random.default_rng(0)
IMAGES = [{"x": RNG.standard_normal((1, 6, 7, 7)).astype(np.float32) + 2} for _ in range(10)]


def network(*, bias: bool) -> onnx.ModelProto:
    """A padded convolution whose weights four bits would hardly hold; its inputs have a mean."""
    weight = RNG.standard_normal((5, 6, 3, 3)).astype(np.float32)
    tensors = [onnx.numpy_helper.from_array(weight, "w"), onnx.numpy_helper.from_array(weight[:, 0, 0, 0], "b")]
    node = onnx.helper.make_node("Conv", ["x", "w", *(["b"] if bias else [])], ["y"], "conv", pads=[1] * 4)
    ports = [
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, (1, c, 7, 7)) for n, c in (("x", 6), ("y", 5))
    ]
    graph = onnx.helper.make_graph([node], "g", ports[:1], ports[1:], tensors[: 1 + bias])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def means(model: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.mean([session.run(None, image)[0].mean((0, 2, 3)) for image in IMAGES], axis=0)


@pytest.mark.parametrize("bias", [True, False])
def test_the_mean_of_every_channel_comes_back(bias):
    original = network(bias=bias)
    made = quantize_weights(original)
    # As if of two bits, so that there is something to correct.
    for tensor in made.graph.initializer:
        if tensor.name == "conv.weight.q":
            coarse = (onnx.numpy_helper.to_array(tensor) // 64 * 64).astype(np.int8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(coarse, tensor.name))
    lost = differences(original.graph, made.graph)
    observed = observe(original, {}, IMAGES, differences=lost)
    before = np.abs(means(made) - means(original)).max()
    assert correct(made.graph, observed.shifts) == []
    assert np.abs(means(made) - means(original)).max() < 1e-4 < 0.1 < before


def test_extremes_are_those_of_all_images():
    original = network(bias=True)
    found = observe(original, {"x": None, "y": 1}, IMAGES, histograms=["x"])
    whole = np.concatenate([image["x"] for image in IMAGES])
    session = onnxruntime.InferenceSession(original.SerializeToString())
    outputs = np.concatenate([session.run(None, image)[0] for image in IMAGES])
    assert found.images == 10 and found.low["x"] == whole.min() and found.high["x"] == whole.max()
    np.testing.assert_allclose(found.low["y"], outputs.min((0, 2, 3)), rtol=1e-5)
    assert found.histograms["x"].counts.sum() == whole.size
    assert Index.of(original.graph).readers["y"] == []
