"""The recipe that trains a detector in 4 bits: what it writes, that it runs, and what it refuses."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from helpers.finders import PREPROCESSING, few_shapes, small_detector
from helpers.walking import walk

from edgevision import compiler, recipe, target
from edgevision.compress.apply import compress
from edgevision.compress.session import predictor
from edgevision.compress.train import train
from edgevision.compress.train_settings import TrainSettings
from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.machine import resolve
from edgevision.recipe import Recipe, TrainQuantized
from edgevision.zoo import load_model

SHORT = Recipe("short", "W4A8, trained for a moment", (TrainQuantized(epochs=6, lr=2e-4, calibration_images=16),))


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    """A detector that has learnt sixteen images by heart."""
    data = few_shapes(16)
    model = load_model("codenet_a", classes=data.classes, preprocessing=PREPROCESSING, weights="random")
    settings = TrainSettings(
        epochs=60, batch=8, lr=2e-3, final_lr=4e-5, weight_decay=0.01, warmup_epochs=8, ema_decay=0.9, gradient_clip=10,
        threads=1,
    )  # fmt: skip
    done = train(model.module, data, settings, checkpoint=tmp_path_factory.mktemp("finder") / "state")
    return replace(model, module=done.module), data


def test_four_bits_are_four_bits_in_the_file_and_find_the_same_objects(finder, tmp_path):
    model, data = finder
    made = compress(model, SHORT, export=export, out=tmp_path / "out", data=data)
    entry = made.info.ledger[-1]
    assert entry.step == "train_quantized"
    assert entry.accuracy_after > 40
    graph = made.graph()
    packed = [t for t in graph.graph.initializer if t.data_type == onnx.TensorProto.INT4]
    count = sum(int(np.prod(t.dims)) for t in packed)
    assert sum(len(t.raw_data) or len(t.int32_data) for t in packed) <= count / 2 + len(packed)
    assert entry.weight_bytes < 0.9e6
    assert "100.0 % of the multiply-accumulates on integers" in entry.change


def test_the_compiled_network_computes_what_the_file_says(finder, tmp_path):
    model, data = finder
    graph = compress(model, SHORT, export=export, out=tmp_path / "out", data=data, sensitivity=False).graph()
    program = compiler.compile_graph(graph, resolve(target.load("host")))
    images = np.concatenate([x for x, _ in data.split("test").batches(2, limit=2)])
    for image in images:
        expected, got = predictor(graph)(image[None]), walk(program, image[None])
        # Both are steps of the heads' quantisers; onnxruntime rounds through floats.
        assert np.mean(np.abs(expected - got) > 1e-6) < 0.01


def test_the_shipped_recipe_trains_in_four_bits():
    (step,) = recipe.load("w4a8-qat").steps
    assert isinstance(step, TrainQuantized)
    assert (step.weight_bits, step.first_bits, step.activation_bits) == (4, 8, 8)


def test_networks_the_engine_does_not_run_and_options_that_do_not_apply_are_refused_together(tmp_path):
    data = few_shapes(4)
    with pytest.raises(UsageError) as caught:
        compress(
            small_detector(), SHORT, export=export, out=tmp_path / "out", data=data, keep_fp=("maps",), max_drop=1.0
        )  # fmt: skip
    reasons = " ".join(caught.value.reasons)
    assert "codenet_a" in reasons
    assert "--keep-fp and --max-drop" in reasons
