"""The file of a network trained quantised, read back as the integers it was written from."""

import msgspec
import numpy as np
import onnx
import pytest
from helpers.detectors import SIDE, detector, quantised, trained

from edgevision.engine.execute import run
from edgevision.engine.from_graph import integer_network_of
from edgevision.engine.from_qat import integer_network
from edgevision.errors import Unsupported, UsageError
from edgevision.graph.from_qat import qdq_graph


@pytest.mark.parametrize("kind", [{}, {"pooled": True}, {"order": "pointwise_first"}, {"conv": "plain"}])
def test_the_numbers_are_those_that_were_written(kind):
    teacher = detector(1, **kind)
    network = quantised(teacher, ranges="learned" if kind else "moving")
    trained(network, teacher, 2)
    wanted, found = integer_network(network, SIDE, SIDE), integer_network_of(qdq_graph(network, SIDE, SIDE))
    groups = {}
    for one, other in zip(found.header.layers, wanted.header.layers, strict=True):
        # Groups have other numbers.
        if getattr(other, "group", None) is not None:
            assert groups.setdefault(one.group, other.group) == other.group
            other = msgspec.structs.replace(other, group=one.group)
        assert one == other
    assert all(found.header.groups[mine] == wanted.header.groups[theirs] for mine, theirs in groups.items())
    assert found.header.outputs == wanted.header.outputs and found.header.input_shape == (3, SIDE, SIDE)
    for name, given in wanted.parameters.items():
        assert np.array_equal(found.parameters[name].bias, given.bias), name
        assert np.array_equal(found.parameters[name].multiplier, given.multiplier), name
        assert np.array_equal(found.parameters[name].weight, given.weight), name


def test_a_channel_whose_multiplier_is_zero_gives_the_same_bytes():
    network = quantised(detector(2))
    layer = network.layer("hm.3")
    layer.weight.data[1] *= 1e-9
    wanted, found = integer_network(network, 32, 32), integer_network_of(qdq_graph(network, 32, 32))
    image = np.random.default_rng(0).integers(-128, 128, (3, 32, 32)).astype(np.int8)
    ours, theirs = run(found, image), run(wanted, image)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_arithmetic_the_engine_does_not_have_is_named_node_by_node():
    x, y, w = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for n in "xyw")
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["c"], name="stem"),
             onnx.helper.make_node("Softmax", ["c"], ["y"], name="attention")]  # fmt: skip
    graph = onnx.helper.make_graph(nodes, "float", [x, w], [y])
    with pytest.raises(Unsupported) as caught:
        integer_network_of(onnx.helper.make_model(graph))
    assert "Conv 'stem': its weights are not quantised" in caught.value.reasons
    assert "Softmax 'attention': no layer of the engine" in caught.value.reasons


def test_a_dilation_of_eight_is_refused():
    model = qdq_graph(quantised(detector(3)), SIDE, SIDE)
    for tensor in model.graph.initializer:
        if tensor.name == "dilation.7":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(8), tensor.name))
    with pytest.raises(UsageError, match="0 to 7"):
        integer_network_of(model)


def test_a_bias_between_two_steps_is_refused():
    network = quantised(detector(4))
    model = qdq_graph(network, SIDE, SIDE)
    tensor = next(one for one in model.graph.initializer if one.name == "hm.3.steps")
    value = onnx.numpy_helper.to_array(tensor) + 0.3 * float(network.quantizer("hm.3").scale())
    tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name))
    with pytest.raises(Unsupported, match="whole steps"):
        integer_network_of(model)
