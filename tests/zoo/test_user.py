import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from edgevision.errors import Unsupported, UsageError
from edgevision.zoo import load_model


def graph(path, shape, *, dtype=TensorProto.FLOAT, opset=20, extra_input=False):
    weight = helper.make_tensor("w", TensorProto.FLOAT, (2, 3, 1, 1), np.arange(6, dtype=np.float32))
    inputs = [helper.make_tensor_value_info("image", dtype, shape)]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "w"], ["y"]),
        helper.make_node("GlobalAveragePool", ["y"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], 2])
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, [output], [weight]), opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def test_a_free_batch_becomes_one_and_free_sides_the_image_size(tmp_path):
    path = graph(tmp_path / "net.onnx", ["n", 3, "h", "w"])
    model = load_model(str(path), image_size=8, classes=("a", "b"))
    assert (model.name, model.input.name, model.input.shape) == ("net", "image", (1, 3, 8, 8))
    output = model.onnx.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in output] == [1, 2]
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    got, expected = (
        onnxruntime.InferenceSession(content).run(None, {"image": x})[0]
        for content in (model.onnx.SerializeToString(), path.read_bytes())
    )
    np.testing.assert_array_equal(got, expected)


def test_a_static_file_is_kept_as_it_came(tmp_path):
    path = graph(tmp_path / "net.onnx", [1, 3, 8, 8])
    assert load_model(str(path)).onnx == onnx.load(str(path))


def test_every_reason_against_a_file_comes_at_once(tmp_path):
    path = graph(tmp_path / "net.onnx", [1, 3, 8, 8], dtype=TensorProto.UINT8, opset=11, extra_input=True)
    with pytest.raises(Unsupported) as caught:
        load_model(str(path))
    text = "\n".join(caught.value.reasons)
    assert "opset 13 or later, got 11" in text and "one input, got 2" in text and "float32, got uint8" in text


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (["n", 3, "h", 8], "height is free; give --image-size"),
        ([4, 3, 8, 8], "batch 1 or a free batch, got 4"),
    ],
)
def test_shapes_that_cannot_be_made_static_are_refused(tmp_path, shape, reason):
    with pytest.raises(Unsupported) as caught:
        load_model(str(graph(tmp_path / "net.onnx", shape)))
    assert any(reason in line for line in caught.value.reasons)


def test_a_side_that_is_fixed_cannot_be_asked_for_otherwise(tmp_path):
    path = graph(tmp_path / "net.onnx", [1, 3, 8, 8])
    with pytest.raises(Unsupported, match="height is fixed at 8, asked for 16"):
        load_model(str(path), image_size=16)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


@pytest.mark.parametrize("free_batch", [False, True])
def test_an_exported_program_runs_as_the_module_it_came_from(tmp_path, free_batch):
    torch.manual_seed(0)
    net = Net().eval()
    shapes = ({0: torch.export.Dim.AUTO},) if free_batch else None
    program = torch.export.export(net, (torch.randn(2 if free_batch else 1, 3, 8, 8),), dynamic_shapes=shapes)
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    model = load_model(str(path))
    x = torch.randn(1, 3, 8, 8)
    assert model.input.shape == (1, 3, 8, 8)
    torch.testing.assert_close(model.module(x), net(x))
    with pytest.raises(UsageError, match="fixed at 8x8, asked for 16x16"):
        load_model(str(path), image_size=16)


def test_missing_files_are_usage_errors(tmp_path):
    for name in ("net.onnx", "net.pt2"):
        with pytest.raises(UsageError, match="cannot read"):
            load_model(str(tmp_path / name))
