"""Quantisation-aware training of any network: its QDQ graph, walked in torch, with quantisers that train.

What post-training quantisation decides, where quantisers stand and from which ranges they start, is taken from the
canonical graph (`canonical`) as it is; batch norms are folded in it already. What was trained is written back into the
same graph: the file differs in numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from edgevision.compress.canonical import UNIT_RANGE
from edgevision.compress.layers import MOVES, weight_of
from edgevision.compress.onnxgraph import WEIGHT_SLOTS, Index, attribute, copy_of, dequantised, finished, rebatched
from edgevision.compress.packing import BITS, at_opset, stored
from edgevision.compress.qat import QatSettings
from edgevision.compress.steps import ActivationSteps, WeightSteps
from edgevision.compress.torch_operators import OPERATORS, Value, real, trainable
from edgevision.errors import Unsupported

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


class QatGraph(nn.Module):
    """Images (N, C, H, W) to the graph's one output, (N, ...).

    Args:
        quantised: a canonical QDQ graph with weights of 8 bits.
        settings: of the quantisation.

    Raises:
        Unsupported: operators that cannot be trained through, each named, or a batch of 1 built into the graph.
    """

    batches: Tensor

    def __init__(self, quantised: onnx.ModelProto, settings: QatSettings) -> None:
        super().__init__()
        refuse_untrainable(quantised)
        self.settings, self._model = settings, quantised
        self._index = Index.of(quantised.graph)
        self.weights, self.quantizers = nn.ModuleDict(), nn.ModuleDict()
        self.biases, self._floats, self._places = nn.ParameterDict(), nn.ParameterDict(), dict[str, str]()
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self._collect_quantizers()
        self._collect_weights()
        self._collect_constants()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return real(self.values(x)[self._model.graph.output[0].name])

    def values(self, x: Tensor) -> dict[str, Value]:
        """Every tensor of the graph; those between a quantiser and what dequantises are `Steps`."""
        settling = self.settling
        values: dict[str, Value] = {self._model.graph.input[0].name: x}
        for node in self._model.graph.node:
            if node.op_type == "QuantizeLinear":
                quantizer, source = self._quantizer(node.input[1]), real(values[node.input[0]])
                if settling:
                    quantizer.observe(source)
                values[node.output[0]] = quantizer(source)
            elif node.op_type == "DequantizeLinear":
                key = self._places.get(node.output[0])
                values[node.output[0]] = values[node.input[0]] if key is None else self.weights[key]()
            else:
                inputs = [self._value(name, values) for name in node.input]
                made = OPERATORS[node.op_type](inputs, _attributes(node))
                values.update(zip(node.output, made, strict=False))
        if settling:
            self.batches.add_(1)
            for quantizer in set(self._activations()):
                quantizer.commit(self.settings.range_momentum)
        return values

    @property
    def settling(self) -> bool:
        """Whether a training batch still moves the ranges."""
        return self.training and int(self.batches) < self.settings.settling_batches

    @torch.no_grad()
    def written(self) -> onnx.ModelProto:
        """The graph with what was trained; weights of at most 4 bits are INT4."""
        model = copy_of(self._model)
        constants = {tensor.name: tensor for tensor in model.graph.initializer}

        def put(name: str, array: np.ndarray) -> None:
            constants[name].CopyFrom(numpy_helper.from_array(np.array(array, order="C"), name))

        for node in model.graph.node:
            key = self._places.get(node.output[0])
            if node.op_type == "QuantizeLinear":
                quantizer = self._quantizer(node.input[1])
                shape = numpy_helper.to_array(constants[node.input[1]]).shape
                put(node.input[1], quantizer.scale().numpy().reshape(shape))
                put(node.input[2], quantizer.zero.numpy().astype(quantizer.dtype).reshape(shape))
            elif node.op_type == "DequantizeLinear" and key is not None:
                layer = self.weights[key]
                assert isinstance(layer, WeightSteps)
                steps = layer()
                put(node.input[0], stored(steps.values.numpy(), layer.bits))
                put(node.input[1], steps.scale.numpy())
                put(node.input[2], stored(np.zeros(steps.scale.shape), layer.bits))
        for name, place in self._names.items():
            if place in self.biases:
                put(name, self.biases[place].numpy())
        few = any(isinstance(layer, WeightSteps) and layer.bits <= BITS for layer in self.weights.values())
        return at_opset(model) if few else finished(model)

    def _value(self, name: str, values: dict[str, Value]) -> Value:
        if not name:
            return None
        place = self._names.get(name)
        if place is None:
            return values[name]
        return self.biases[place] if place in self.biases else self.get_buffer(place)

    def _quantizer(self, scale: str) -> ActivationSteps:
        quantizer = self.quantizers[self._places[scale]]
        assert isinstance(quantizer, ActivationSteps)
        return quantizer

    def _activations(self) -> Iterator[ActivationSteps]:
        for quantizer in self.quantizers.values():
            assert isinstance(quantizer, ActivationSteps)
            yield quantizer

    def _collect_quantizers(self) -> None:
        """One module for all quantisers of a scale, and for those whose steps are joined without being rescaled."""
        index = self._index
        for node in self._model.graph.node:
            if node.op_type == "QuantizeLinear" and node.input[1] not in self._places:
                source = index.producer.get(node.input[0])
                unit = source is not None and source.op_type in UNIT_RANGE
                key = f"q{len(self.quantizers)}"
                self._places[node.input[1]] = key
                self.quantizers[key] = ActivationSteps(
                    index.array(node.input[1]), index.array(node.input[2]), "fixed" if unit else self.settings.ranges
                )
        for node in self._model.graph.node:
            made = [self._maker(name) for name in node.input] if node.op_type == "Concat" else []
            scales = [maker.input[1] for maker in made if maker is not None]
            if made and len(scales) == len(made):
                self._places.update(dict.fromkeys(scales, self._places[scales[0]]))
        used = set(self._places.values())
        for key in set(self.quantizers) - used:
            del self.quantizers[key]

    def _maker(self, integers: str) -> onnx.NodeProto | None:
        """The QuantizeLinear that made `integers`, through what moves them; None of floats."""
        node = self._index.producer.get(integers)
        while node is not None and node.op_type in MOVES:
            node = self._index.producer.get(node.input[0])
        return node if node is not None and node.op_type == "QuantizeLinear" else None

    def _collect_weights(self) -> None:
        index, image = self._index, self._image_tensors()
        learned = self.settings.ranges == "learned"
        for node in self._model.graph.node:
            if weight_of(node, index) in (None, *node.input):
                continue
            dequantize = index.producer[node.input[WEIGHT_SLOTS[node.op_type]]]
            bits = self.settings.first_bits if node.input[0] in image else self.settings.weight_bits
            if dequantize.output[0] in self._places:
                continue
            axis, key = attribute(dequantize, "axis", 1), f"w{len(self.weights)}"
            self._places[dequantize.output[0]] = key
            self.weights[key] = WeightSteps(dequantised(index, dequantize.output[0]), axis, bits, learned=learned)

    def _collect_constants(self) -> None:
        """Floats and shapes; what is added to a layer's sums trains."""
        index = self._index
        self._names: dict[str, str] = {}
        for node in self._model.graph.node:
            if node.op_type in _QUANTISERS and node.output[0] in self._places:
                continue
            if node.op_type == "DequantizeLinear" and node.input[0] in index.constants:
                self._constant(node.output[0], dequantised(index, node.output[0]))
                continue
            slot = WEIGHT_SLOTS.get(node.op_type)
            for at, name in enumerate(node.input if node.op_type not in _QUANTISERS else ()):
                if name in index.constants and name not in self._names:
                    added = node.op_type == "Add" or (slot is not None and at > slot)
                    self._constant(name, index.array(name), trains=added)

    def _constant(self, name: str, array: np.ndarray, *, trains: bool = False) -> None:
        place = self._names[name] = f"c{len(self._names)}"
        value = torch.from_numpy(np.array(array))
        if trains and value.is_floating_point() and value.ndim:
            self.biases[place] = nn.Parameter(value)
        else:
            self.register_buffer(place, value, persistent=False)

    def _image_tensors(self) -> set[str]:
        """The image, quantised and moved or not."""
        found = {self._model.graph.input[0].name}
        for node in self._model.graph.node:
            if node.op_type in (*_QUANTISERS, *MOVES) and node.input[0] in found:
                found.update(node.output)
        return found


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def refuse_untrainable(model: onnx.ModelProto) -> None:
    """Raise unless every operator of `model`, quantised or not, can be trained through.

    Raises:
        Unsupported: with each that cannot, or a batch of one image built into the graph.
    """
    reasons = [
        f"{node.name}: {node.op_type}"
        for node in model.graph.node
        if node.domain or not (node.op_type in _QUANTISERS or trainable(node.op_type, _attributes(node)))
    ]
    if rebatched(model, 2) is None:
        reasons.append("a batch of one image is built into the graph's shapes")
    if reasons:
        raise Unsupported(
            "the network has operators that cannot be trained through",
            where=model.graph.name,
            reasons=reasons,
            fix="quantise it after training: --recipe w8a8",
        )
