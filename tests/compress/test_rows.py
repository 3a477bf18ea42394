from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from edgevision.compress.rows import as_rows, matrix, unmatrix

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("kernel", "stride", "pad", "dilation", "group"), [
    (3, 1, 1, 1, 1), (3, 2, 1, 1, 6), (1, 1, 0, 1, 1), (3, 1, 2, 2, 2), (5, 3, 0, 1, 3),
])  # fmt: skip
def test_rows_times_weights_are_the_convolution(kernel, stride, pad, dilation, group):
    x = RNG.standard_normal((2, 6, 11, 9)).astype(np.float32)
    weight = RNG.standard_normal((12, 6 // group, kernel, kernel)).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=group, strides=[stride] * 2, pads=[pad] * 4,
                                 dilations=[dilation] * 2)  # fmt: skip
    rows, parts = as_rows(node, (kernel, kernel), x), matrix(node, weight)
    got = np.concatenate([row @ part.T for row, part in zip(rows, parts, strict=True)], axis=1)
    wanted = functional.conv2d(torch.from_numpy(x), torch.from_numpy(weight), None, stride, pad, dilation, group)
    assert np.allclose(got, wanted.permute(0, 2, 3, 1).reshape(-1, 12).numpy(), atol=1e-4)
    assert np.array_equal(unmatrix(node, parts, weight.shape), weight)


@pytest.mark.parametrize("transposed", [0, 1])
def test_rows_of_a_linear_layer(transposed):
    x = RNG.standard_normal((3, 5, 4)).astype(np.float32)
    weight = RNG.standard_normal((7, 4) if transposed else (4, 7)).astype(np.float32)
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=transposed)
    rows, parts = as_rows(node, (), x), matrix(node, weight)
    wanted = x.reshape(-1, 4) @ (weight.T if transposed else weight)
    assert np.allclose(rows[0] @ parts[0].T, wanted, atol=1e-5)
    assert np.array_equal(unmatrix(node, parts, weight.shape), weight)
