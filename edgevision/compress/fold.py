"""Exact folding of batch norms into the convolutions and linear layers around them, over the torch.fx graph.

In evaluation a batch norm is y = s * x + t per channel. It folds backwards into the convolution that feeds it and
nothing else, or forwards into every 1x1 unpadded convolution or linear layer that reads it, also across a global mean,
since the mean of an affine map is the map of the mean. Two heads whose outputs are averaged are one head.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec
import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from edgevision.compress.binarize import BinaryConv2d, BinaryLayer
from edgevision.compress.binary_attention import BinaryAttention
from edgevision.errors import Mismatch, Unsupported
from edgevision.zoo.deform import DeformConv2d
from edgevision.zoo.factorized import FACTORIZED

#: Largest error allowed, relative to the largest output.
TOLERANCE = 1e-5
#: The same where binary layers sign what they read: rounding that takes a value across zero turns a whole bit.
BINARY_TOLERANCE = 0.1
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d
_Layer: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear | BinaryConv2d
_FUNCTIONS = ("batch_norm", "_native_batch_norm_legit_no_training")


class _Network:
    """A traced network with its layers by path, and how often each is called."""

    def __init__(self, graph_module: fx.GraphModule) -> None:
        self.graph_module, self.graph = graph_module, graph_module.graph
        self._layers = dict(graph_module.named_modules(remove_duplicate=False))
        self._calls = Counter(id(self.layer(node)) for node in self.graph.nodes if node.op == "call_module")

    def layer(self, node: fx.Node) -> Any:
        """The module that `node` calls, None when it calls something else."""
        return self._layers[str(node.target)] if node.op == "call_module" else None

    def called_once(self, node: fx.Node) -> bool:
        """Whether no other node calls the same module, under this or another name."""
        return self._calls[id(self.layer(node))] == 1


class FoldReport(msgspec.Struct, frozen=True):
    """What was folded.

    Attributes:
        folded: "norm -> layers it went into", in module paths.
        kept: batch norms that could not be folded, each with the reason.
        merged_heads: "second head -> first head".
        max_abs_error: largest difference of the outputs on the example input.
        max_rel_error: the same, relative to the largest output.
    """

    folded: tuple[str, ...]
    kept: tuple[str, ...]
    merged_heads: tuple[str, ...]
    max_abs_error: float
    max_rel_error: float


def fold_batch_norm(module: nn.Module, example_input: Tensor) -> tuple[fx.GraphModule, FoldReport]:
    """Return a folded copy of `module` in eval mode, its module paths unchanged, and what was done.

    Args:
        module: one input, one output; it is not changed.
        example_input: float32 (N, C, H, W) on which the copy is compared with the original.

    Raises:
        Unsupported: torch.fx cannot trace the module.
        Mismatch: the outputs differ by more than 1e-5 of the largest output, 0.1 in networks with signs.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    >>> folded, report = fold_batch_norm(network, torch.randn(1, 3, 8, 8))
    >>> report.folded
    ('1 -> 0',)
    """
    original = copy.deepcopy(module).eval()
    graph_module = _traced(copy.deepcopy(module).eval())
    with torch.no_grad():
        ShapeProp(graph_module).propagate(example_input)
        network = _Network(graph_module)
        merged = tuple(_merge_heads(network))
        folded = tuple(_fold_all(network))
        kept = tuple(_kept(network))
        graph_module.delete_all_unused_submodules()
        graph_module.recompile()
        expected, got = original(example_input).double(), graph_module(example_input).double()
    error = float((expected - got).abs().max())
    relative = error / max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    report = FoldReport(folded, kept, merged, error, relative)
    signed = any(isinstance(layer, BinaryLayer) and layer.signed for layer in original.modules())
    tolerance = BINARY_TOLERANCE if signed else TOLERANCE
    if not relative <= tolerance:
        raise Mismatch(
            f"folding changed the output by {relative:.2e} of its largest value, expected at most {tolerance:.0e}",
            where=f"{len(folded)} batch norms",
            fix="look for a variance near zero in the batch norms, or leave the step fold_batch_norm out",
        )
    return graph_module, report


class _Tracer(fx.Tracer):
    """Factorized and deformable convolutions are layers, as torch's own are: they are exported as one operator."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the tracer calls `m` instead of looking into it; none of these holds a batch norm."""
        whole = isinstance(m, (DeformConv2d, BinaryLayer, BinaryAttention, *FACTORIZED))
        return whole or super().is_leaf_module(m, module_qualified_name)


def _traced(module: nn.Module) -> fx.GraphModule:
    try:
        tracer = _Tracer()
        return fx.GraphModule(module, tracer.trace(module), type(module).__name__)
    except Exception as error:
        # Tracing runs the user's own forward, which may raise anything.
        raise Unsupported(
            f"torch.fx cannot trace this network: {error}",
            where=type(module).__name__,
            fix="remove control flow that depends on values from forward, or bring the network as an ONNX file",
        ) from error


def _fold_all(network: _Network) -> Iterator[str]:
    for node in list(network.graph.nodes):
        norm = network.layer(node)
        if not isinstance(norm, _NORMS) or _why_not(network, node) is not None:
            continue
        source = _feeding_layer(network, node)
        if source is not None:
            _fold_backwards(source[1], norm)
            into = [str(source[0].target)]
        else:
            readers = _reading_layers(network, node)
            for reader in readers:
                _fold_forwards(network.layer(reader), norm)
            into = [str(reader.target) for reader in readers]
        node.replace_all_uses_with(node.args[0])
        network.graph.erase_node(node)
        yield f"{node.target} -> {', '.join(into)}"


def _why_not(network: _Network, node: fx.Node) -> str | None:
    """The reason a batch norm stays, None when it can be folded."""
    norm = network.layer(node)
    if norm.running_mean is None or norm.running_var is None:
        return "it has no running statistics"
    if _feeding_layer(network, node) or _reading_layers(network, node):
        return None
    return "it neither follows a convolution or linear layer alone, nor is read only by 1x1 unpadded layers"


def _kept(network: _Network) -> Iterator[str]:
    for node in network.graph.nodes:
        if isinstance(network.layer(node), _NORMS):
            yield f"{node.target}: {_why_not(network, node)}"
        elif node.op == "call_function" and any(name in str(node.target) for name in _FUNCTIONS):
            yield f"{node.name}: it is a function, not a module"


def _feeding_layer(network: _Network, node: fx.Node) -> tuple[fx.Node, _Layer] | None:
    """The convolution or linear layer whose output goes to this norm and nowhere else."""
    source = node.args[0]
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
        return None
    layer = network.layer(source)
    # A linear layer's output channels are those of the norm only where the tensor is (N, C).
    fits = isinstance(layer, (*_CONVOLUTIONS, *FACTORIZED, BinaryConv2d)) or (
        isinstance(layer, nn.Linear) and len(_shape(source)) == 2
    )
    return (source, layer) if fits and network.called_once(source) else None


def _reading_layers(network: _Network, node: fx.Node) -> list[fx.Node]:
    """All layers that read this norm's output, directly or through a global mean; empty when one cannot take it."""
    channels = _shape(node)[1]
    readers: list[fx.Node] = []
    open_nodes = [node]
    while open_nodes:
        for user in open_nodes.pop().users:
            if _passes_affine(network, user, channels):
                open_nodes.append(user)
            elif _takes_affine(network, user, channels):
                readers.append(user)
            else:
                return []
    return readers


def _passes_affine(network: _Network, node: fx.Node, channels: int) -> bool:
    """Whether a per-channel affine map can be moved from before this node to behind it."""
    before, after = _shape(node.args[0]), _shape(node)
    if len(after) < 2 or after[:2] != before[:2] or after[1] != channels:
        return False
    if node.op == "call_module":
        layer = network.layer(node)
        pooled = isinstance(layer, nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d)
        return pooled or isinstance(layer, nn.Dropout | nn.Identity | nn.Flatten)
    if (node.op, node.target) in (("call_method", "mean"), ("call_function", torch.mean)):
        return True
    # A flatten that keeps (N, C) only drops sides of length 1.
    return (node.op, node.target) in (("call_method", "flatten"), ("call_function", torch.flatten))


def _takes_affine(network: _Network, node: fx.Node, channels: int) -> bool:
    """Whether this is a layer into whose weights and bias a per-channel affine map of its input can be put."""
    if node.op != "call_module" or not network.called_once(node):
        return False
    layer = network.layer(node)
    if isinstance(layer, nn.Linear):
        return len(_shape(node.args[0])) == 2 and layer.in_features == channels
    if not isinstance(layer, _CONVOLUTIONS):
        return False
    # Padding adds zeros that the shift of the norm would have to reach.
    return set(layer.kernel_size) == {1} and layer.padding != "same" and set(layer.padding) <= {0}


def _shape(node: object) -> tuple[int, ...]:
    meta = node.meta.get("tensor_meta") if isinstance(node, fx.Node) else None
    return tuple(getattr(meta, "shape", ()))


def _scale_and_shift(norm: _Norm) -> tuple[Tensor, Tensor]:
    """s and t of y = s * x + t, float64."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a batch norm without running statistics is not an affine map")
    scale = (variance.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _fold_backwards(layer: _Layer, norm: _Norm) -> None:
    """norm(layer(x)): scale the rows of the weight, or what scales the rows of bits already."""
    scale, shift = _scale_and_shift(norm)
    if isinstance(layer, BinaryLayer):
        layer.follow_by(scale, shift)
        return
    if isinstance(layer, FACTORIZED):
        layer.scale_outputs(scale, shift)
        return
    weight = layer.weight.double()
    bias = shift if layer.bias is None else layer.bias.double() * scale + shift
    _set(layer, weight * scale.view(-1, *[1] * (weight.ndim - 1)), bias)


def _fold_forwards(layer: _Layer, norm: _Norm) -> None:
    """layer(norm(x)): scale the columns of the weight, add what the shift makes of it to the bias."""
    scale, shift = _scale_and_shift(norm)
    groups = getattr(layer, "groups", 1)
    weight = layer.weight.double()
    # Rows of group g read the channels of group g.
    grouped = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1])
    added = torch.einsum("goi,gi->go", grouped, shift.view(groups, -1)).reshape(-1)
    bias = added if layer.bias is None else layer.bias.double() + added
    _set(layer, (grouped * scale.view(groups, 1, -1)).reshape(weight.shape), bias)


def _set(layer: _Layer, weight: Tensor, bias: Tensor) -> None:
    dtype = layer.weight.dtype
    layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(dtype), requires_grad=False)


_HALVES: dict[Callable[..., object], float] = {operator.truediv: 2.0, torch.div: 2.0, operator.mul: 0.5, torch.mul: 0.5}


def _merge_heads(network: _Network) -> Iterator[str]:
    """Replace (first(x) + second(x)) / 2 of two linear layers with one that has their mean weights."""
    for node in list(network.graph.nodes):
        if node.op != "call_function" or node.target not in _HALVES or node.args[1] != _HALVES[node.target]:
            continue
        total = node.args[0]
        if not isinstance(total, fx.Node) or total.target not in (operator.add, torch.add) or len(total.users) > 1:
            continue
        heads: list[Any] = list(total.args)
        if not all(isinstance(head, fx.Node) and head.op == "call_module" and len(head.users) == 1 for head in heads):
            continue
        layers = [network.layer(head) for head in heads]
        once = all(network.called_once(head) for head in heads)
        if not once or heads[0].args != heads[1].args or not all(isinstance(layer, nn.Linear) for layer in layers):
            continue
        zero = torch.zeros((), dtype=torch.float64)
        weights = [layer.weight.double() for layer in layers]
        biases = [zero if layer.bias is None else layer.bias.double() for layer in layers]
        bias = ((biases[0] + biases[1]) / 2).expand(layers[0].out_features)
        _set(layers[0], (weights[0] + weights[1]) / 2, bias.clone())
        node.replace_all_uses_with(heads[0])
        for dead in (node, total, heads[1]):
            network.graph.erase_node(dead)
        yield f"{heads[1].target} -> {heads[0].target}"
