"""The binary functions: bodies in onnxruntime against sums written out in numpy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers import binaries

from edgevision.graph import binary, ir


def run(model, feeds):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]


def signs(packed, depth):
    """Weights bit by bit, as the format says."""
    return np.array([[1 if row[k // 8] >> (k % 8) & 1 else -1 for k in range(depth)] for row in packed], np.float32)


@pytest.mark.parametrize("op", [*binary.SIGNED_LAYERS, *binary.WEIGHT_LAYERS])
@pytest.mark.parametrize(("depth", "channels"), [(8, 3), (13, 16), (64, 5), (75, 33)])
def test_the_body_of_a_layer_computes_its_sum_in_onnxruntime(op, depth, channels):
    image = op.endswith("Conv")
    x = binaries.values(1, (2, depth, 3, 5) if image else (2, 7, depth))
    packed, scale, bias = binaries.weights(2, depth, channels)
    model = binaries.layer(op, x, packed, scale, bias, depth)
    onnx.checker.check_model(model, full_check=True)
    got = run(model, {"x": x})
    left = np.where(x >= 0, 1, -1).astype(np.float32) if op in binary.SIGNED_LAYERS else x
    rows = np.moveaxis(left, 1, -1) if image else left
    wanted = np.einsum("...k,nk->...n", rows, signs(packed, depth)) * scale + bias
    wanted = np.moveaxis(wanted, -1, 1) if image else wanted
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    reference = binaries.expected(op, x, packed, scale, bias, depth)
    if op in binary.SIGNED_LAYERS:
        np.testing.assert_array_equal(got, reference)
    else:
        np.testing.assert_allclose(got, reference, rtol=1e-5, atol=1e-5)


def direct(q, k, v, bias, scale, beta):
    """Softmax, then what reaches beta times the largest of its row."""
    result = np.zeros((*q.shape[:3], v.shape[3]), np.float32)
    for b, h, i in np.ndindex(q.shape[:3]):
        row = np.array([np.dot(np.where(q[b, h, i] >= 0, 1, -1), np.where(key >= 0, 1, -1)) for key in k[b, h]])
        scores = row * scale + np.broadcast_to(bias, (*q.shape[:3], k.shape[2]))[b, h, i].astype(np.float64)
        scores = np.where(scores < -50, -np.inf, scores)
        if np.all(np.isinf(scores)):
            continue
        shares = np.exp(scores - scores.max())
        kept = shares / shares.sum() >= beta * (shares / shares.sum()).max()
        result[b, h, i] = np.where(v[b, h] >= 0, 1, -1)[kept].sum(axis=0)
    return result


@pytest.mark.parametrize("masking", [None, "bias", "-100", "-inf", "whole row"])
@pytest.mark.parametrize(("n", "d"), [(9, 8), (12, 13), (17, 32)])
def test_attention_sums_the_values_whose_softmax_reaches_a_share_of_the_largest(masking, n, d):
    q, k, v = (binaries.values(seed, (2, 3, n, d)) for seed in (1, 2, 3))
    bias = np.random.default_rng(4).standard_normal((1, 3, n, n)).astype(np.float32)
    if masking in ("-100", "-inf"):
        bias[:, :, : n // 2, n // 2 :] = float(masking)
    if masking == "whole row":
        bias[:, :, 2] = -100
    scale = d**-0.5
    model = binaries.attention(q, k, v, None if masking is None else bias, scale)
    got = run(model, {"q": q, "k": k, "v": v})
    wanted = direct(q, k, v, np.zeros(1) if masking is None else bias, scale, 0.25)
    np.testing.assert_array_equal(got, wanted)
    given = None if masking is None else bias
    np.testing.assert_array_equal(binary.attention(q, k, v, given, scale=scale), wanted)


def test_packing_and_unpacking_are_inverse_and_leave_unused_bits_zero():
    x = binaries.values(0, (5, 13))
    packed = binary.pack_bits(x)
    assert packed.shape == (5, 2) and not np.any(packed[:, 1] >> 5)
    np.testing.assert_array_equal(binary.unpack_bits(packed, 13), binary.sign(x))


def test_the_graph_reader_keeps_a_call_as_one_operator_and_knows_its_shape():
    x = binaries.values(1, (2, 7, 13))
    graph = ir.read(binaries.layer("BinaryLinear", x, *binaries.weights(2, 13, 5), 13))
    assert [(node.domain, node.op) for node in graph.nodes] == [("edgevision", "BinaryLinear")]
    assert graph.shape("y") == (2, 7, 5)
