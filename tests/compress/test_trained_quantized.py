"""The recipe that trains a detector in 4 bits: what it writes, that it runs, and what it refuses."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers.finders import PREPROCESSING, few_shapes
from helpers.walking import walk

from edgevision import recipe
from edgevision.compress import trained_quantized
from edgevision.compress.apply import compress
from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings
from edgevision.errors import UsageError
from edgevision.graph import reference
from edgevision.graph.export import export
from edgevision.recipe import Recipe, TrainQuantized
from edgevision.zoo import load_model

SHORT = Recipe("short", "W4A8, trained for a moment", (TrainQuantized(epochs=30, lr=3e-4, calibration_images=16),))


def memorising(epochs, lr):
    return TrainSettings(
        epochs=epochs, batch=8, lr=lr, final_lr=lr / 50, weight_decay=0.01, warmup_epochs=epochs / 8, ema_decay=0.9,
        gradient_clip=10, threads=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    """A detector that has learnt sixteen images by heart."""
    data = few_shapes(16)
    model = load_model("codenet_a", classes=data.classes, preprocessing=PREPROCESSING, weights="random")
    done = train(model.module, data, memorising(60, 2e-3), checkpoint=tmp_path_factory.mktemp("finder") / "state")
    return replace(model, module=done.module), data


@pytest.fixture(autouse=True)
def by_heart(monkeypatch):
    """Without changes of the images, which a network that knows sixteen by heart does not survive."""
    monkeypatch.setattr(
        trained_quantized, "quantized_settings", lambda _model, _data, step: memorising(step.epochs, step.lr)
    )


def test_four_bits_are_four_bits_in_the_file_and_find_the_same_objects(finder, tmp_path):
    model, data = finder
    made = compress(model, SHORT, export=export, out=tmp_path / "out", data=data)
    entry = made.info.ledger[-1]
    assert entry.step == "train_quantized"
    assert entry.accuracy_after > 80
    graph = made.graph()
    packed = [t for t in graph.graph.initializer if t.data_type == onnx.TensorProto.INT4]
    count = sum(int(np.prod(t.dims)) for t in packed)
    assert sum(len(t.raw_data) or len(t.int32_data) for t in packed) <= count / 2 + len(packed)
    assert entry.weight_bytes < 0.95e6
    assert "100.0 % of the multiply-accumulates on integers" in entry.change


def test_the_compiled_network_computes_what_the_file_says(finder, tmp_path):
    model, data = finder
    graph = compress(model, SHORT, export=export, out=tmp_path / "out", data=data, sensitivity=False).graph()
    image = next(iter(data.split("test").batches(1)))[0]
    (got,) = walk(graph, image)
    np.testing.assert_array_equal(got, reference.run(graph, image)[0])


def test_the_shipped_recipe_trains_in_four_bits():
    (step,) = recipe.load("w4a8-qat").steps
    assert isinstance(step, TrainQuantized)
    assert (step.weight_bits, step.first_bits, step.activation_bits) == (4, 8, 8)


def test_options_that_do_not_apply_are_refused_together(tmp_path):
    data = few_shapes(4)
    with pytest.raises(UsageError) as caught:
        compress(
            load_model("codenet_a", classes=data.classes, preprocessing=PREPROCESSING, weights="random"), SHORT,
            export=export, out=tmp_path / "out", data=data, keep_fp=("maps",), max_drop=1.0,
        )  # fmt: skip
    reasons = " ".join(caught.value.reasons)
    assert "--max-drop puts layers back" in reasons
    assert "a CoDeNet trains in integers throughout" in reasons
