"""Which layers of a network that is not made for the engine it could do, and what that would gain: modelled alone.

Nothing is offloaded. Each layer is taken by itself: its map is repacked for the engine, one call runs, the result comes
back. The processor's side is the inner loop of our kernels in llvm-mca's model of a Cortex-A9 (benchmarks/README.md).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx

from edgevision.compress.layers import weight_of
from edgevision.compress.measure import measure
from edgevision.compress.onnxgraph import Index, attribute
from edgevision.engine.cycles import GB_S, modelled
from edgevision.engine.network import INPUT, Convolution, Group, Header, IntegerNetwork, Parameters
from edgevision.errors import EdgeVisionError
from edgevision.target import Target

Kind = Literal["pointwise", "depthwise"]

#: Multiply-accumulates a cycle of one Cortex-A9: int8 loops of ours, data in the first cache; modelled by llvm-mca.
A9_MACS = {"pointwise": 2.9, "depthwise": 1.1}
#: Assumed microseconds to start a call and see its end: what a fit of the authors' calls gives (arXiv 2006.08357).
START_US = 51


@dataclass(frozen=True)
class OffloadLayer:
    """A layer the engine could do.

    Attributes:
        engine_ms: of its call, with its start and its map copied there and back.
        processor_ms: of one core.
    """

    name: str
    kind: Kind
    macs: int
    engine_ms: float
    processor_ms: float

    @property
    def gains(self) -> bool:
        """Whether the engine would be sooner."""
        return self.engine_ms < self.processor_ms


@dataclass(frozen=True)
class Offload:
    """All of a network: layers the engine could do, and why it cannot do the others that multiply.

    Attributes:
        macs: of the whole network.
    """

    layers: tuple[OffloadLayer, ...]
    others: tuple[tuple[str, str], ...]
    macs: int

    @property
    def share(self) -> float:
        """Share of the multiply-accumulates the engine could do, 0 to 1."""
        return sum(layer.macs for layer in self.layers) / max(1, self.macs)

    @property
    def saved_ms(self) -> float:
        """Milliseconds a frame would be shorter on one core, if all that gain went to the engine."""
        return sum(layer.processor_ms - layer.engine_ms for layer in self.layers if layer.gains)


def offload(model: onnx.ModelProto, target: Target) -> Offload:
    """Look at every layer of a graph whose shapes are known.

    Raises:
        EdgeVisionError: the target has no engine.
    """
    if target.engine is None:
        raise EdgeVisionError(f"target '{target.name}' has no engine")
    index, shapes = Index.of(model.graph), _shapes(model.graph)
    nodes = {node.name: node for node in model.graph.node}
    measured = measure(model)
    found, others = [], []
    for layer in measured.layers:
        node = nodes[layer.name]
        shape = _shape_of(node, index, shapes) if layer.integer else "its operands are not both quantised"
        cycles = _cycles(shape, target) if not isinstance(shape, str) else shape
        if isinstance(shape, str) or isinstance(cycles, str):
            others.append((layer.name, str(cycles)))
            continue
        engine_ms = cycles / target.engine.clock_mhz / 1e3 + START_US / 1e3 + 2 * shape.moved_bytes / (GB_S * 1e6)
        rate = A9_MACS[shape.kind] * (target.cpu.clock_mhz or 650) * 1e3
        found.append(OffloadLayer(layer.name, shape.kind, layer.macs, engine_ms, layer.macs / rate))
    return Offload(tuple(found), tuple(others), measured.macs)


@dataclass(frozen=True)
class _Shape:
    kind: Kind
    channels: int
    depth: int
    height: int
    width: int
    stride: int
    bits: Literal[4, 8]

    @property
    def moved_bytes(self) -> int:
        """Of the map that goes there and the one that comes back."""
        out = -(-self.height // self.stride) * -(-self.width // self.stride)
        inputs = self.channels if self.kind == "depthwise" else self.depth
        return self.height * self.width * inputs + out * self.channels


def _shape_of(node: onnx.NodeProto, index: Index, shapes: dict[str, list[int]]) -> _Shape | str:
    """What the layer is to the engine, or why it is nothing to it."""
    name = weight_of(node, index)
    if name is None:
        return "both of its operands are computed"
    weight = index.constants[name]
    bits: Literal[4, 8] = 4 if weight.data_type == onnx.TensorProto.INT4 else 8
    x = shapes.get(node.input[0])
    if x is None or not all(x):
        return "its input has no known shape"
    if node.op_type in ("Gemm", "MatMul"):
        rows = int(np.prod(x[1:-1], dtype=np.int64)) if len(x) > 2 else 1
        depth, channels = (int(size) for size in weight.dims)
        if node.op_type == "Gemm" and attribute(node, "transB", 0):
            depth, channels = channels, depth
        return _Shape("pointwise", channels, depth, 1, max(1, rows), 1, bits)
    if node.op_type != "Conv" or len(x) != 4:
        return f"{node.op_type} is no layer of the engine"
    channels, depth, *kernel = (int(size) for size in weight.dims)
    strides, pads = attribute(node, "strides", [1, 1]), attribute(node, "pads", [0] * 4)
    groups = attribute(node, "group", 1)
    if kernel == [1, 1] and groups == 1 and strides[0] == strides[1] and strides[0] in (1, 2, 4) and not any(pads):
        return _Shape("pointwise", channels, depth, x[2], x[3], strides[0], bits)
    if kernel == [3, 3] and depth == 1 and groups == channels and pads == [1] * 4 and strides in ([1, 1], [2, 2]):
        return _Shape("depthwise", channels, 1, x[2], x[3], strides[0], bits)
    form = "depthwise" if depth == 1 and groups > 1 else f"{groups} groups" if groups > 1 else "dense"
    return f"{kernel[0]}x{kernel[1]}, {form}, stride {strides[0]}: the engine has 1x1 and depthwise 3x3 layers"


@functools.lru_cache(maxsize=1024)
def _modelled_cycles(shape: _Shape, target_name: str, engine: object) -> int | str:
    """Cycles of a network of that one layer, or why the engine cannot do it."""
    depthwise = shape.kind == "depthwise"
    inputs = shape.channels if depthwise else shape.depth
    kernel = 3 if depthwise else 1
    layer = Convolution(
        name="layer", input=INPUT, channels=shape.channels, depth=shape.depth, kernel=kernel, stride=shape.stride,
        depthwise=depthwise, bits=shape.bits, group=0,
    )  # fmt: skip
    header = Header(
        input_shape=(inputs, shape.height, shape.width), input_group=0, groups=(Group(1.0, 0),), layers=(layer,),
        outputs=("layer",),
    )  # fmt: skip
    numbers = np.ones(shape.channels, np.int16)
    weight = np.zeros((shape.channels, shape.depth, kernel, kernel), np.int8)
    network = IntegerNetwork(header, {"layer": Parameters(numbers, numbers, weight)})
    try:
        return max(call.last for call in modelled(network, engine))  # type: ignore[arg-type]
    except EdgeVisionError as error:
        return "; ".join(error.reasons[:2]) or error.what


def _cycles(shape: _Shape, target: Target) -> int | str:
    return _modelled_cycles(shape, target.name, target.engine)


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
