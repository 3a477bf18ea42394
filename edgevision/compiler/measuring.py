"""Where MetaSchedule's candidates are built and timed: inside the child process that tunes, never in workers of TVM's.

TVM's own builder and runner keep a pool of processes each; here the whole search already is in a process that may die.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

#: Runs behind one measurement, and how often it is repeated.
_NUMBER, _REPEAT = 3, 3


class Place(Protocol):
    """A machine kernels can be loaded and called on: this one, or a board behind TVM's RPC."""

    def load(self, built: Any) -> Any:
        """Make a built module callable there."""

    def device(self) -> Any:
        """TVM's device there, for tensors."""


class Here:
    """This process."""

    def load(self, built: Any) -> Any:
        """The module itself."""
        return built

    def device(self) -> Any:
        """The CPU."""
        import tvm

        return tvm.cpu()


class Board:
    """A board that registered with a TVM tracker.

    Args:
        tracker: host and port.
        key: of the board.
        link: makes a shared library of an object file, for the board.
        seconds: waiting for a free board.
    """

    def __init__(
        self, tracker: tuple[str, int], key: str, link: Callable[[Path, Path], None], *, seconds: float
    ) -> None:
        from tvm import rpc

        self._link = link
        # The session ends by itself when this process is stopped in the middle of a call.
        self._session = rpc.connect_tracker(*tracker).request(key, session_timeout=int(seconds))
        self._count = 0

    def load(self, built: Any) -> Any:
        """Upload the module as a shared library and load it there."""
        self._count += 1
        # A name of its own: writing over a library that is loaded would bring the server down.
        name = f"edgevision_{self._count}.so"
        with tempfile.TemporaryDirectory(prefix="edgevision-") as folder:
            objects, library = Path(folder) / "kernel.o", Path(folder) / name
            built.write_to_file(str(objects), "o")
            self._link(objects, library)
            self._session.upload(str(library), name)
        module = self._session.load_module(name)
        self._session.remove(name)
        return module

    def device(self) -> Any:
        """The board's CPU."""
        return self._session.cpu()


def arguments(parameters: Any, device: Any, *, seed: int = 0) -> list[Any]:
    """Random tensors for a kernel's parameters, on `device`; integers stay small enough to be indices."""
    import tvm

    draw = np.random.default_rng(seed)
    made = []
    for parameter in parameters:
        shape, dtype = tuple(int(d) for d in parameter.shape), str(parameter.dtype)
        values = draw.standard_normal(shape) if dtype.startswith("float") else draw.integers(0, 2, shape)
        made.append(tvm.runtime.tensor(values.astype(dtype), device))
    return made


def seconds_of(place: Place, function: Any, values: list[Any]) -> float:
    """Shortest time of one call."""
    timed = function.time_evaluator("main", place.device(), number=_NUMBER, repeat=_REPEAT)
    return float(min(timed(*values).results))


class SearchOverError(Exception):
    """The time for a search has passed: the only way out of MetaSchedule's loop that leaves a board in peace."""


def builder_and_runner(place: Place, tvm_target: Any, seconds: float) -> tuple[Any, Any]:
    """A builder and a runner for MetaSchedule that work in this process, on `place`.

    The builder raises `SearchOverError` when it is asked for candidates after `seconds`.
    """
    import tvm
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    kept: dict[str, Any] = {}
    end = time.monotonic() + seconds

    @derived_object
    class Builder(ms.builder.PyBuilder):  # type: ignore[misc]
        def build(self, build_inputs: list[Any]) -> list[Any]:
            if time.monotonic() > end:
                raise SearchOverError
            results = []
            for given in build_inputs:
                try:
                    name = f"candidate-{len(kept)}"
                    kept[name] = (tvm.tirx.build(given.mod, target=tvm_target), given.mod["main"].params)
                    results.append(ms.builder.BuilderResult(name, None))
                except Exception as error:
                    results.append(ms.builder.BuilderResult(None, str(error)[-300:]))
            return results

    @derived_object
    class Done(ms.runner.PyRunnerFuture):  # type: ignore[misc]
        def __init__(self, result: Any) -> None:
            super().__init__()
            self._result = result

        def done(self) -> bool:
            return True

        def result(self) -> Any:
            return self._result

    @derived_object
    class Runner(ms.runner.PyRunner):  # type: ignore[misc]
        def run(self, runner_inputs: list[Any]) -> list[Any]:
            results = []
            for given in runner_inputs:
                built, parameters = kept.pop(str(given.artifact_path))
                try:
                    function = place.load(built)
                    took = seconds_of(place, function, arguments(parameters, place.device()))
                    results.append(Done(ms.runner.RunnerResult([took], None)))
                except Exception as error:
                    results.append(Done(ms.runner.RunnerResult(None, str(error)[-300:])))
            return results

    return Builder(), Runner()
