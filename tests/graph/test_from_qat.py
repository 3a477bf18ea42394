"""A network trained quantised as a file: real 4-bit weights, the same bytes in onnxruntime, integer when compiled."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers.detectors import SIDE, detector, images, quantised, trained
from onnx import TensorProto, numpy_helper

from edgevision import compiler, target
from edgevision.compress.qat import _moved
from edgevision.errors import UsageError
from edgevision.graph import ir, reference
from edgevision.graph.from_qat import OUTPUT, qdq_graph


def in_onnxruntime(model, image):
    """Maps and the bytes of every tensor; each quantiser as ONNX defines it, since fusing them rounds the biases."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    made = {node.output[0] for node in model.graph.node}
    bytes_ = sorted(name for name in made if name.endswith(".q"))
    maps = sorted(name for name in made if name.endswith(".predictor"))
    kinds = {**dict.fromkeys(bytes_, TensorProto.INT8), **dict.fromkeys(maps, TensorProto.FLOAT)}
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(n, kind, None) for n, kind in kinds.items())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options)
    names = [OUTPUT, *kinds]
    return dict(zip(names, session.run(names, {"input": image.numpy()}), strict=True))


@pytest.mark.parametrize("kind", [{}, {"pooled": True}, {"order": "pointwise_first"}, {"conv": "plain"}])
@pytest.mark.parametrize("ranges", ["moving", "learned"])
def test_onnxruntime_gives_the_bytes_of_every_layer(kind, ranges):
    module = detector(1, **kind)
    network = quantised(module, ranges=ranges)
    trained(network, module, 1)
    image = images(3, 1)
    got = in_onnxruntime(qdq_graph(network, SIDE, SIDE), image)

    def steps(name):
        if f"{name}.q" not in got:
            return torch.from_numpy(got[name])
        return torch.from_numpy(got[f"{name}.q"].astype(np.float32)) - network.quantizer(name).zero_point

    different, count = 0, 0
    for step in network.steps:
        if step.kind != "conv":
            continue
        x, *dilation = (steps(name) for name in step.inputs)
        after = None if step.group is None else network.quantizer(step.name)
        with torch.no_grad():
            wanted = network.layer(step.name)(x, network.quantizer(step.inputs[0]), after, *dilation)
        apart = (steps(step.name) - wanted).abs()
        assert apart.max() <= 1, step.name
        different, count = different + int(apart.sum()), count + apart.numel()
    # Where a sum lies within float32's error of a tie.
    assert different < 2e-4 * count
    moved = [step for step in network.steps if step.kind in ("concat", "shuffle", "upsample", "max_pool", "channels")]
    for step in moved:
        wanted = _moved(step, [steps(name) for name in step.inputs])
        assert f"{step.name}.q" in got and torch.equal(steps(step.name), wanted), step.name


def test_maps_in_onnxruntime_are_those_of_the_training_graph():
    network = quantised(detector(2))
    image = images(3, 1)
    got = in_onnxruntime(qdq_graph(network, SIDE, SIDE), image)
    values = network.integers(image)
    for name, maps in zip(network.outputs, np.split(got[OUTPUT], [3, 5], axis=1), strict=True):
        apart = np.abs(maps / float(network.quantizer(name).scale()) - values[name].detach().numpy())
        assert apart.max() < 1.001, name


@pytest.fixture(scope="module")
def network():
    return quantised(detector(2, pooled=True))


@pytest.fixture(scope="module")
def model(network):
    return qdq_graph(network, SIDE, SIDE)


def test_weights_are_int4_in_the_file_but_for_the_first_layer(network, model):
    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight.q")}
    assert len(stored) == 74
    for name, tensor in stored.items():
        size = int(np.prod(tensor.dims))
        first = name == "backbone.conv1.0.weight.q"
        assert tensor.data_type == (TensorProto.INT8 if first else TensorProto.INT4)
        assert len(tensor.raw_data) == (size if first else -(-size // 2))
        layer = network.layer(name.removesuffix(".weight.q"))
        steps = layer.quantizer.steps(layer.folded()[0]).detach().numpy()
        assert np.array_equal(numpy_helper.to_array(tensor).astype(np.float32), steps)
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("name", ["host", "rpi4", "rpi3", "zynq7020-ps"])
def test_no_multiplication_stays_float_when_it_is_compiled(model, name):
    found = compiler.check(model, target.load(name))
    assert found.unsupported == () and found.tvm == () and found.float_mac_share == 0
    kinds = {count.op: count.count for count in found.generated}
    assert kinds["IntConv"] == 71 and kinds["IntSquareDeform"] == 3 and kinds["Quantize"] == 1
    assert kinds["Dequantize"] == 3 and "IntRescale" not in kinds


def test_before_int4_the_same_numbers_are_int8(network, model):
    older = qdq_graph(network, SIDE, SIDE, opset=20)
    pairs = zip(older.graph.initializer, model.graph.initializer, strict=True)
    for tensor, other in pairs:
        assert tensor.data_type != TensorProto.INT4 and tensor.name == other.name
        assert np.array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(other).astype(tensor_type(tensor)))
    image = images(4, 1)
    assert np.array_equal(in_onnxruntime(older, image)[OUTPUT], in_onnxruntime(model, image)[OUTPUT])
    with pytest.raises(UsageError, match="opset 20 or later, got 18"):
        qdq_graph(network, SIDE, SIDE, opset=18)


def tensor_type(tensor):
    return onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)


def test_the_compiler_reads_int4_as_the_same_numbers_in_int8(model):
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.INT4:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int8), tensor.name))
    ours, other = ir.read(model), ir.read(wide)
    assert all(np.array_equal(ours.constants[name], value) for name, value in other.constants.items())
    assert all(ours.types[name] == other.types[name] for name in other.constants)
    x = images(4, 1).numpy()
    assert np.array_equal(reference.run(model, x)[0], reference.run(wide, x)[0])
