"""Training by the QDQ graph: what is trained, and that the file computes the same whole steps."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from helpers.graphs import array, model_of, node
from helpers.networks import digits, trained_small
from helpers.quantised import float_graph as small_network
from helpers.walking import walk
from onnx import numpy_helper

from edgevision.compress import trained_quantized
from edgevision.compress.apply import compress
from edgevision.compress.layers import quantised_layers
from edgevision.compress.measure import measure
from edgevision.compress.onnxgraph import Index
from edgevision.compress.qat import QatSettings
from edgevision.compress.qat_graph import QatGraph
from edgevision.compress.quantize import quantize
from edgevision.compress.session import session
from edgevision.compress.steps import ActivationSteps, Steps, WeightSteps
from edgevision.compress.train_settings import TrainSettings
from edgevision.data.dataset import DataSet
from edgevision.errors import Unsupported, UsageError
from edgevision.graph import reference
from edgevision.graph.export import export
from edgevision.graph.ir import read
from edgevision.recipe import Quantize, Recipe, TrainQuantized

IMAGES = next(iter(digits().split("calibration").batches(16)))[0]


class Noise:
    """Images of noise, as a split."""

    def __init__(self, shape, count=8):
        self._images = np.random.default_rng(0).standard_normal((count, *shape[1:])).astype(np.float32)

    def __len__(self):
        return len(self._images)

    def batches(self, size, *, limit=None):
        yield self._images[:limit], None


def trained(graph, settings, images, steps=3):
    """A few steps of the optimiser towards other outputs, so that every number has moved."""
    torch.manual_seed(0)
    network = QatGraph(graph, settings)
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    x = torch.from_numpy(images)
    wanted = torch.randn(network(x).shape)
    for _ in range(steps):
        optimiser.zero_grad()
        (network(x) - wanted).square().mean().backward()
        assert all(p.grad is not None for p in network.parameters())
        optimiser.step()
    return network.eval()


def whole_steps(model, image):
    """What onnxruntime makes of every quantiser, nothing fused, from the zero point."""
    shown, index = onnx.ModelProto(), Index.of(model.graph)
    shown.CopyFrom(model)
    quantisers = [item for item in model.graph.node if item.op_type == "QuantizeLinear"]
    shapes = {value.name: value for value in model.graph.value_info}
    shown.graph.output.extend(shapes[item.output[0]] for item in quantisers)
    runner = session(shown, optimise=False)
    names = [item.output[0] for item in quantisers]
    got = runner.run(names, {model.graph.input[0].name: image})
    zeros = {item.output[0]: index.array(item.input[2]).astype(int) for item in quantisers}
    return {
        name: x.astype(int) - (zeros[name].reshape(1, -1, 1, 1) if zeros[name].ndim else zeros[name])
        for name, x in zip(names, got, strict=True)
    }


def agrees(network, image):
    """Share of whole steps that differ between training and file; none by more than one."""
    with torch.no_grad():
        values = network.values(torch.from_numpy(image))
    differing = total = 0
    for name, steps in whole_steps(network.written(), image).items():
        away = np.abs(steps - values[name].values.numpy())
        assert away.max() <= 1, name
        differing, total = differing + int((away > 0).sum()), total + away.size
    return differing / total


@pytest.mark.parametrize(("bits", "ranges"), [(8, "moving"), (4, "moving"), (4, "learned"), (2, "learned")])
def test_training_and_file_have_the_same_whole_steps(quantised_graph, bits, ranges):
    network = trained(quantised_graph, QatSettings(bits, 8, ranges), IMAGES)
    assert agrees(network, IMAGES[:1]) < 1e-3
    original = {t.name: numpy_helper.to_array(t) for t in quantised_graph.graph.initializer}
    moved = {t.name for t in network.written().graph.initializer
             if not np.array_equal(numpy_helper.to_array(t), original[t.name])}  # fmt: skip
    assert {"mlp.0.weight.q", "mlp.0.corrected_bias", "stem.2.scale", "head.weight.scale"} <= moved
    # What lies between 0 and 1 keeps its scale of 1/256.
    assert "gate.block.2.scale" not in moved


@pytest.mark.parametrize("name", ["cas_vit", "efficientnet_lite0", "residual"])
def test_networks_of_every_kind_train_as_they_are_quantised(name):
    graph = small_network(name)
    shape = [dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim]
    split = Noise(shape)
    eight = quantize(graph, Quantize(calibration_images=4), split)
    network = trained(eight, QatSettings(4, 8), split._images[:2], steps=1)
    # A step that differs changes those behind it: of a deep network the float sums of pools and joins may.
    assert agrees(network, split._images[:1]) < 1e-2
    assert [item.op_type for item in network.written().graph.node] == [item.op_type for item in eight.graph.node]


def test_the_compiled_network_computes_what_was_trained(quantised_graph):
    network = trained(quantised_graph, QatSettings(4, 8), IMAGES)
    graph = network.written()
    (got,) = walk(graph, IMAGES[:1])
    np.testing.assert_array_equal(got, reference.run(graph, IMAGES[:1])[0])
    with torch.no_grad():
        np.testing.assert_allclose(got, network(torch.from_numpy(IMAGES[:1])).numpy(), atol=0.1 * np.abs(got).max())


def test_few_bits_are_few_in_the_file_and_the_first_layer_has_its_own(quantised_graph):
    graph = trained(quantised_graph, QatSettings(3, 8), IMAGES).written()
    index, first = Index.of(graph.graph), "stem.0"
    for layer in quantised_layers(graph.graph):
        tensor = index.constants[f"{layer}.weight.q"]
        values = read(graph).constants[tensor.name]
        assert tensor.data_type == (onnx.TensorProto.INT8 if layer == first else onnx.TensorProto.INT4)
        assert layer == first or (values.min() >= -4 and values.max() <= 3)


def test_nothing_changes_where_nothing_was_trained(quantised_graph):
    """Weights of 8 bits that use their whole range, ranges that never moved."""
    written = QatGraph(quantised_graph, QatSettings(8, 8)).eval().written()
    after = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    for tensor in quantised_graph.graph.initializer:
        before = numpy_helper.to_array(tensor)
        if tensor.name.endswith(".weight.q"):
            assert np.abs(before.astype(int) - after[tensor.name].astype(int)).max() <= 1
        elif before.dtype == np.float32:
            np.testing.assert_allclose(after[tensor.name], before, rtol=1e-2)
        else:
            np.testing.assert_array_equal(after[tensor.name], before)


def test_a_moving_range_follows_what_it_sees():
    quantizer = ActivationSteps(np.float32(0.1), np.uint8(0), "moving")
    quantizer.observe(torch.tensor([0.0, 51.0]))
    quantizer.commit(0.5)
    assert float(quantizer.scale()) == pytest.approx((25.5 + 51) / 2 / 255)
    asymmetric = ActivationSteps(np.float32(0.1), np.uint8(100), "moving")
    asymmetric.observe(torch.tensor([-30.0, 15.5]))
    asymmetric.commit(1.0)
    assert float(asymmetric.scale()) == pytest.approx(45.5 / 255) and float(asymmetric.zero) == round(30 / (45.5 / 255))
    with pytest.raises(UsageError, match="are numbers"):
        asymmetric.observe(torch.tensor([float("nan")]))
        asymmetric.commit(0.5)


def test_each_channel_of_a_depthwise_input_has_its_own_steps():
    scale = np.float32([0.1, 0.4])
    steps = ActivationSteps(scale, np.uint8([0, 0]), "learned")(torch.full((1, 2, 1, 1), 0.4))
    assert isinstance(steps, Steps) and steps.values.reshape(-1).tolist() == [4.0, 1.0]
    assert steps.real.reshape(-1).tolist() == pytest.approx([0.4, 0.4])


def test_weights_of_any_axis_keep_their_shape():
    weight = array(5, 3)
    layer = WeightSteps(weight, 1, 8, learned=False)
    assert layer().scale.shape == (3,)
    np.testing.assert_allclose(layer().real.detach().numpy(), weight, atol=np.abs(weight).max() / 127)


def test_operators_that_cannot_be_trained_through_are_all_named():
    model = model_of(
        [node("Einsum", ["x"], ["a"], name="first", equation="nchw->nchw"), node("Cos", ["a"], ["y"], name="second")],
        (1, 3, 4, 4),
    )
    with pytest.raises(Unsupported) as caught:
        QatGraph(model, QatSettings())
    assert {"first: Einsum", "second: Cos"} <= set(caught.value.reasons)


def test_the_recipe_wins_back_what_four_bits_lose(tmp_path, monkeypatch):
    def briefly(_model, _data, step):
        return TrainSettings(epochs=step.epochs, batch=64, lr=step.lr, ema_decay=0.9, warmup_epochs=0.5, threads=1)

    monkeypatch.setattr(trained_quantized, "quantized_settings", briefly)
    settings = {"export": export, "data": digits(), "evaluate_limit": 256, "sensitivity": False}
    made = {}
    for epochs, lr in ((1, 1e-9), (4, 3e-3)):
        steps = Recipe("short", "", (TrainQuantized(weight_bits=3, first_bits=3, epochs=epochs, lr=lr),))
        made[epochs] = compress(trained_small(), steps, out=tmp_path / f"{epochs}", **settings)
    before, after = (made[epochs].info.ledger[-1].accuracy_after for epochs in (1, 4))
    assert after > before + 2
    assert after > made[4].info.ledger[-1].accuracy_before - 4
    assert measure(made[4].graph()).integer_share == 1.0
    assert isinstance(digits(), DataSet)
