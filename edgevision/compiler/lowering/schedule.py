"""A plain schedule for kernels TVM legalised: producers inlined, outer loops shared out, inner loops vectorised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir

from edgevision.compiler.simd import Simd


@dataclass(frozen=True)
class Legalised:
    """A kernel as TVM's lowering leaves it: operators fused into it, shapes of its buffers, and TVM's JSON of the
    unscheduled function."""

    operators: str
    shapes: tuple[tuple[int, ...], ...]
    function: str


def legalised(hint: str, function: Any) -> Legalised:
    """The specification of `function`, the same for kernels that differ in names only.

    Args:
        hint: operators it was fused from, and a number that tells it from others of them in one network.
    """
    function = function.without_attr("global_symbol")
    text = str(tvm.ir.save_json(function))
    content = json.loads(text)
    names = [str(parameter.name) for parameter in function.params]
    for node in content["nodes"]:
        if node["type"] == "ffi.String":
            node["data"] = _without_names(node["data"], names)
    renamed = json.dumps(content, separators=(",", ":"))
    # A parameter may bear a name that means something, such as that of a memory scope.
    if tvm_ffi.structural_equal(tvm.ir.load_json(renamed), function):
        text = renamed
    shapes = tuple(tuple(int(d) for d in parameter.shape) for parameter in function.params)
    return Legalised(hint.rstrip("0123456789"), shapes, text)


def _without_names(text: str, names: list[str]) -> str:
    """`text` with the parameter's name it is, or was made from ("x_sum"), replaced by the parameter's number."""
    for index, name in sorted(enumerate(names), key=lambda pair: -len(pair[1])):
        if text == name or text.startswith(f"{name}_"):
            return f"parameter_{index}{text[len(name) :]}"
    return text


def build(name: str, spec: Legalised, simd: Simd) -> Any:
    """Return the kernel, scheduled, as a TIR function."""
    return scheduled(tvm.ir.load_json(spec.function), simd.lanes).with_attr("global_symbol", name)


def scheduled(function: Any, lanes: int) -> Any:
    """Return `function` with a default CPU schedule; unchanged where a step does not apply.

    Reductions keep their loops in order, with the spatial loops outside and the innermost spatial loop as vector when
    it is contiguous; everything else becomes one parallel loop over vectors.
    """
    schedule = s_tir.Schedule(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}))
    for block in _blocks(schedule):
        _try(schedule.compute_inline, block)
    for block in _blocks(schedule):
        _try(_schedule_block, schedule, block, lanes)
    return schedule.mod["main"]


def _blocks(schedule: Any) -> list[Any]:
    return list(schedule.get_child_blocks(schedule.get_sblock("root")))


def _try(action: Any, *arguments: Any) -> None:
    """Apply one scheduling step; TVM refuses those that would change the result, and then nothing is done."""
    try:
        action(*arguments)
    except Exception:
        return


def _schedule_block(schedule: Any, block: Any, lanes: int) -> None:
    kinds = [int(item.iter_type) for item in schedule.get(block).iter_vars]
    loops = schedule.get_loops(block)
    if len(loops) != len(kinds):
        return
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == 0]
    reduction = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != 0]
    if not spatial:
        return
    if not reduction:
        fused = schedule.fuse(*spatial) if len(spatial) > 1 else spatial[0]
        outer, inner = schedule.split(fused, [None, lanes])
        schedule.vectorize(inner)
        schedule.parallel(outer)
        return
    inner_spatial = spatial[-1]
    if len(spatial) > 1 and int(schedule.get(inner_spatial).extent) >= lanes:
        schedule.reorder(*spatial[:-1], *reduction, inner_spatial)
        outer = schedule.fuse(*spatial[:-1]) if len(spatial) > 2 else spatial[0]
        _, vector = schedule.split(inner_spatial, [None, lanes])
        initial = schedule.decompose_reduction(block, reduction[0])
        schedule.vectorize(vector)
        schedule.vectorize(schedule.get_loops(initial)[-1])
        schedule.parallel(outer)
    else:
        outer = schedule.fuse(*spatial) if len(spatial) > 1 else spatial[0]
        schedule.parallel(outer)
