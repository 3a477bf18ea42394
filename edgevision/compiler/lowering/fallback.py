"""Operators without a generator of ours: TVM imports, legalises and fuses them, and a plain schedule is applied.

A run of such nodes is cut out as a small ONNX model, imported into relax, and its kernels become calls of the plan
like any other. This is what makes the compiler complete; the families in `kernels/` make it fast.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.ir.transform import Sequential
from tvm.relax import transform as relax_transform
from tvm.relax.frontend.onnx import from_onnx

from edgevision.compiler.coverage import named
from edgevision.compiler.lowering.builder import Builder, Call
from edgevision.compiler.lowering.schedule import build, legalised
from edgevision.compiler.lowering.values import Storage
from edgevision.errors import Unsupported
from edgevision.graph import ir
from edgevision.graph.ir import Node


def lower_run(builder: Builder, nodes: list[Node], target: Any) -> None:
    """Lower neighbouring nodes through TVM.

    Raises:
        Unsupported: TVM cannot import or legalise them; each is named with what TVM says.
    """
    inside = {output for node in nodes for output in node.outputs}
    inputs = sorted({n for node in nodes for n in node.inputs if n and n not in inside} - set(builder.graph.constants))
    later = [n for node in builder.graph.nodes if node not in nodes for n in node.inputs]
    outputs = [o for node in nodes for o in node.outputs if o and (o in later or o in builder.graph.outputs)]
    storages = {name: builder.planes(name) for name in inputs}
    model = ir.to_model(builder.graph, nodes, inputs, outputs)
    label = " + ".join(node.name for node in nodes)
    try:
        module = _legalised(model, target)
        _Walk(builder, module, target, label).run([storages[name] for name in inputs], outputs)
    except Exception as error:
        raise Unsupported(
            "TVM could not compile operators that have no kernel of ours",
            fix="rewrite these operators, or leave the part out of the exported graph",
            reasons=[named(node, builder.graph, _first_line(error)) for node in nodes],
        ) from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else type(error).__name__


def _legalised(model: Any, target: Any) -> Any:
    with warnings.catch_warnings():
        # It warns of every tensor whose name it writes with other letters.
        warnings.simplefilter("ignore")
        module = from_onnx(model, keep_params_in_input=False)
    passes = [
        relax_transform.DecomposeOpsForInference(),
        relax_transform.CanonicalizeBindings(),
        # Polynomials that become vectors, where the C library would be called for every element.
        relax_transform.FastMathTransform(),
        relax_transform.LegalizeOps(),
        relax_transform.AnnotateTIROpPattern(),
        relax_transform.FoldConstant(),
        relax_transform.FuseOps(),
        relax_transform.FuseTIR(),
        relax_transform.DeadCodeElimination(),
    ]
    with target:
        return Sequential(passes)(module)


class _Walk:
    """Turns the bindings of a legalised relax function into calls."""

    def __init__(self, builder: Builder, module: Any, target: Any, label: str) -> None:
        self._builder, self._module, self._target, self._label = builder, module, target, label
        self._names: dict[str, str] = {}
        self._known: dict[Any, Any] = {}

    def run(self, inputs: list[int], outputs: list[str]) -> None:
        function = self._module["main"]
        for parameter, storage in zip(function.params, inputs, strict=True):
            self._known[parameter] = storage
        for block in function.body.blocks:
            for binding in block.bindings:
                self._known[binding.var] = self._value(binding.value, binding.var)
        results = self._of(function.body.body)
        results = results if isinstance(results, list) else [results]
        for tensor, storage in zip(outputs, results, strict=True):
            made = self._builder.storages[storage]
            self._builder.put_as_onnx(tensor, storage, made.dtype)

    def _value(self, expression: Any, var: Any) -> Any:
        if isinstance(expression, relax.Call) and isinstance(expression.op, tvm.ir.Op):
            if expression.op.name == "relax.call_tir":
                return self._call(expression)
            if expression.op.name in ("relax.reshape", "relax.flatten", "relax.expand_dims", "relax.squeeze"):
                return self._of(expression.args[0])
            raise Unsupported(f"TVM left the operator {expression.op.name} without a kernel", where=self._label)
        return self._of(expression)

    def _of(self, expression: Any) -> Any:
        if isinstance(expression, tvm.ir.GenericConst):
            return self._builder.constant(expression.value.numpy())
        if isinstance(expression, relax.Tuple):
            return [self._of(item) for item in expression.fields]
        if isinstance(expression, relax.TupleGetItem):
            return self._of(expression.tuple_value)[expression.index]
        if expression not in self._known:
            raise Unsupported(
                f"TVM left an expression that is no tensor: {type(expression).__name__}", where=self._label
            )
        return self._known[expression]

    def _call(self, expression: Any) -> Any:
        name = self._kernel(expression.args[0].name_hint)
        inputs = [self._of(argument) for argument in expression.args[1].fields]
        input_shapes = [_shape(argument.ty) for argument in expression.args[1].fields]
        types = expression.ty_args[0]
        several = isinstance(types, relax.TupleType)
        outputs, output_shapes = [], []
        for item in list(types.fields) if several else [types]:
            shape = _shape(item)
            dtype = str(item.dtype)
            self._builder.storages.append(Storage(int(np.prod(shape, dtype=np.int64)), dtype))
            outputs.append(len(self._builder.storages) - 1)
            output_shapes.append(shape)
        self._builder.calls.append(
            Call(
                kernel=name,
                storages=(*inputs, *outputs),
                shapes=(*input_shapes, *output_shapes),
                written=len(outputs),
                label=self._label,
                family="fallback",
                macs=0,
                integer=False,
            )
        )
        return outputs if several else outputs[0]

    def _kernel(self, hint: str) -> str:
        if hint not in self._names:
            self._names[hint] = self._builder.kernel("fallback", build, legalised(hint, self._module[hint]))
        return self._names[hint]


def _shape(type_: Any) -> tuple[int, ...]:
    return tuple(int(d) for d in type_.shape.values)
