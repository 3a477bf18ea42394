from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.cpu import agreement, graphs, quantised, waterline
from benchmarks.cpu.catalogue import SHAPES, Depthwise, Gemm
from benchmarks.cpu.pieces import Pieces


def test_a_finished_piece_is_not_made_again(tmp_path):
    made = []

    def make() -> list[int]:
        made.append(1)
        return [1, 2]

    for _ in range(2):
        assert Pieces(tmp_path).get("a b/c", {"x": 1}, make) == [1, 2]
    assert Pieces(tmp_path).get("a b/c", {"x": 2}, make) == [1, 2]
    assert len(made) == 2


def test_layers_have_names_of_their_own():
    names = [shape.name for shape in SHAPES]
    assert len(set(names)) == len(names)


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": image})[0]


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_the_quantised_layer_is_the_float_layer_in_eight_bits():
    shape = Gemm(7, 24, 40)
    plain, quantised_one = graphs.gemm(shape), graphs.quantised_gemm(shape)
    image, weights = graphs.sample(plain), constants(plain)
    expected = image @ weights["weight"] + weights["bias"]
    assert run(plain, image) == pytest.approx(expected, abs=1e-4)
    answer = run(quantised_one, image)
    assert 0 < np.abs(answer - expected).max() < 0.05 * np.abs(expected).max()


def test_a_chain_of_depthwise_layers_is_one_after_the_other():
    shape = Depthwise(5, 8)
    many = graphs.depthwise(shape, count=2)
    image = graphs.sample(many)
    expected = image
    for index in range(2):
        weight, bias = (constants(many)[f"{what}{index}"] for what in ("weight", "bias"))
        padded = np.pad(expected, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        expected = np.einsum("nchwij,cij->nchw", windows, weight[:, 0]) + bias[None, :, None, None]
    assert run(many, image) == pytest.approx(expected, abs=1e-4)


def test_onnxruntimes_own_int8_networks_agree_with_its_float_one(tmp_path):
    model = graphs.gemm(Gemm(7, 24, 40))
    path = tmp_path / "plain.onnx"
    onnx.save(model, str(path))
    image = graphs.sample(model)
    expected = run(model, image)
    for label in quantised.names(path):
        made = onnx.load(str(quantised.onnxruntime_file(label, path, [image], tmp_path)))
        assert any(node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear") for node in made.graph.node)
        assert agreement.judged(f"onnxruntime int8 {label}", run(made, image), expected)["agrees"]


@pytest.mark.parametrize(
    ("name", "error", "agrees"),
    [("ncnn fp32", 1e-5, True), ("ncnn fp32", 0.02, False), ("openvino default", 0.02, True), ("a int8 b", 5.0, False)],
)
def test_a_float_engine_is_held_to_more_than_an_integer_one(name, error, agrees):
    draw = np.random.default_rng(0)
    expected = draw.normal(size=(1, 100))
    answer = expected + error * draw.normal(size=(1, 100))
    assert agreement.judged(name, answer, expected)["agrees"] == agrees


def test_an_answer_of_nothing_but_nan_agrees_with_nothing():
    expected = np.arange(10.0)
    assert not agreement.judged("int8", np.full(10, np.nan), expected)["agrees"]
    assert not agreement.judged("fp32", np.full(10, np.nan), expected)["agrees"]


@pytest.mark.parametrize(
    ("us", "macs", "touched", "bound"),
    [(10, 800_000, 1, "arithmetic"), (10, 1, 800_000, "memory"), (10, 100_000, 100_000, "neither: its instructions")],
)
def test_a_step_is_bound_by_the_limit_it_comes_near(us, macs, touched, bound):
    assert waterline.step("a", "gemm", us, macs, touched, 100e9, 100e9)["bound"] == bound
