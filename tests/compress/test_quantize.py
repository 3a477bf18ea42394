from __future__ import annotations

import gc

import numpy as np
import onnx
import psutil
import pytest
from helpers.networks import digits

from edgevision.compress.layers import quantised_operators, weight_of
from edgevision.compress.measure import measure
from edgevision.compress.onnxgraph import WEIGHTED, Index, attribute
from edgevision.compress.quantize import quantize
from edgevision.compress.session import session
from edgevision.errors import UsageError
from edgevision.recipe import Quantize

CALIBRATION = digits().split("calibration")


def logits(model: onnx.ModelProto, *, optimise: bool = True) -> np.ndarray:
    runner = session(model, optimise=optimise)
    images = next(iter(digits().split("test").batches(32)))[0]
    return np.concatenate([runner.run(None, {"input": image[None]})[0] for image in images])


def test_every_layer_is_integer_and_the_answer_stays(float_graph, quantised_graph):
    onnx.checker.check_model(quantised_graph, full_check=True)
    assert quantised_graph.opset_import[0].version >= 20
    assert measure(quantised_graph).integer_share == 1.0
    expected, got = logits(float_graph), logits(quantised_graph)
    assert np.square(expected - got).sum() < 0.01 * np.square(expected).sum()
    assert (expected.argmax(1) == got.argmax(1)).mean() > 0.9


def test_weights_are_int8_with_one_scale_per_output_channel(quantised_graph):
    index = Index.of(quantised_graph.graph)
    seen = 0
    for node in quantised_graph.graph.node:
        weight = weight_of(node, index)
        if weight is None:
            continue
        dequantize = index.producer[node.input[1]]
        values, scale, zero = (index.array(name) for name in dequantize.input)
        axis = attribute(dequantize, "axis", None)
        assert axis >= 0 and scale.shape == zero.shape == (values.shape[axis],)
        assert values.dtype == np.int8 and values.min() >= -127 and not zero.any()
        assert weight == f"{node.name}.weight.q"
        seen += 1
    assert seen == 8


def test_layers_read_dequantised_activations_and_only_depthwise_has_scales_per_channel(quantised_graph):
    index = Index.of(quantised_graph.graph)
    for node in quantised_graph.graph.node:
        if node.op_type in WEIGHTED:
            dequantize = index.producer[node.input[0]]
            assert dequantize.op_type == "DequantizeLinear"
            assert index.array(dequantize.input[1]).ndim == 0 or node.name == "depthwise"


def test_every_integer_tensor_has_one_dequantize(quantised_graph):
    sources = [n.input[0] for n in quantised_graph.graph.node if n.op_type == "DequantizeLinear"]
    assert len(sources) == len(set(sources))


def test_splits_run_on_integers(quantised_graph):
    index = Index.of(quantised_graph.graph)
    split = next(node for node in quantised_graph.graph.node if node.op_type == "Split")
    assert index.producer[split.input[0]].op_type == "QuantizeLinear"
    assert {n.op_type for name in split.output for n in index.readers[name]} == {"DequantizeLinear"}


def test_sigmoid_has_the_scale_of_its_range(quantised_graph):
    index = Index.of(quantised_graph.graph)
    sigmoids = [node for node in quantised_graph.graph.node if node.op_type == "Sigmoid"]
    assert len(sigmoids) == 2
    for node in sigmoids:
        quantiser = index.readers[node.output[0]][0]
        assert index.array(quantiser.input[1]) == np.float32(1 / 256)
        assert index.array(quantiser.input[2]).dtype == np.uint8


def test_elementwise_operators_and_pooling_are_quantised(quantised_graph):
    types = {node.name: node.op_type for node in quantised_graph.graph.node}
    assert {"Add", "Mul", "GlobalAveragePool"} <= {types[name] for name in quantised_operators(quantised_graph.graph)}


def test_ranges_by_histogram_are_narrower(float_graph, quantised_graph):
    narrow = quantize(float_graph, Quantize(calibration_images=48, ranges="mse"), CALIBRATION)
    scale = {name: Index.of(g.graph).array("mlp.1.scale") for name, g in (("all", quantised_graph), ("some", narrow))}
    assert scale["some"] < scale["all"]


def test_symmetric_activations_have_zero_points_in_the_middle(float_graph):
    graph = quantize(float_graph, Quantize(calibration_images=8, activations="symmetric"), CALIBRATION).graph
    index = Index.of(graph)
    zeros = [index.array(node.input[2]) for node in graph.node if node.op_type == "QuantizeLinear"]
    assert zeros and not any(zero.any() for zero in zeros)


def test_kept_layers_read_floats(float_graph):
    graph = quantize(float_graph, Quantize(calibration_images=8), CALIBRATION, keep_fp=["mlp.0", "head"])
    integer = {layer.name: layer.integer for layer in measure(graph).layers}
    assert [name for name, value in integer.items() if not value] == ["mlp.0", "head"]
    assert np.isfinite(logits(graph)).all()


def test_the_same_images_give_the_same_bytes(float_graph, quantised_graph):
    again = quantize(float_graph, Quantize(calibration_images=48), CALIBRATION)
    assert again.SerializeToString(deterministic=True) == quantised_graph.SerializeToString(deterministic=True)


def test_nothing_is_printed_and_every_image_is_reported(float_graph, capfd):
    told = []
    quantize(float_graph, Quantize(calibration_images=24), CALIBRATION, progress=lambda *step: told.append(step[:3]))
    assert capfd.readouterr() == ("", "")
    assert told == [("calibrate", done, 24) for done in range(1, 25)]


@pytest.mark.parametrize("bad", ["mlp.7", "hed"])
def test_unknown_names_are_refused_before_an_image_is_read(float_graph, bad):
    class Untouched:
        def __len__(self):
            raise AssertionError("the images were read")

    with pytest.raises(UsageError, match="did you mean"):
        quantize(float_graph, Quantize(), Untouched(), keep_fp=[bad])


def test_a_quantised_graph_is_not_quantised_again(quantised_graph):
    with pytest.raises(UsageError, match="quantised already"):
        quantize(quantised_graph, Quantize(), CALIBRATION)


class Endless:
    """As many images as asked for, made on request."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batches(self, batch, *, limit=None):
        rng = np.random.default_rng(0)
        for _ in range(0, min(limit or self.count, self.count), batch):
            yield rng.standard_normal((batch, 3, 16, 16)).astype(np.float32), np.zeros(batch, np.int64)


def test_memory_does_not_grow_with_the_number_of_images(float_graph):
    process = psutil.Process()
    quantize(float_graph, Quantize(calibration_images=64), Endless(64))
    gc.collect()
    before = process.memory_info().rss
    quantize(float_graph, Quantize(calibration_images=1024), Endless(1024))
    gc.collect()
    assert process.memory_info().rss - before < 6 << 20


def test_images_that_are_not_numbers_are_refused(float_graph):
    class Poisoned(Endless):
        def batches(self, batch, *, limit=None):
            yield np.full((4, 3, 16, 16), np.nan, np.float32), np.zeros(4, np.int64)

    with pytest.raises(UsageError, match="NaN"):
        quantize(float_graph, Quantize(calibration_images=4), Poisoned(4))
