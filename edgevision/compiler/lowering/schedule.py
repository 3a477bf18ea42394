"""A plain schedule for kernels TVM legalised: producers inlined, outer loops shared out, inner loops vectorised."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir

from edgevision.compiler.simd import Simd

#: Rows and vectors of a reduction's tile: accumulators that fit the registers of every core, with room for operands.
TILE = (4, 2)
#: Elements of one step of a parallel loop that has no other axis to share out.
MOST_ELEMENTS = 4096


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

    The threads take the outer loops and the innermost runs along memory, so that it becomes a vector loop: here where
    its length is a multiple of the lanes, else in LLVM, which may reorder float sums of these kernels (`build`).
    A reduction over rows along memory is tiled, with the accumulators of a tile in registers.
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
    except s_tir.ScheduleError:
        return


def _schedule_block(schedule: Any, block: Any, lanes: int) -> None:
    iterators = schedule.get(block).iter_vars
    loops = schedule.get_loops(block)
    if len(loops) != len(iterators):
        return
    longer = [pair for pair in zip(loops, iterators, strict=True) if _extent(schedule, pair[0]) > 1]
    spatial = [(loop, iterator.var) for loop, iterator in longer if int(iterator.iter_type) == 0]
    reduction = [(loop, iterator.var) for loop, iterator in longer if int(iterator.iter_type) != 0]
    rows = [loop for loop, _ in spatial]
    if not spatial:
        return
    if not reduction:
        _elementwise(schedule, rows, lanes)
        return
    inner, inner_var = spatial[-1]
    sums = [loop for loop, _ in reduction]
    if _extent(schedule, inner) < lanes // 2 or _along_memory(schedule.get(block), reduction[-1][1], inner_var):
        _share_out(schedule, rows)
        schedule.decompose_reduction(block, sums[0])
    else:
        _tiled(schedule, block, rows, sums, lanes)


def _extent(schedule: Any, loop: Any) -> int:
    return int(schedule.get(loop).extent)


def _along_memory(block: Any, reduced: Any, inner: Any) -> bool:
    """Whether the inputs lie in memory along the reduction, and not along the innermost axis of the output."""
    written = [region.source for region in block.writes]
    read = [r for r in block.reads if len(r.region) and not any(r.source.same_as(buffer) for buffer in written)]
    last = [region.region[-1].min for region in read]
    return any(_uses(index, reduced) for index in last) and not any(_uses(index, inner) for index in last)


def _uses(expression: Any, var: Any) -> bool:
    return any(found.same_as(var) for found in tvm.tirx.analysis.undefined_vars(expression))


def _share_out(schedule: Any, loops: list[Any]) -> None:
    """Make outer loops one parallel loop; a single long one is cut first, so that a thread gets neighbours."""
    fused = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    schedule.parallel(fused)


def _elementwise(schedule: Any, loops: list[Any], lanes: int) -> None:
    inner = loops[-1]
    if len(loops) == 1 or _extent(schedule, inner) < lanes // 2:
        fused = schedule.fuse(*loops) if len(loops) > 1 else inner
        outer, inner = schedule.split(fused, [None, _divisor(_extent(schedule, fused), MOST_ELEMENTS)])
        _share_out(schedule, [outer])
    else:
        _share_out(schedule, loops[:-1])


def _tiled(schedule: Any, block: Any, rows: list[Any], sums: list[Any], lanes: int) -> None:
    """Loops: outer rows, vectors | reduction | tile of rows, tile of vectors, lanes."""
    *outer, inner = rows
    if _extent(schedule, inner) % lanes:
        schedule.reorder(*outer, *sums, inner)
        if outer:
            _share_out(schedule, outer)
        schedule.decompose_reduction(block, sums[0])
        return
    width = _divisor(_extent(schedule, inner) // lanes, TILE[1])
    vectors, vector, lane = schedule.split(inner, [None, width, lanes])
    tile = [vector, lane]
    if outer:
        outer[-1], row = schedule.split(outer[-1], [None, _divisor(_extent(schedule, outer[-1]), TILE[0])])
        tile = [row, vector, lane]
        schedule.unroll(row)
    schedule.reorder(*outer, vectors, *sums, *tile)
    _share_out(schedule, [*outer, vectors])
    schedule.unroll(vector)
    schedule.vectorize(lane)
    # Only now: TVM takes a decomposed block for no reduction, and would refuse every step above.
    schedule.decompose_reduction(block, sums[0])


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is at most `most`."""
    return next(d for d in range(min(number, most), 0, -1) if number % d == 0)
