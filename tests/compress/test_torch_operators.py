"""ONNX operators in torch against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.graphs import array, expected, model_of, node

from edgevision.compress.torch_operators import OPERATORS, trainable

#: Operator, shape of x, attributes, further inputs.
CASES = [
    ("Conv", (2, 6, 7, 8), {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1]},
     [array(4, 3, 3, 3, seed=1), array(4)]),
    ("ConvTranspose", (2, 4, 5, 4), {"strides": [2, 2], "pads": [1] * 4, "group": 2}, [array(4, 3, 3, 3, seed=1)]),
    ("Gemm", (3, 5), {"transB": 1, "alpha": 0.5, "beta": 2.0}, [array(4, 5, seed=1), array(4)]),
    ("MatMul", (2, 3, 5), {}, [array(5, 4, seed=1)]),
    ("Clip", (2, 9), {}, [np.float32(-0.5), np.float32(1)]),
    ("HardSigmoid", (2, 9), {"alpha": 0.3, "beta": 0.4}, []),
    ("HardSwish", (2, 9), {}, []),
    ("Gelu", (2, 9), {"approximate": "tanh"}, []),
    ("Softmax", (2, 3, 4), {"axis": 1}, []),
    ("LayerNormalization", (2, 3, 6), {"epsilon": 1e-3}, [array(6, seed=1), array(6, seed=2)]),
    ("BatchNormalization", (2, 3, 4, 4), {}, [array(3), array(3, seed=1), array(3, seed=2), np.abs(array(3, seed=3))]),
    ("AveragePool", (1, 2, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}, []),
    ("MaxPool", (1, 2, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}, []),
    ("GlobalAveragePool", (2, 3, 4, 5), {}, []),
    ("ReduceMean", (2, 3, 4), {"keepdims": 0}, [np.array([1])]),
    ("Reshape", (2, 6), {}, [np.array([0, 2, -1])]),
    ("Transpose", (2, 3, 4), {"perm": [0, 2, 1]}, []),
    ("Slice", (2, 8, 3), {}, [np.array([1]), np.array([7]), np.array([1]), np.array([2])]),
    ("Unsqueeze", (2, 3), {}, [np.array([1, 3])]),
    ("Squeeze", (2, 1, 3), {}, [np.array([1])]),
    ("Resize", (1, 2, 3, 4), {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
     [None, np.float32([1, 1, 2, 2])]),
    ("Resize", (1, 2, 3, 4),
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
     [None, np.float32([1, 1, 2, 3])]),
]  # fmt: skip


@pytest.mark.parametrize(("op", "shape", "attributes", "more"), CASES, ids=[case[0] for case in CASES])
def test_an_operator_gives_what_onnxruntime_gives(op, shape, attributes, more):
    names = ["" if value is None else f"i{at}" for at, value in enumerate(more)]
    constants = {name: value for name, value in zip(names, more, strict=True) if name}
    x = array(*shape, seed=9)
    (wanted,) = expected(model_of([node(op, ["x", *names], ["y"], **attributes)], shape, **constants), x)
    inputs = [torch.from_numpy(x), *(None if v is None else torch.from_numpy(np.array(v)) for v in more)]
    told = {key: value.encode() if isinstance(value, str) else value for key, value in attributes.items()}
    assert trainable(op, told)
    (got,) = OPERATORS[op](inputs, told)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_pieces_of_a_split_are_those_of_onnxruntime():
    x = array(2, 5, 3)
    model = model_of([node("Split", ["x"], ["y", "z"], axis=1, num_outputs=2)], x.shape, outputs=("y", "z"))
    got = OPERATORS["Split"]([torch.from_numpy(x)], {"axis": 1, "num_outputs": 2})
    for piece, wanted in zip(got, expected(model, x), strict=True):
        np.testing.assert_array_equal(piece.numpy(), wanted)


def test_coordinates_that_torch_does_not_have_are_not_trained_through():
    assert not trainable("Resize", {"mode": b"nearest", "coordinate_transformation_mode": b"half_pixel"})
    assert not trainable("Resize", {"mode": b"linear", "coordinate_transformation_mode": b"align_corners"})
    assert not trainable("ConvTranspose", {"pads": [0, 0, 1, 1]})
