"""Which layers of DeiT, Swin and CAS-ViT become one bit, and that their export computes what torch does."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from helpers.binary_networks import as_model, small
from helpers.networks import digits
from helpers.walking import walk

from edgevision.compress.binarize import BinaryLayer
from edgevision.compress.binary_attention import BinarySelfAttention
from edgevision.compress.binary_networks import binarised
from edgevision.compress.fold import fold_batch_norm
from edgevision.compress.measure import measure
from edgevision.compress.quantize import quantize
from edgevision.compress.session import session
from edgevision.errors import Unsupported, UsageError
from edgevision.graph import binary, reference
from edgevision.graph.export import export
from edgevision.recipe import Binarize, Quantize

MLP = Binarize(part="mlp", activation_bits=32)
CALLS = {
    "deit": {"BinaryLinear": 4, "BinaryAttention": 2, "BinaryWeightLinear": 4},
    # The bias of the block without a shift has no parts: 16 numbers of a 2x2 window are fewer than their index.
    "swin": {"BinaryLinear": 4, "BinaryAttention": 2, "BinaryWeightLinear": 4, "BinaryAttentionBias": 1},
    "cas_vit": {"BinaryConv": 1, "BinaryWeightConv": 4},
}


def both_stages(kind: str) -> torch.nn.Module:
    return binarised(binarised(small(kind), Binarize(part="attention"))[0], MLP)[0].eval()


@pytest.fixture(scope="module", params=list(CALLS))
def exported(request):
    """Kind, network and graph."""
    network = both_stages(request.param)
    return request.param, network, export(as_model(network)).graph


def test_the_graph_calls_the_functions_and_keeps_the_packed_bits(exported):
    kind, network, graph = exported
    called = Counter(node.op_type for node in graph.graph.node if node.domain == "edgevision")
    assert called == CALLS[kind]
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, BinaryLayer)}
    assert {node.name for node in graph.graph.node if node.op_type.startswith("Binary")} >= set(layers)
    for name, layer in layers.items():
        weight = layer.weight.detach().flatten(1).numpy()
        centred = weight - weight.mean(1, keepdims=True)
        assert np.array_equal(tensors[f"{name}.packed"], binary.pack_bits(centred))
        assert f"{name}.weight" not in tensors


def test_onnxruntime_and_torch_agree_on_images(exported):
    _, network, graph = exported
    images = next(iter(digits().split("test").batches(4)))[0]
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    runner = session(graph)
    got = np.concatenate([runner.run(None, {"input": image[None]})[0] for image in images])
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_the_rest_is_int8_and_the_bits_stay(exported):
    kind, _, graph = exported
    calibration = Quantize(calibration_images=16)
    quantised = quantize(graph, calibration, digits().split("calibration"))
    measured = measure(quantised)
    kinds = {layer.name: layer.dtype for layer in measured.layers if layer.dtype}
    assert set(kinds.values()) == {"bit", "int8"}
    assert sum(kind == "bit" for kind in kinds.values()) == sum(
        count for name, count in CALLS[kind].items() if not name.startswith("BinaryAttention")
    )
    before = {t.name: t for t in graph.graph.initializer}
    after = {t.name: t for t in quantised.graph.initializer}
    for node in quantised.graph.node:
        if node.op_type.startswith("BinaryWeight"):
            reads = {n.output[0]: n.op_type for n in quantised.graph.node}
            assert reads[node.input[0]] == "DequantizeLinear"
        if node.op_type.startswith("Binary") and node.op_type != "BinaryAttention":
            for name in node.input[1:3]:
                assert np.array_equal(*(onnx.numpy_helper.to_array(tensors[name]) for tensors in (before, after)))
    image = next(iter(digits().split("test").batches(1)))[0]
    outputs = [session(model).run(None, {model.graph.input[0].name: image})[0] for model in (graph, quantised)]
    assert np.isfinite(outputs[1]).all() and np.corrcoef(outputs[0], outputs[1])[0, 1] > 0.8
    np.testing.assert_array_equal(walk(quantised, image)[0], reference.run(quantised, image)[0])


def test_binary_layers_can_be_left_in_float_activations():
    graph = export(as_model(both_stages("deit"))).graph
    kept = ["blocks.0.attn.qkv", "blocks.0.mlp.fc1"]
    quantised = quantize(graph, Quantize(calibration_images=8), digits().split("calibration"), keep_fp=kept)
    reads = {node.output[0]: node.op_type for node in quantised.graph.node}
    nodes = {node.name: node for node in quantised.graph.node}
    first = {name: reads[nodes[name].input[0]] for name in (*kept, "blocks.1.mlp.fc1")}
    assert first == {
        "blocks.0.attn.qkv": "LayerNormalization",
        "blocks.0.mlp.fc1": "LayerNormalization",
        "blocks.1.mlp.fc1": "DequantizeLinear",
    }


def test_parameters_of_bits_are_counted_one_by_one():
    network = small("deit")
    graph = export(as_model(both_stages("deit"))).graph
    expected = measure(export(as_model(network)).graph)
    got = measure(graph)
    assert got.parameters == expected.parameters
    assert got.weight_bytes < expected.weight_bytes / 3


def test_sizes_are_real_bytes_and_say_which_layers_stay_float():
    """The paper's setting: what it leaves in float counts with four bytes a weight, and nothing is left out."""
    graph = export(as_model(both_stages("deit"))).graph
    measured = measure(graph)
    floats = {layer.name for layer in measured.layers if layer.dtype == "float32"}
    assert floats == {"patch_embed.proj", "head"}
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer]
    stored = sum(array.nbytes for array in arrays if array.dtype != np.int64)
    assert measured.weight_bytes == stored < len(graph.SerializeToString())


@pytest.mark.parametrize("kind", list(CALLS))
def test_every_parameter_gets_a_gradient_in_training(kind):
    network = both_stages(kind).train()
    network(torch.randn(8, 3, 16, 16)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_dropping_the_row_scale_changes_nothing_behind_a_sign():
    """Training keeps the scale, evaluation has none."""
    layer = both_stages("swin").layer.blocks[0].attn
    x = torch.randn(4, 4, 24)
    with torch.no_grad():
        torch.testing.assert_close(layer.train()(x), layer.eval()(x))


def test_masks_of_shifted_windows_are_masks_whatever_the_bias():
    block = both_stages("swin").layer.blocks[1]
    with torch.no_grad():
        block.attn.relative_position_bias_table += 5
        bias = block.attn._bias([block.attn_mask])[0]
    apart = block.attn_mask.expand(-1, 2, -1, -1) <= -100
    assert apart.any() and (bias[apart] == -math.inf).all() and bias[~apart].isfinite().all()


def test_attention_of_a_window_is_the_reference_with_its_bias():
    block = both_stages("swin").layer.blocks[1]
    q, k, v = torch.randn(3, 4, 2, 4, 12).unbind(0)
    with torch.no_grad():
        bias = block.attn._bias([block.attn_mask])[0]
        got = block.attn.attention(q, k, v, bias).numpy()
    expected = binary.attention(q.numpy(), k.numpy(), v.numpy(), bias.numpy(), scale=12**-0.5)
    assert np.array_equal(got, expected)


def test_cas_vit_keeps_gates_depthwise_stem_and_head():
    network = both_stages("cas_vit")
    bits = {name for name, layer in network.named_modules() if isinstance(layer, BinaryLayer)}
    assert bits == {
        "block.attn.qkv", "block.mlp.fc1", "block.mlp.fc2", "block.local_perception.network.0",
        "block.local_perception.network.4",
    }  # fmt: skip


def test_first_and_last_layer_only_by_name():
    everything = binarised(small("deit"), Binarize(part="all"))[1]
    assert not {"head", "patch_embed.proj"} & set(everything)
    network, layers = binarised(small("deit"), Binarize(part="named", layers=("head",), activation_bits=32))
    assert layers == ("head",) and isinstance(network.head, BinaryLayer)


def test_unknown_and_unfit_layers_are_all_named():
    with pytest.raises(UsageError) as refused:
        binarised(small("deit"), Binarize(part="attention", layers=("hed", "patch_embed.proj")))
    assert len(refused.value.reasons) == 2 and "'head'" in refused.value.reasons[0]


def test_nan_in_a_weight_is_refused_by_its_name():
    network = small("swin")
    with torch.no_grad():
        network.layer.blocks[1].mlp.fc2.weight[0, 0] = math.nan
    with pytest.raises(UsageError, match=r"blocks\.1\.mlp\.fc2\.weight"):
        binarised(network, MLP)


def test_a_network_without_such_layers_is_refused():
    with pytest.raises(Unsupported, match="nothing to binarise"):
        binarised(torch.nn.Sequential(torch.nn.Linear(3, 3)), MLP)
    with pytest.raises(Unsupported, match="an earlier step"):
        binarised(both_stages("deit"), MLP)


def test_the_baseline_exports_its_own_attention():
    step = Binarize(part="all", activation_bits=32, attention="sign", scales="mean")
    network = binarised(small("deit"), step)[0].eval()
    graph = export(as_model(network)).graph
    assert "BinaryAttention" not in {node.op_type for node in graph.graph.node}
    attention = next(layer for layer in network.modules() if isinstance(layer, BinarySelfAttention))
    assert attention.qkv.scale is None


def test_batch_norms_behind_binary_convolutions_fold_into_their_scales():
    torch.manual_seed(3)
    network = both_stages("cas_vit")
    norm = network.block.local_perception.network[1]
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.weight.normal_()
    folded, report = fold_batch_norm(network, torch.randn(1, 3, 16, 16))
    assert "block.local_perception.network.1 -> block.local_perception.network.0" in report.folded
    assert report.max_rel_error < 1e-5
    before, after = (n.get_submodule("block.local_perception.network.0") for n in (network, folded))
    assert torch.equal(before.packed, after.packed) and (after.row_scale < 0).any()


def test_networks_of_attention_are_traced_and_folded_as_a_whole():
    torch.manual_seed(0)
    for kind in ("deit", "swin"):
        folded, report = fold_batch_norm(both_stages(kind), torch.randn(1, 3, 16, 16))
        assert report.max_rel_error < 1e-5 and any(isinstance(layer, BinaryLayer) for layer in folded.modules())
