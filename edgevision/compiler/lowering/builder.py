"""What a lowering rule works with: storages, constants, kernels made once, and the growing list of calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgevision.compiler.kernels import elementwise, layout, move
from edgevision.compiler.kernels.chain import Apply, Chain, Operand, Store
from edgevision.compiler.lowering.values import Extent, Storage, Value, extent_of, rows_are_planes
from edgevision.compiler.simd import Simd
from edgevision.compiler.source import KernelSource
from edgevision.errors import Unsupported
from edgevision.graph import movement, numerics
from edgevision.graph.ir import Graph, Node
from edgevision.graph.qdq import Quant


@dataclass(frozen=True)
class Call:
    """One kernel call over storages; `written` says how many of the last storages it writes."""

    kernel: str
    storages: tuple[int, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    written: int
    label: str
    family: str
    macs: int
    integer: bool


@dataclass
class Builder:
    """State of one lowering.

    Attributes:
        exact: whether float chains round operation by operation, as quantised networks need.
        values: how each tensor that exists so far can be read, by layout.
        prepared: calls that make of constants what the others read; they run once, when the program is opened.
        absorbed: nodes already computed inside another node's kernel.
        inputs, outputs: storages of the graph's inputs and outputs, in order.
    """

    graph: Graph
    simd: Simd
    exact: bool
    storages: list[Storage] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    prepared: list[Call] = field(default_factory=list)
    kernels: dict[str, KernelSource] = field(default_factory=dict)
    values: dict[str, dict[str, Value]] = field(default_factory=dict)
    absorbed: set[int] = field(default_factory=set)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    _constants: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._readers = self.graph.readers()

    # -- storages ---------------------------------------------------------------------------------------------------

    def new(self, elements: int, dtype: str) -> int:
        """A fresh arena slot."""
        self.storages.append(Storage(elements, dtype))
        return len(self.storages) - 1

    def constant(self, array: np.ndarray) -> int:
        """A constant, stored once however often it is used."""
        flat = np.ascontiguousarray(array).reshape(-1)
        key = f"{flat.dtype}:{hashlib.sha256(flat.tobytes()).hexdigest()}"
        if key not in self._constants:
            self.storages.append(Storage(flat.size, str(flat.dtype), "constant", flat))
            self._constants[key] = len(self.storages) - 1
        return self._constants[key]

    def kernel(self, family: str, make: Callable[[str, Any, Simd], Any], spec: Any) -> str:
        """Name of the kernel for `spec`; it is generated when the program is compiled, if no cache has it."""
        source = KernelSource(family, make, spec, self.simd)
        return self.kernels.setdefault(source.name, source).name

    def call(
        self,
        family: str,
        make: Callable[[str, Any, Simd], Any],
        spec: Any,
        storages: list[int],
        label: str,
        *,
        macs: int = 0,
        integer: bool = False,
    ) -> None:
        """Append a call that reads all storages but the last, and writes the last."""
        name = self.kernel(family, make, spec)
        self.calls.append(Call(name, tuple(storages), (None,) * len(storages), 1, label, family, macs, integer))

    def prepare(
        self,
        family: str,
        make: Callable[[str, Any, Simd], Any],
        spec: Any,
        constants: list[np.ndarray],
        made: tuple[int, str],
        label: str,
    ) -> int:
        """What a kernel makes of constants when the program is opened; `made` is its (elements, dtype)."""
        name, sources = self.kernel(family, make, spec), tuple(self.constant(array) for array in constants)
        for call in self.prepared:
            if call.kernel == name and call.storages[:-1] == sources:
                return call.storages[-1]
        output = self.new(*made)
        storages = (*sources, output)
        self.prepared.append(Call(name, storages, (None,) * len(storages), 1, label, family, 0, True))
        return output

    # -- tensors ----------------------------------------------------------------------------------------------------

    def extent(self, tensor: str) -> Extent:
        """Images, pixels and channels of a tensor."""
        return extent_of(self.graph.shape(tensor))

    def elements(self, value: Value) -> int:
        """Elements of the whole storage behind a value."""
        return self.storages[value.storage].elements

    def put(self, tensor: str, value: Value) -> None:
        """Say where a tensor is."""
        self.values.setdefault(tensor, {})[value.layout] = value
        if rows_are_planes(self.graph.shape(tensor)) and value.layout == "planes":
            channels = self.extent(tensor).channels
            self.values[tensor]["rows"] = Value(value.storage, value.dtype, "rows", channels, 0, value.quant)

    def put_as_onnx(self, tensor: str, storage: int, dtype: str, quant: Quant | None = None) -> None:
        """Say that a tensor's elements lie in `storage` in the order ONNX gives them."""
        if len(self.graph.shape(tensor)) == 4:
            self.put(tensor, Value(storage, dtype, "planes", 0, 0, quant))
        else:
            self.put(tensor, Value(storage, dtype, "rows", self.extent(tensor).channels, 0, quant))

    def exists(self, tensor: str) -> bool:
        """Whether the tensor has been computed."""
        return tensor in self.values

    def materialise(self, tensor: str) -> None:
        """Make a constant of the graph readable like any other tensor."""
        if tensor not in self.values:
            array = self.graph.constants[tensor]
            self.put(tensor, Value(self.constant(array), str(array.dtype), "planes", 0))
            if len(array.shape) != 4:
                channels = self.extent(tensor).channels
                storage = self.values[tensor]["planes"].storage
                self.values[tensor]["rows"] = Value(storage, str(array.dtype), "rows", channels)

    def readers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor; none when the graph returns it, for then it has to be there whole."""
        return [] if tensor in self.graph.outputs else self._readers.get(tensor, [])

    def sole_reader(self, tensor: str) -> Node | None:
        """The one node that reads a tensor; None when several do or the graph returns it."""
        readers = self._readers.get(tensor, [])
        return readers[0] if len(readers) == 1 and tensor not in self.graph.outputs else None

    def rows(self, tensor: str, *, tabled: bool = False) -> Value:
        """The tensor as rows, whatever it is stored as; bytes behind a quantisation stay bytes.

        Args:
            tabled: whether the reader can find each row through a table; others get a copy in order.
        """
        self.materialise(tensor)
        known = self.values[tensor]
        if "rows" not in known and "moved" in known:
            self._rows_of_moved(tensor, known["moved"])
        if tabled and "rows" not in known and "tabled" in known:
            return known["tabled"]
        if "rows" not in known and "moved" in known:
            known["rows"] = self._copied_in_order(tensor, known["moved"], as_rows=True)
        if "rows" not in known:
            self._relayout(tensor, known["planes"], to_rows=True)
        return known["rows"]

    def moved(self, tensor: str) -> Value:
        """Where each element of the tensor lies; nothing is copied."""
        self.materialise(tensor)
        known = self.values[tensor]
        if "moved" in known:
            return known["moved"]
        if "rows" in known:
            return self._addressed(tensor, known["rows"])
        addresses = np.arange(self.extent(tensor).elements).reshape(self.graph.shape(tensor))
        return replace(known["planes"], layout="moved", addresses=addresses)

    def moved_float(self, tensor: str) -> Value:
        """As `moved`, of float elements: bytes are dequantised first."""
        value = self.moved(tensor)
        return value if value.quant is None else self._addressed(tensor, self.float_rows(tensor))

    def _addressed(self, tensor: str, rows: Value) -> Value:
        shape, extent = self.graph.shape(tensor), self.extent(tensor)
        addresses = np.arange(extent.rows)[:, None] * rows.pitch + rows.offset + np.arange(extent.channels)
        if len(shape) == 4:
            addresses = addresses.reshape(shape[0], *shape[2:], shape[1]).transpose(0, 3, 1, 2)
        return replace(rows, layout="moved", addresses=addresses.reshape(shape))

    def put_moved(self, tensor: str, source: Value, addresses: np.ndarray) -> None:
        """Say that a tensor's elements are those of `source` at `addresses`."""
        flat = addresses.reshape(-1)
        whole = source.dtype != "bits" and flat.size == self.elements(source)
        if whole and np.array_equal(flat, np.arange(flat.size)):
            self.put_as_onnx(tensor, source.storage, source.dtype, source.quant)
        else:
            self.put(tensor, Value(source.storage, source.dtype, "moved", 0, 0, source.quant, addresses=addresses))

    def float_rows(self, tensor: str) -> Value:
        """The tensor as float32 rows; dequantised here if it is stored as bytes."""
        value = self.rows(tensor)
        if value.quant is None:
            return value
        key = f"{tensor}:float"
        if key not in self.values:
            self.values[key] = {"rows": self.copied(tensor, value)}
        return self.values[key]["rows"]

    def dense_rows(self, tensor: str) -> Value:
        """The tensor as float32 or byte rows without gaps."""
        value = self.float_rows(tensor)
        if value.pitch == self.extent(tensor).channels and value.offset == 0:
            return value
        key = f"{tensor}:dense"
        if key not in self.values:
            self.values[key] = {"rows": self.copied(tensor, value)}
        return self.values[key]["rows"]

    def planes(self, tensor: str) -> int:
        """Storage of the tensor in the order ONNX gives it, float32 if it was quantised."""
        self.materialise(tensor)
        known = self.values[tensor]
        if "planes" in known and known["planes"].quant is None:
            return known["planes"].storage
        if "moved" in known and "rows" not in known and known["moved"].quant is None:
            known["planes"] = self._copied_in_order(tensor, known["moved"], as_rows=False)
            return known["planes"].storage
        if rows_are_planes(self.graph.shape(tensor)):
            return self.dense_rows(tensor).storage
        value = self.float_rows(tensor)
        self._relayout(tensor, value, to_rows=False)
        return known["planes"].storage

    def copied(self, tensor: str, value: Value) -> Value:
        """A dense copy; bytes read through a quantisation become float32."""
        extent = self.extent(tensor)
        as_float = value.quant is not None
        if value.dtype not in ("float32", "uint8"):
            raise Unsupported(f"no kernel copies {value.dtype} rows", where=f"tensor '{tensor}'")
        dtype = "float32" if as_float or value.dtype == "float32" else "uint8"
        first, operations, extras = self.read_operand(value, parameter=0)
        chain = Chain(tuple(operations), Store(dtype=dtype, pitch=extent.channels), exact=self.exact)
        output = self.new(extent.elements, dtype)
        spec = elementwise.Elementwise(
            extent.rows,
            extent.channels,
            extent.images,
            first,
            chain,
            tuple((self.storages[s].elements, self.storages[s].dtype) for s in extras),
            extent.elements,
        )
        self.call("elementwise", elementwise.build, spec, [*extras, output], tensor)
        return Value(output, dtype, "rows", extent.channels)

    def duplicate(self, storage: int, label: str) -> int:
        """A copy of a whole storage, element by element, for a result that must not share it."""
        made = self.storages[storage]
        output = self.new(made.elements, made.dtype)
        spec = layout.Layout(True, 1, made.elements, 1, made.dtype, 1, 0, made.elements)
        self.call("layout", layout.build, spec, [storage, output], label)
        return output

    def read_operand(self, value: Value, parameter: int) -> tuple[Operand, list[Apply], list[int]]:
        """A value as a chain's first operand, with the operations that dequantise it and the storages it reads."""
        tables = [] if value.table is None else [value.table]
        if value.quant is None or value.quant.per_tensor:
            storages = [value.storage, *([] if value.quant is None else [self.quant_constant(value.quant)])]
            quant = None if value.quant is None else parameter + 1
            table = None if value.table is None else parameter + len(storages)
            return operand_of(value, "tensor", parameter, quant, table), [], [*storages, *tables]
        # One scale per channel: subtract and multiply by channel, in the order section 3 of NUMERICS.md gives.
        table = None if value.table is None else parameter + 3
        plain = operand_of(value.through(None), "tensor", parameter, None, table)
        zero = self.constant(value.quant.zero_point.astype(np.float32))
        scale = self.constant(value.quant.scale)
        operations = [
            Apply("sub", Operand(parameter + 1, "channel")),
            Apply("mul", Operand(parameter + 2, "channel")),
        ]
        return plain, operations, [value.storage, zero, scale, *tables]

    def quant_constant(self, quant: Quant) -> int:
        """[scale, zero point] of a per-tensor quantisation, for `Operand.quant`."""
        return self.constant(np.array([quant.step, quant.zero], np.float32))

    def limits_constant(self, out: Quant, low: int, high: int) -> int:
        """[low, high, 1 / scale, zero point] of a stored byte, for `Store.limits`."""
        zero = out.zero if out.per_tensor else 0
        factor = float(numerics.reciprocal(out.scale)) if out.per_tensor else 1.0
        return self.constant(np.array([low - zero, high - zero, factor, zero], np.float32))

    # -- helpers ----------------------------------------------------------------------------------------------------

    def _rows_of_moved(self, tensor: str, value: Value) -> None:
        """Moved elements as rows with a pitch, else through a table, where the channels of each row are together."""
        addresses = _channels_last(value.addresses)
        starts = addresses[:, 0]
        if not np.array_equal(addresses, starts[:, None] + np.arange(addresses.shape[1])):
            return
        pitch = int(starts[1] - starts[0]) if starts.size > 1 else addresses.shape[1]
        if pitch >= 0 and np.array_equal(starts, starts[0] + pitch * np.arange(starts.size)):
            self.put(tensor, replace(value, layout="rows", pitch=pitch, offset=int(starts[0]), addresses=None))
        else:
            table = self.constant(starts.astype(np.int32))
            self.put(tensor, replace(value, layout="tabled", table=table, addresses=None))

    def _copied_in_order(self, tensor: str, value: Value, *, as_rows: bool) -> Value:
        """A dense copy of moved elements, in the order of rows or in ONNX's."""
        output = self.new(self.extent(tensor).elements, value.dtype)
        addresses = _channels_last(value.addresses) if as_rows else value.addresses
        self.move(value, np.asarray(addresses), output, 0, tensor)
        layout_: Any = "rows" if as_rows else "planes"
        return Value(output, value.dtype, layout_, self.extent(tensor).channels if as_rows else 0, 0, value.quant)

    def affine(
        self, tensor: str, shape: tuple[int, ...], *, adjacent: int | None, integer: bool
    ) -> tuple[int, int, tuple[int, ...]]:
        """Storage, first element and strides of a tensor read as `shape`; copied in order where it does not lie so.

        Args:
            adjacent: axis whose elements have to lie together.
            integer: whether bytes are read as bytes.
        """
        value = self.moved(tensor) if integer else self.moved_float(tensor)
        found = movement.strides_of(np.asarray(value.addresses).reshape(shape))
        if found is not None and (adjacent is None or shape[adjacent] == 1 or found[1][adjacent] == 1):
            return value.storage, *found
        copied = self.in_order(tensor, value)
        return copied.storage, 0, tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))

    def in_order(self, tensor: str, value: Value) -> Value:
        """A copy of moved elements in the order ONNX gives them; bytes stay bytes."""
        return self._copied_in_order(tensor, value, as_rows=False)

    def move(self, value: Value, addresses: np.ndarray, output: int, offset: int, label: str) -> None:
        """Copy the elements at `addresses` to `output`, one after another from `offset`."""
        table, loops = movement.loops(addresses)
        spec = move.Move(
            table.size, int(table[0]) if table.size == 1 else 0, tuple(loops), value.dtype, self.elements(value),
            self.storages[output].elements, offset,
        )  # fmt: skip
        tables = [self.constant(table.astype(np.int32))] if table.size > 1 else []
        self.call("move", move.build, spec, [value.storage, *tables, output], label)

    def _relayout(self, tensor: str, value: Value, *, to_rows: bool) -> None:
        extent = self.extent(tensor)
        output = self.new(extent.elements, value.dtype)
        spec = layout.Layout(
            to_rows,
            extent.images,
            extent.pixels,
            extent.channels,
            value.dtype,
            extent.channels if to_rows else value.pitch,
            0 if to_rows else value.offset,
            extent.elements if to_rows else self.elements(value),
        )
        self.call("layout", layout.build, spec, [value.storage, output], tensor)
        pitch = extent.channels if to_rows else 0
        made = Value(output, value.dtype, "rows" if to_rows else "planes", pitch, 0, value.quant)
        self.values[tensor][made.layout] = made


def _channels_last(addresses: np.ndarray | None) -> np.ndarray:
    """Addresses as (rows, channels), as `Extent` reads a shape."""
    array = np.asarray(addresses)
    array = array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
    return array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)


def operand_of(value: Value, index: Any, parameter: int, quant: int | None = None, table: int | None = None) -> Operand:
    """A value as a chain operand; `quant` and `table` are the parameters that hold its quantisation and row table."""
    return Operand(parameter, index, value.pitch, value.offset, value.dtype, quant, table)
