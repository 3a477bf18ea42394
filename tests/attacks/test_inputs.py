"""Arrays that lie oddly in memory are copied, those that are no input of the network are refused; none is misread."""

import numpy as np
import onnx
import pytest
from helpers import programs
from helpers.walking import HOST
from onnx import TensorProto, helper, numpy_helper

from edgevision import compiler
from edgevision.device.host import HostDevice
from edgevision.errors import Unsupported, UsageError
from edgevision.graph.export import export
from edgevision.zoo.user import load_onnx


@pytest.fixture(scope="module", params=[False, True], ids=["walk", "static"])
def device(request, tmp_path_factory):
    opened = HostDevice()
    opened.push(programs.bundled(tmp_path_factory.mktemp("inputs") / "bundle", static=request.param))
    return opened


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


WAYS = {
    "every other column": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "Fortran order": np.asfortranarray,
    "not aligned": unaligned,
    "read only": lambda x: (x.setflags(write=False), x)[1],
    "one row many times": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_arrays_that_lie_oddly_give_the_same_result(way, device):
    x = WAYS[way](programs.images(2))
    np.testing.assert_array_equal(device.run(x), programs.reference(x, integer=False))


@pytest.mark.parametrize("bad", [
    programs.images().astype(np.float64), programs.images().astype(np.float16), programs.images().astype(np.int32),
    programs.images().astype(">f4"), programs.images()[:, :7], programs.images()[:0], programs.images()[None],
    programs.images(1)[:3], np.float32(1), np.empty((4, 0), np.float32), programs.images().astype(object),
    programs.images().T, programs.images().reshape(-1),
], ids=lambda x: f"{x.dtype}{x.shape}")  # fmt: skip
def test_other_types_and_shapes_are_refused(bad, device):
    with pytest.raises(UsageError, match="expected float32 of shape"):
        device.run(np.asarray(bad))


def test_what_is_no_array_is_refused(device):
    with pytest.raises(UsageError, match="expected a numpy array, got list"):
        device.run(programs.images().tolist())


# -- sizes ----------------------------------------------------------------------------------------------------------


def network(shape, path=None):
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32) / 27, "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Shape", ["c"], ["s"], end=1),
        helper.make_node("Concat", ["s", "rest"], ["n"], axis=0), helper.make_node("Reshape", ["c", "n"], ["y"]),
    ]  # fmt: skip
    rest = numpy_helper.from_array(np.array([-1], np.int64), "rest")
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], None])], [weight, rest],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if path is not None:
        onnx.save(model, path)
    return model


def test_a_free_batch_becomes_one(tmp_path):
    network(["batch", 3, 8, 8], tmp_path / "net.onnx")
    graph = export(load_onnx(tmp_path / "net.onnx")).graph
    assert [dim.dim_value for dim in graph.graph.output[0].type.tensor_type.shape.dim] == [1, 144]
    assert compiler.check(graph, HOST).unsupported == ()


def test_a_free_image_asks_for_its_size(tmp_path):
    network(["batch", 3, "height", "width"], tmp_path / "net.onnx")
    with pytest.raises(Unsupported) as caught:
        load_onnx(tmp_path / "net.onnx")
    assert len(caught.value.reasons) == 2 and all("--image-size" in reason for reason in caught.value.reasons)
    assert load_onnx(tmp_path / "net.onnx", image_size=8).input.shape == (1, 3, 8, 8)


#: What `check` calls, and what `deploy` does.
ASKED = pytest.mark.parametrize("ask", [compiler.check, compiler.compile_graph], ids=["check", "deploy"])


@ASKED
def test_a_free_dimension_at_the_compiler_is_named_with_the_way_to_fix_it(ask):
    with pytest.raises(Unsupported) as caught:
        ask(network(["batch", 3, 8, 8]), HOST)
    assert "fix batch" in str(caught.value.fix) and "edgevision compress" in str(caught.value.fix)


def test_an_empty_image_is_refused(tmp_path):
    network([1, 3, 0, 8], tmp_path / "net.onnx")
    with pytest.raises((Unsupported, UsageError)) as caught:
        load_onnx(tmp_path / "net.onnx")
    assert "0" in str(caught.value)


@ASKED
def test_a_tensor_without_elements_is_refused_by_name(ask):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4])
    ends = numpy_helper.from_array(np.array([0], np.int64), "zero")
    axis = numpy_helper.from_array(np.array([1], np.int64), "one")
    nodes = [helper.make_node("Slice", ["x", "zero", "zero", "one"], ["none"], name="nothing"),
             helper.make_node("Concat", ["x", "none"], ["y"], axis=1)]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [x], [y], [ends, axis])
    with pytest.raises(Unsupported, match=r"tensor 'none' \(1, 0, 4, 4\)"):
        ask(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), HOST)
