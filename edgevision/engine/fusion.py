"""Which two layers share a call: a depthwise layer goes with the 1x1 layer behind it or with the one ahead of it.

What is between the two never reaches memory, so who is left alone decides the time. Costs are cycles of the slowest of
what works at the same time in a call, and what passes before the second unit can begin.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgevision.engine.checks import Tensor
from edgevision.engine.network import Convolution, Header, Layer
from edgevision.engine.readers import MOVING, readers_of_tensors
from edgevision.graph.sampling import LARGEST_DILATION
from edgevision.target import Engine


def is_spatial(layer: Layer) -> bool:
    """Whether the line buffer's unit alone does it."""
    return not isinstance(layer, MOVING) and (not isinstance(layer, Convolution) or layer.depthwise)


def is_plain_pointwise(layer: Layer) -> bool:
    """Whether the 1x1 array alone does it."""
    return isinstance(layer, Convolution) and not layer.depthwise and (layer.kernel, layer.stride) == (1, 1)


@dataclass(frozen=True)
class Fusion:
    """Decides for one network on one engine; `tensors` are shapes by name."""

    header: Header
    tensors: dict[str, Tensor]
    engine: Engine

    def leaves(self) -> set[str]:
        """Names of the layers that are done in the call of the one layer that reads them."""
        layers = {layer.name: layer for layer in self.header.layers}
        readers = readers_of_tensors(self.header)
        found: set[str] = set()
        joined: set[str] = set()
        for layer in self.header.layers:
            after = self._only_reader(layer, layers, readers)
            if after is None or layer.name in joined:
                continue
            if is_spatial(layer) and is_plain_pointwise(after):
                found.add(layer.name)
                joined.add(after.name)
            elif is_plain_pointwise(layer) and is_spatial(after):
                last = self._only_reader(after, layers, readers)
                behind = last if last is not None and is_plain_pointwise(last) else None
                if behind is None or self._ahead_is_better(layer, after, behind):
                    found.add(layer.name)
                    joined.add(after.name)
        return found

    def _only_reader(self, layer: Layer, layers: dict[str, Layer], readers: dict[str, list[str]]) -> Layer | None:
        names = readers[layer.name]
        if isinstance(layer, MOVING) or len(names) != 1 or names[0] not in layers:
            return None
        reader = layers[names[0]]
        # Not where it is read as a map of dilations.
        return None if isinstance(reader, MOVING) or reader.input != layer.name else reader  # type: ignore[union-attr]

    def _ahead_is_better(self, first: Layer, middle: Layer, last: Layer) -> bool:
        """Whether `middle` goes with `first` rather than with `last`."""
        one, two, three = self._pointwise(first), self._spatial(middle), self._pointwise(last)
        x, a, b, c = (self._moved(name) for name in (first.input, first.name, middle.name, last.name))  # type: ignore[union-attr]
        reach = LARGEST_DILATION if getattr(middle, "dilation", None) is not None else 1
        rows = min(1.0, (1 + reach) / self.tensors[first.name].shape[1])
        ahead = max(one, two, x, b) + rows * max(one, x) + max(three, b, c)
        behind = max(one, x, a) + max(two, three, a, c) + rows * a
        return ahead < behind

    def _planes(self, name: str) -> int:
        return -(-self.tensors[name].shape[0] // self.engine.lanes)

    def _pixels(self, name: str) -> int:
        return self.tensors[name].shape[1] * self.tensors[name].shape[2]

    def _moved(self, name: str) -> int:
        return self._pixels(name) * self._planes(name) * self.engine.lanes * 8 // self.engine.axi_bits

    def _pointwise(self, layer: Layer) -> int:
        assert isinstance(layer, Convolution)
        outputs = -(-layer.channels // self.engine.columns)
        return self._pixels(layer.name) * self._planes(layer.input) * outputs * (2 if layer.bits == 8 else 1)

    def _spatial(self, layer: Layer) -> int:
        return self._pixels(layer.name) * self._planes(layer.name) * 3
