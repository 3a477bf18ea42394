"""Whole networks through the compiler: agreement, a tight arena, no workspace, and refusals before any work."""

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.execution import run_on
from onnx import TensorProto, helper

from edgevision import compiler, target
from edgevision.errors import DoesNotFit, Unsupported
from edgevision.graph import reference
from edgevision.machine import resolve

TARGETS = ["host", "rpi4", "rpi5", "zynq7020-ps"]


def described(name):
    return resolve(target.load(name))


@pytest.mark.parametrize("name", TARGETS)
def test_byte_network_is_the_integer_reference_bit_for_bit_on_every_architecture(name, small_w8a8, images):
    program = compiler.compile_graph(small_w8a8, described(name))
    for image in images:
        (expected,) = reference.run(small_w8a8, image)
        assert np.array_equal(run_on(program, image), expected)


def test_network_of_byte_matrix_products_is_the_integer_reference_bit_for_bit(small_w8a8, images):
    board = described("rpi5")
    cpu = msgspec.structs.replace(
        board.cpu, llvm="neoverse-n2", dot="i8mm", features=("+i8mm",), requires=("asimd", "asimddp", "i8mm")
    )
    program = compiler.compile_graph(small_w8a8, msgspec.structs.replace(board, cpu=cpu))
    assert np.array_equal(run_on(program, images[0]), reference.run(small_w8a8, images[0])[0])


@pytest.mark.parametrize("name", TARGETS)
def test_float_network_is_onnxruntime_within_rounding_on_every_architecture(name, small_fp32, images):
    program = compiler.compile_graph(small_fp32, described(name))
    session = onnxruntime.InferenceSession(small_fp32.SerializeToString())
    for image in images:
        (expected,) = session.run(None, {session.get_inputs()[0].name: image})
        np.testing.assert_allclose(run_on(program, image), expected, rtol=1e-5, atol=1e-5)


def test_byte_weights_stay_bytes_in_the_program(small_w8, small_fp32, images):
    light = compiler.compile_graph(small_w8, described("host"))
    heavy = compiler.compile_graph(small_fp32, described("host"))
    assert len(light.constants) < 0.75 * len(heavy.constants)
    session = onnxruntime.InferenceSession(small_w8.SerializeToString())
    (expected,) = session.run(None, {session.get_inputs()[0].name: images[0]})
    np.testing.assert_allclose(run_on(light, images[0]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["fp32", "w8a8"])
def test_arena_is_the_live_set_bound_and_generated_kernels_use_no_workspace(kind, request):
    program = compiler.compile_graph(request.getfixturevalue(f"small_{kind}"), described("host"))
    assert program.arena_bytes == program.live_bytes
    assert b"__TVMBackendAllocWorkspace" not in b"".join(program.objects)
    assert {step.family for step in program.steps} <= {
        "gemm", "conv", "depthwise", "rowdot", "pool", "elementwise", "bytes", "layout",
    }  # fmt: skip


def test_two_builds_are_byte_identical(small_w8a8):
    first, second = (compiler.compile_graph(small_w8a8, described("host")) for _ in range(2))
    assert first == second


def test_every_mac_of_the_byte_network_is_integer(small_w8a8, small_fp32):
    assert compiler.check(small_w8a8, described("host")).float_mac_share == 0
    assert compiler.check(small_fp32, described("host")).float_mac_share == 1


def model_of(nodes, shape=(1, 4, 6, 6), initialisers=()):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], list(initialisers),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("their.domain", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_every_unsupported_operator_is_named_before_anything_is_built():
    nodes = [
        helper.make_node("Secret", ["x"], ["a"], name="first", domain="their.domain"),
        helper.make_node("Secret", ["a"], ["y"], name="second", domain="their.domain"),
    ]
    model = model_of(nodes)
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, (1, 4, 6, 6)))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6)))
    with pytest.raises(Unsupported) as caught:
        compiler.compile_graph(model, described("host"))
    assert len(caught.value.reasons) == 2
    assert "'first'" in caught.value.reasons[0] and "'second'" in caught.value.reasons[1]


def test_network_larger_than_the_board_is_refused(small_fp32):
    board = described("host")
    tiny = msgspec.structs.replace(board, memory=msgspec.structs.replace(board.memory, ram_mib=0))
    with pytest.raises(DoesNotFit):
        compiler.compile_graph(small_fp32, tiny)


CASES = {
    "grouped convolution": lambda c: [helper.make_node("Conv", ["x", c((6, 2, 3, 3))], ["y"], group=2, pads=[1] * 4)],
    "strided pointwise": lambda c: [helper.make_node("Conv", ["x", c((5, 4, 1, 1))], ["y"], strides=[2, 2])],
    "same padding": lambda c: [
        helper.make_node("Conv", ["x", c((5, 4, 3, 3))], ["y"], auto_pad="SAME_UPPER", strides=[2, 2]),
    ],
    "dilated": lambda c: [helper.make_node("Conv", ["x", c((3, 4, 3, 3))], ["y"], dilations=[2, 2], pads=[2] * 4)],
    "concat of two paths": lambda c: [
        helper.make_node("Conv", ["x", c((5, 4, 1, 1))], ["a"]), helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Concat", ["a", "b", "x"], ["y"], axis=1),
    ],
    "split and unequal product": lambda c: [
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2), helper.make_node("Mul", ["b", "a"], ["m"]),
        helper.make_node("Sub", ["a", "m"], ["y"]),
    ],
    "max and average pooling": lambda c: [
        helper.make_node("MaxPool", ["x"], ["a"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("AveragePool", ["a"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
    ],
    "softmax over channels through TVM": lambda c: [
        helper.make_node("Conv", ["x", c((5, 4, 1, 1))], ["a"]), helper.make_node("Softmax", ["a"], ["b"], axis=1),
        helper.make_node("Relu", ["b"], ["y"]),
    ],
    "the input returned twice over": lambda c: [helper.make_node("Add", ["x", "x"], ["y"])],
    "squeeze and excite": lambda c: [
        helper.make_node("GlobalAveragePool", ["x"], ["a"]), helper.make_node("Conv", ["a", c((4, 4, 1, 1))], ["b"]),
        helper.make_node("Sigmoid", ["b"], ["s"]), helper.make_node("Mul", ["s", "x"], ["y"]),
    ],
    "division by the input": lambda c: [
        helper.make_node("Sigmoid", ["x"], ["a"]), helper.make_node("Div", [c((1, 4, 1, 1)), "a"], ["y"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(CASES))
@pytest.mark.parametrize("batch", [1, 2])
def test_operator_patterns_agree_with_onnxruntime(case, batch):
    rng = np.random.default_rng(0)
    initialisers = []

    def constant(shape):
        name = f"w{len(initialisers)}"
        array = rng.standard_normal(shape).astype(np.float32)
        initialisers.append(onnx.numpy_helper.from_array(array, name))
        return name

    model = model_of(CASES[case](constant), (batch, 4, 6, 7), initialisers)
    model = onnx.shape_inference.infer_shapes(model)
    x = rng.standard_normal((batch, 4, 6, 7)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    got = run_on(compiler.compile_graph(model, described("host")), x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
