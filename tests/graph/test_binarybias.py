"""Biases of attention in parts: the same numbers from fewer bytes, in numpy, onnxruntime and compiled."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import binaries
from helpers.walking import HOST, walk

from edgevision import compiler
from edgevision.errors import Unsupported
from edgevision.graph import binary, binaryfunctions, ir
from edgevision.graph.binarybias import store_biases, stored
from edgevision.graph.binarylayers import binary_layers
from edgevision.zoo.swin import relative_position_index, shifted_window_mask


def swin_bias(heads=3, window=4, grid=(12, 8), shift=2):
    """What Swin adds to the scores of every window, written out."""
    table = np.random.default_rng(0).standard_normal(((2 * window - 1) ** 2, heads)).astype(np.float32)
    positions = table[relative_position_index(window).numpy()].transpose(2, 0, 1)[None]
    if not shift:
        return positions
    mask = shifted_window_mask(grid, window, shift).numpy()
    return np.where(mask <= -100, -np.inf, positions + mask).astype(np.float32)


@pytest.mark.parametrize("shift", [0, 2])
def test_what_swin_adds_is_a_table_an_index_and_four_masks(shift):
    bias = swin_bias(shift=shift)
    parts = stored(bias)
    np.testing.assert_array_equal(parts.whole(), bias)
    assert len(parts.table) <= 50 and len(parts.masks) == (4 if shift else 1)
    assert parts.nbytes * (10 if shift else 3) < bias.nbytes


def test_a_bias_without_a_pattern_stays_whole():
    bias = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    assert stored(bias) is None
    assert stored(np.where(np.arange(3)[:, None, None] == 1, -np.inf, swin_bias(shift=0))) is None
    assert stored(np.full((8, 2, 16, 16), np.nan, np.float32)) is None


def test_kept_in_parts_the_bias_is_the_same_to_onnxruntime_and_in_the_file_of_a_program():
    heads, tokens, width = 3, 16, 20
    bias = swin_bias()
    q, k, v = (binaries.values(seed, (len(bias), heads, tokens, width)) for seed in (1, 2, 3))
    whole = binaries.attention(q, k, v, bias, width**-0.5)
    model = onnx.ModelProto()
    model.CopyFrom(whole)
    assert store_biases(model) == 1
    binaryfunctions.declare(model)
    onnx.checker.check_model(model, full_check=True)
    wanted = binary.attention(q, k, v, bias, scale=width**-0.5)
    feeds = {"q": q, "k": k, "v": v}
    np.testing.assert_array_equal(onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0], wanted)
    np.testing.assert_array_equal(walk(model, q, k, v)[0], wanted)
    # Whoever wrote the bias out, a program holds its parts.
    sizes = [len(compiler.compile_graph(each, HOST).constants) for each in (whole, model)]
    assert sizes[0] == sizes[1] < bias.nbytes / 8


def test_parts_that_do_not_belong_together_are_refused():
    bias = swin_bias()
    q = binaries.values(1, (len(bias), 3, 16, 20))
    model = binaries.attention(q, q, q, bias, 0.2)
    store_biases(model)
    binaryfunctions.declare(model)
    graph = ir.read(model)
    node = next(node for node in graph.nodes if node.op == binary.BIAS)
    for slot, text in ((1, "below 49 in its index"), (2, "expected .entries, heads."), (3, "below 4 in its kind")):
        part = graph.constants[node.inputs[slot]]
        changed = part[:, 1:] if slot == 2 else part + np.uint8(200)
        with pytest.raises(Unsupported, match=text):
            binary_layers(replace(graph, constants={**graph.constants, node.inputs[slot]: changed}))


def test_a_shift_masks_as_the_network_does():
    """`swin_bias` above is built on the network's own mask: at least what it masks is checked against the roll."""
    mask = shifted_window_mask((4, 4), 2, 1)
    assert mask.shape == (4, 1, 4, 4) and torch.equal(mask[0], torch.zeros(1, 4, 4))
    assert mask[3, 0].tolist() == [[0 if i == j else -100 for j in range(4)] for i in range(4)]
