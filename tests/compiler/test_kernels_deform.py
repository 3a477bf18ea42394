"""Deformable convolution against onnxruntime and a direct numpy one: offsets near, at and far beyond the borders."""

import numpy as np
import onnxruntime
import pytest
from helpers.execution import run_on
from helpers.graphs import model_of, node
from helpers.walking import walk
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from edgevision import compiler, target
from edgevision.compiler.kernels.deform import segments
from edgevision.machine import resolve


def sampled(plane, y, x):
    """`plane` at a point between pixels; what is outside is zero."""
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    total = 0.0
    for row, wy in ((y0, 1 - (y - y0)), (y0 + 1, y - y0)):
        for column, wx in ((x0, 1 - (x - x0)), (x0 + 1, x - x0)):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += wy * wx * float(plane[row, column])
    return total


def direct(x, weight, offset, bias, mask, stride, pad, dilation, group, offset_group):
    """Every sum written out, in binary64."""
    images, channels = x.shape[:2]
    made, _, kh, kw = weight.shape
    oh, ow = offset.shape[2:]
    shifts = offset.reshape(images, offset_group, kh, kw, 2, oh, ow)
    shares = (
        np.ones((images, offset_group, kh, kw, oh, ow))
        if mask is None
        else mask.reshape(images, offset_group, kh, kw, oh, ow)
    )
    columns = np.zeros((images, channels, kh, kw, oh, ow))
    for n, c, ky, kx, i, j in np.ndindex(columns.shape):
        g = c // (channels // offset_group)
        dy, dx = shifts[n, g, ky, kx, :, i, j].astype(np.float64)
        y, p = i * stride - pad + ky * dilation + dy, j * stride - pad + kx * dilation + dx
        columns[n, c, ky, kx, i, j] = sampled(x[n, c], y, p) * shares[n, g, ky, kx, i, j]
    cut = columns.reshape(images, group, channels // group, kh, kw, oh, ow)
    kernels = weight.reshape(group, made // group, -1, kh, kw)
    result = np.einsum("ngcklij,gockl->ngoij", cut, kernels.astype(np.float64)).reshape(images, made, oh, ow)
    return result if bias is None else result + bias.reshape(1, -1, 1, 1)


def network(
    x, offset, mask, *, channels_out, kernel, bias=True, opset=19, relu=False, offset_group=1, group=1, **attributes
):
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((channels_out, x.shape[1] // group, *kernel)).astype(np.float32)
    constants = {"w": weight, **({"b": rng.standard_normal(channels_out).astype(np.float32)} if bias else {})}
    inputs = ["x", "w", "offset", "b" if bias else "", *(["mask"] if mask is not None else [])]
    layer = node("DeformConv", inputs, ["c" if relu else "y"], name="deform", group=group, offset_group=offset_group,
                 kernel_shape=list(kernel), **attributes)  # fmt: skip
    model = model_of([layer, *([node("Relu", ["c"], ["y"])] if relu else [])], x.shape, opset=opset, **constants)
    others = [("offset", offset), *([("mask", mask)] if mask is not None else [])]
    for name, array in others:
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    return model, constants


def inputs_of(seed, *, batch=1, channels=6, size=(7, 8), kernel=(3, 3), stride=1, pad=1, dilation=1, offset_group=1,
              masked=True, reach=3.0):  # fmt: skip
    rng = np.random.default_rng(seed)
    out = [(s + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(size, kernel, strict=True)]
    taps = kernel[0] * kernel[1]
    x = rng.standard_normal((batch, channels, *size)).astype(np.float32)
    offset = rng.uniform(-reach, reach, (batch, 2 * taps * offset_group, *out)).astype(np.float32)
    # A third of the offsets are whole or half pixels: points on the grid and on the border of the image.
    whole = rng.random(offset.shape) < 0.3
    offset[whole] = np.rint(2 * offset[whole]) / 2
    mask = rng.random((batch, taps * offset_group, *out)).astype(np.float32) if masked else None
    return x, offset, mask


@given(
    st.integers(0, 999), st.sampled_from([1, 2]), st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2), (3, 2)]),
    st.sampled_from([(1, 1), (3, 3), (2, 3)]), st.integers(1, 2), st.integers(0, 2), st.integers(1, 2), st.booleans(),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_random_offsets_groups_and_geometry(seed, batch, groups, kernel, stride, pad, dilation, masked, bias):
    group, offset_group = groups
    geometry = {"kernel": kernel, "stride": stride, "pad": pad, "dilation": dilation}
    x, offset, mask = inputs_of(seed, batch=batch, offset_group=offset_group, masked=masked, **geometry)
    model, constants = network(
        x, offset, mask, channels_out=6, kernel=kernel, bias=bias, group=group, offset_group=offset_group,
        strides=[stride] * 2, pads=[pad] * 4, dilations=[dilation] * 2,
    )  # fmt: skip
    wanted = direct(x, constants["w"], offset, constants.get("b"), mask, stride, pad, dilation, group, offset_group)
    (got,) = walk(model, x, offset, *([] if mask is None else [mask]))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [19, 22])
@pytest.mark.parametrize("masked", [True, False])
def test_the_same_as_onnxruntime(opset, masked):
    x, offset, mask = inputs_of(3, channels=20, size=(9, 7), masked=masked)
    model, _ = network(x, offset, mask, channels_out=17, kernel=(3, 3), opset=opset, pads=[1] * 4, relu=True)
    feeds = {"x": x, "offset": offset, **({"mask": mask} if masked else {})}
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    (got,) = walk(model, *feeds.values())
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("batch", "masked", "pad", "dilation", "stride", "offset_group"),
                         [(1, True, 1, 1, 1, 1), (2, False, 0, 1, 2, 2), (1, True, 2, 2, 1, 2)])  # fmt: skip
def test_the_same_as_the_reference_of_onnx(batch, masked, pad, dilation, stride, offset_group):
    geometry = {"pad": pad, "dilation": dilation, "stride": stride, "offset_group": offset_group}
    x, offset, mask = inputs_of(2, batch=batch, masked=masked, **geometry)
    model, _ = network(
        x, offset, mask, channels_out=6, kernel=(3, 3), offset_group=offset_group, strides=[stride] * 2,
        pads=[pad] * 4, dilations=[dilation] * 2,
    )  # fmt: skip
    feeds = {"x": x, "offset": offset, **({"mask": mask} if masked else {})}
    (wanted,) = ReferenceEvaluator(model).run(None, feeds)
    (got,) = walk(model, *feeds.values())
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("far", [1e9, -1e9, np.inf, -np.inf, np.nan])
def test_offsets_far_away_or_not_numbers_read_nothing(far):
    x, offset, _ = inputs_of(4, masked=False)
    model, constants = network(x, np.full_like(offset, far), None, channels_out=5, kernel=(3, 3), pads=[1] * 4)
    (got,) = walk(model, x, np.full_like(offset, far))
    assert np.array_equal(got, np.broadcast_to(constants["b"].reshape(1, -1, 1, 1), got.shape))


def test_without_offsets_it_is_the_convolution():
    x, offset, _ = inputs_of(5, masked=False)
    model, constants = network(x, 0 * offset, None, channels_out=5, kernel=(3, 3), pads=[1] * 4)
    plain = model_of([node("Conv", ["x", "w", "b"], ["y"], pads=[1] * 4)], x.shape, **constants)
    np.testing.assert_allclose(walk(model, x, 0 * offset)[0], walk(plain, x)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["host", "rpi4", "zynq7020-ps"])
def test_offsets_made_by_the_network_itself_on_every_architecture(name):
    x = np.random.default_rng(6).standard_normal((1, 6, 8, 9)).astype(np.float32)
    rng = np.random.default_rng(1)
    weights = {"ow": rng.standard_normal((18, 6, 3, 3)) * 0.3, "mw": rng.standard_normal((9, 6, 1, 1)),
               "w": rng.standard_normal((7, 6, 3, 3))}  # fmt: skip
    nodes = [
        node("Conv", ["x", "ow"], ["offset"], pads=[1] * 4), node("Conv", ["x", "mw"], ["m"]),
        node("Sigmoid", ["m"], ["mask"]), node("DeformConv", ["x", "w", "offset", "", "mask"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["y"]),
    ]  # fmt: skip
    model = model_of(nodes, x.shape, **{key: value.astype(np.float32) for key, value in weights.items()})
    (wanted,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    got = run_on(compiler.compile_graph(model, resolve(target.load(name))), x)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_channels_are_cut_where_either_grouping_cuts():
    assert segments(12, 3, 2) == [[(0, 4, 0), (4, 2, 1)], [(6, 2, 1), (8, 4, 2)]]
