"""The walk in this process: ctypes over the same C code that runs on a board (bundle/runner/runner.h)."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType

import numpy as np

from edgevision.bundle.bundle import Bundle
from edgevision.bundle.link import walk_library
from edgevision.device.answer import by_step, raise_failure
from edgevision.device.device import StepTime


class _Error(ctypes.Structure):
    _fields_ = (("code", ctypes.c_int), ("text", ctypes.c_char * 1024))


class _Options(ctypes.Structure):
    _fields_ = (
        ("threads", ctypes.c_int),
        ("flush_denormals", ctypes.c_int),
        ("cpus", ctypes.POINTER(ctypes.c_int)),
    )


_HANDLE = ctypes.c_void_p
_SIGNATURES = {
    "ev_open": (_HANDLE, (ctypes.c_char_p, ctypes.POINTER(_Options), ctypes.POINTER(_Error))),
    "ev_close": (None, (_HANDLE,)),
    "ev_step_count": (ctypes.c_int, (_HANDLE,)),
    "ev_arena_bytes": (ctypes.c_uint64, (_HANDLE,)),
    "ev_input": (ctypes.c_void_p, (_HANDLE, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64))),
    "ev_output": (ctypes.c_void_p, (_HANDLE, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64))),
    "ev_tensor_data": (ctypes.c_void_p, (_HANDLE, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64))),
    "ev_run": (ctypes.c_int, (_HANDLE, ctypes.POINTER(_Error))),
    "ev_step": (ctypes.c_int, (_HANDLE, ctypes.c_int, ctypes.POINTER(_Error))),
    "ev_run_timed": (ctypes.c_int, (_HANDLE, ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(_Error))),
    "ev_repeat": (
        ctypes.c_int,
        (_HANDLE, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(_Error)),
    ),
    "ev_now_ns": (ctypes.c_uint64, ()),
}


def _bound(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Walk:
    """An open program of a bundle with shared kernels; one thread at a time may use it.

    Attributes:
        input, output: the program's own buffers, in the shapes of the manifest; write the one, run, read the other.
        init_ns: time of opening: reading, hashing, checking, first touch of the arena.

    Raises:
        EdgeVisionError: whatever the runner refuses, with its kind (`answer.raise_failure`).
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, flush_denormals: bool = False) -> None:
        self._where = str(bundle.folder)
        self._library = _bound(walk_library(bundle.manifest.target))
        self._error = _Error()
        options = _Options(threads, int(flush_denormals), None)
        start = self._library.ev_now_ns()
        self._handle = self._library.ev_open(str(bundle.folder).encode(), options, self._error)
        self.init_ns = int(self._library.ev_now_ns() - start)
        if not self._handle:
            self._check(self._error.code)
        self.threads = threads
        self.steps = int(self._library.ev_step_count(self._handle))
        self.arena_bytes = int(self._library.ev_arena_bytes(self._handle))
        given, result = bundle.manifest.inputs[0], bundle.manifest.outputs[0]
        self.input = self._view("ev_input", 0, given.shape, given.dtype)
        self.output = self._view("ev_output", 0, result.shape, result.dtype)

    def run(self) -> None:
        """Run every step once."""
        self._check(self._library.ev_run(self._handle, self._error))

    def step(self, index: int) -> None:
        """Run one step, for debugging."""
        self._check(self._library.ev_step(self._handle, index, self._error))

    def tensor(self, index: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """View of tensor `index` of the plan, for debugging after `step`."""
        return self._view("ev_tensor_data", index, shape, dtype)

    def repeat(self, n: int, *, warmup: int = 0) -> tuple[int, ...]:
        """Nanoseconds of each of `n` runs after `warmup` untimed ones."""
        times = (ctypes.c_uint64 * max(n, 1))()
        self._check(self._library.ev_repeat(self._handle, warmup, n, times, self._error))
        return tuple(times[:n])

    def step_times(self, n: int) -> tuple[StepTime, ...]:
        """Nanoseconds of every step in each of `n` runs."""
        runs = []
        for _ in range(n):
            times = (ctypes.c_uint64 * max(self.steps, 1))()
            self._check(self._library.ev_run_timed(self._handle, times, self._error))
            runs.append(tuple(times[: self.steps]))
        return by_step(tuple(runs))

    def close(self) -> None:
        """Free the program. `input` and `output` must not be used afterwards."""
        if self._handle:
            self._library.ev_close(self._handle)
            self._handle = None

    def __enter__(self) -> Walk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def _check(self, code: int) -> None:
        if code:
            raise_failure(code, self._error.text.decode(errors="replace"), where=self._where)

    def _view(self, function: str, index: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        size = ctypes.c_uint64()
        address = getattr(self._library, function)(self._handle, index, size)
        expected = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if not address or size.value != expected:
            # A view of another size would let Python read and write beyond the buffer.
            raise_failure(8, f"expected a tensor of {expected} bytes, the plan has {size.value}", where=self._where)
        buffer = (ctypes.c_uint8 * expected).from_address(address)
        return np.ctypeslib.as_array(buffer).view(dtype).reshape(shape)
