"""`--tune`: MetaSchedule searches better loops for the kernels that have no generator, and can only ever help.

Each kernel is searched in a child process for its share of the time, and what was measured is kept in the cache
folder, so that a search goes on where it was. The best candidate is then compared with the plain kernel on random
data and timed against it, again in a child process. A crash, a wrong result or no gain leaves the plain kernel.
(Shao et al., Tensor Program Optimization with Probabilistic Programs, NeurIPS 2022.)
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import sys
import time
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgevision.cache import cache_folder
from edgevision.compiler.children import in_children
from edgevision.compiler.lowering.builder import Builder
from edgevision.compiler.lowering.schedule import Legalised
from edgevision.compiler.measuring import Here, Place, arguments, builder_and_runner, seconds_of
from edgevision.compiler.objects import build_function, cache_key
from edgevision.compiler.simd import Simd
from edgevision.compiler.source import KernelSource
from edgevision.errors import ToolMissing
from edgevision.files import write_atomic
from edgevision.progress import Progress, silent

#: The least share of the time one kernel is searched for.
_LEAST_SECONDS = 4.0
#: Seconds after which a search that does not end by itself is stopped.
_GRACE_SECONDS = 10.0
#: Seconds the comparison of a candidate with the plain kernel may take.
_JUDGE_SECONDS = 60.0
#: A candidate must take at most this share of the plain kernel's time.
_GAIN = 0.97
_TRIALS = 8


@dataclass(frozen=True)
class Tuned:
    """A kernel with the loops a search found: operators, shapes of its buffers, and TVM's JSON of the function."""

    operators: str
    shapes: tuple[tuple[int, ...], ...]
    function: str


def build(name: str, spec: Tuned, simd: Simd) -> Any:
    """Return the kernel as a TIR function."""
    import tvm

    return tvm.ir.load_json(spec.function).with_attr("global_symbol", name)


@dataclass(frozen=True)
class Tuner:
    """How long to search, and where candidates are timed.

    Attributes:
        minutes: for all kernels together; what earlier searches took counts.
        place: makes the machine candidates run on, inside the child process.
    """

    minutes: float
    place: Callable[[], Place] = Here

    def tune(
        self, kernels: Mapping[str, KernelSource], tvm_target: Any, progress: Progress = silent
    ) -> dict[str, KernelSource]:
        """Better sources for some of `kernels`, by the name of the kernel they replace.

        Raises:
            ToolMissing: MetaSchedule's cost model is not installed.
        """
        if importlib.util.find_spec("xgboost") is None:
            raise ToolMissing(
                "--tune needs xgboost, which ranks the candidates",
                fix="pip install 'edgevision[tune]', or leave --tune out",
            )
        names = sorted(name for name, source in kernels.items() if isinstance(source.spec, Legalised))
        shares = _shares({name: _work(kernels[name].spec) for name in names}, 60 * self.minutes)
        total = round(sum(shares.values()))
        found: dict[str, KernelSource] = {}
        spent = 0.0
        for index, (name, share) in enumerate(shares.items()):
            source = kernels[name]
            detail = f"{source.spec.operators}, kernel {index + 1} of {len(shares)}"
            folder = cache_folder() / "tuning" / cache_key(source, tvm_target)
            progress("tune", round(spent), total, detail)
            self._search(source, tvm_target, folder, share)
            better = self._judged(source, tvm_target, folder)
            if better is not None:
                found[name] = better
            spent += share
        if shares:
            progress("tune", total, total, f"{len(found)} of {len(shares)} kernels became faster")
        return found

    def _search(self, source: KernelSource, tvm_target: Any, folder: Path, share: float) -> None:
        """Search for what is left of the share; the records are what remains, however the child ends."""
        before = _spent(folder)
        if before >= share:
            return
        folder.mkdir(parents=True, exist_ok=True)
        _without_half_lines(folder)
        begun = time.monotonic()
        in_children(
            lambda _: _searched(source, tvm_target, folder, self.place, share - before),
            1,
            processes=1,
            seconds=share - before + _GRACE_SECONDS,
        )
        # A search that ended by itself, or died, has had its share too: it would only end the same way again.
        write_atomic(folder / "spent", f"{max(share, before + time.monotonic() - begun):.1f}\n")

    def _judged(self, source: KernelSource, tvm_target: Any, folder: Path) -> KernelSource | None:
        (result,) = in_children(
            lambda _: _better(source, tvm_target, folder, self.place()),
            1,
            processes=1,
            seconds=_JUDGE_SECONDS,
        )
        if not isinstance(result, bytes) or not result:
            return None
        spec = Tuned(source.spec.operators, source.spec.shapes, result.decode())
        return KernelSource(source.family, build, spec, source.simd)


def replace_kernels(builder: Builder, better: Mapping[str, KernelSource]) -> None:
    """Let the calls of a lowered graph use `better` sources, by the name of the kernel they replace."""
    for name, source in better.items():
        del builder.kernels[name]
        builder.kernels[source.name] = source
    builder.calls = [
        replace(call, kernel=better[call.kernel].name) if call.kernel in better else call for call in builder.calls
    ]


def _work(spec: Legalised) -> float:
    """Elements the kernel moves, which stands for its time."""
    return float(sum(np.prod(shape, dtype=np.int64) for shape in spec.shapes))


def _shares(work: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Seconds for each kernel, the largest first, in proportion to its work as far as each gets the least."""
    order = sorted(work, key=lambda name: (-work[name], name))[: max(1, int(seconds / _LEAST_SECONDS))]
    total = sum(work[name] for name in order)
    free = max(0.0, seconds - _LEAST_SECONDS * len(order))
    least = min(_LEAST_SECONDS, seconds / max(1, len(order)))
    return {name: least + free * work[name] / total for name in order}


def _spent(folder: Path) -> float:
    try:
        return float((folder / "spent").read_text())
    except (OSError, ValueError):
        return 0.0


def _without_half_lines(folder: Path) -> None:
    """Drop what a stopped search left half written; a table that still cannot be read is begun anew."""
    for name in ("database_workload.json", "database_tuning_record.json"):
        path = folder / name
        with contextlib.suppress(OSError):
            whole = path.read_bytes().rpartition(b"\n")[0]
            path.write_bytes(whole + b"\n" if whole else b"")
            for line in whole.splitlines():
                try:
                    json.loads(line)
                except ValueError:
                    shutil.rmtree(folder)
                    folder.mkdir(parents=True)
                    return


def _module(source: KernelSource) -> Any:
    import tvm

    return tvm.IRModule({"main": tvm.ir.load_json(source.spec.function).with_attr("global_symbol", "main")})


def _searched(source: KernelSource, tvm_target: Any, folder: Path, place: Callable[[], Place], seconds: float) -> bytes:
    """Search until the time is over, which ends as an exception does."""
    # One thread: the plan's own pool shares out the loops, and the machine may have other work.
    os.environ["TVM_NUM_THREADS"] = "1"
    # Half a minute of intrinsics for GPUs, which the search imports for their side effects and does not use here.
    sys.modules.setdefault("tvm.s_tir.tensor_intrin", types.ModuleType("tvm.s_tir.tensor_intrin"))
    from tvm.s_tir import meta_schedule as ms

    builder, runner = builder_and_runner(place(), tvm_target, seconds)
    database = ms.database.JSONDatabase(work_dir=str(folder))
    ms.tir_integration.tune_tir(
        _module(source),
        tvm_target,
        str(folder),
        max_trials_global=1 << 16,
        num_trials_per_iter=_TRIALS,
        builder=builder,
        runner=runner,
        database=database,
        cost_model="xgb",
        space=_space(ms),
        measure_callbacks=[ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel()],
        strategy=ms.search_strategy.EvolutionarySearch(
            population_size=48, init_measured_ratio=0.2, init_min_unmeasured=16, genetic_num_iters=2
        ),
        num_tuning_cores=1,
        # Another seed each time, or a candidate that brings the compiler down would be the first again.
        seed=1 + len(database),
    )
    return b""


def _candidate(source: KernelSource, tvm_target: Any, folder: Path) -> Any:
    """The best function measured so far; None when nothing was."""
    from tvm.s_tir import meta_schedule as ms

    database = ms.database.JSONDatabase(work_dir=str(folder))
    schedule = database.query_schedule(_module(source), tvm_target, "main")
    return None if schedule is None else schedule.mod["main"]


def _space(ms: Any) -> Any:
    """Plain CPU rules: those for dot products use intrinsics that LLVM 22 refuses or, for 32-bit Arm, aborts over."""
    return ms.space_generator.PostOrderApply(
        sch_rules=ms.schedule_rule.ScheduleRule.create("llvm"),
        postprocs=ms.postproc.Postproc.create("llvm"),
        mutator_probs=ms.mutator.Mutator.create("llvm"),
    )


def _better(source: KernelSource, tvm_target: Any, folder: Path, place: Place) -> bytes:
    """JSON of the best candidate that gives the plain kernel's results sooner than it; nothing where none does."""
    os.environ["TVM_NUM_THREADS"] = "1"
    import tvm

    candidate = _candidate(source, tvm_target, folder)
    if candidate is None:
        return b""
    both = [function.with_attr("global_symbol", "main") for function in (source.function(), candidate)]
    functions = [place.load(build_function(function, tvm_target)) for function in both]
    results, times = [], []
    for function in functions:
        values = arguments(candidate.params, place.device())
        function["main"](*values)
        results.append([value.numpy() for value in values])
    for wanted, got in zip(*results, strict=True):
        if not np.allclose(wanted, got, rtol=1e-4, atol=1e-5, equal_nan=True):
            return b""
    for function in (*functions, *functions):
        times.append(seconds_of(place, function, arguments(candidate.params, place.device())))
    faster = min(times[1::2]) <= _GAIN * min(times[::2])
    return str(tvm.ir.save_json(candidate)).encode() if faster else b""
