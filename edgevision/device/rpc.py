"""A board with a TVM RPC server: the walk is uploaded as a library the server loads, so it is the same walk again.

For boards where the TVM wheel exists and ssh does not. The bundle must have shared kernels: a static file has no
library to load into the server. On the board: `python -m tvm.exec.rpc_server --tracker HOST:PORT --key KEY`.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from edgevision.bundle.bundle import Bundle, load
from edgevision.bundle.link import walk_library
from edgevision.device import facts
from edgevision.device.answer import by_step, raise_failure, raise_timeout
from edgevision.device.device import RawTiming
from edgevision.device.pushed import need_bundle, refuse_engine
from edgevision.device.samples import outputs_of, samples_of
from edgevision.errors import DeviceError, EdgeVisionError, ToolMissing, Unsupported, UsageError
from edgevision.target import Target

T = TypeVar("T")

_LIBRARY = "libevwalk.so"
_FILES = ("plan.txt", "weights.bin", "kernels.so")
#: TVM imports these only when RPC is used.
_MODULES = ("tornado", "psutil", "cloudpickle")


@dataclass(frozen=True)
class _Opened:
    threads: int
    init_ns: int
    first_ns: int


class RpcDevice:
    """A board that registered with a TVM tracker, as a `Device`.

    Args:
        address: "tracker host:port:key of the board".
        timeout: seconds each step may take; waiting for a free board counts as one.
    """

    def __init__(self, address: str, *, timeout: float = 60) -> None:
        found = re.fullmatch(r"([\w.-]+):(\d{1,5}):([\w.-]+)", address)
        if found is None or int(found.group(2)) > 65535:
            raise UsageError(f"expected rpc:host:port:key, got 'rpc:{address}'", where="--device")
        self.name = f"rpc:{address}"
        self.timeout = timeout
        self.tracker, self.key = (found.group(1), int(found.group(2))), found.group(3)
        self._session: Any = None
        self._walk: Any = None
        self._bundle: Bundle | None = None
        self._opened: _Opened | None = None

    def ready(self, target: Target, *, static: bool = False, need_bytes: int = 0) -> None:
        """Reach the tracker; what the board is, only the board itself knows once it is free."""
        self._refuse_static(static=static or target.libc == "musl")
        self.need_tracker()

    def push(self, bundle: Path) -> None:
        """Upload plan, weights, kernels and the walk, and load the walk into the server."""
        checked = load(bundle)
        refuse_engine(checked, name=self.name)
        self._refuse_static(static=checked.manifest.static)
        library = walk_library(checked.manifest.target)
        session = self._connected()
        for path in (*(checked.folder / name for name in _FILES), library):
            self._limited(f"uploading {path.name}", partial(session.upload, str(path), path.name))
        try:
            self._walk = self._limited("loading the walk", lambda: session.load_module(_LIBRARY))
        except DeviceError as error:
            raise Unsupported(
                f"the server cannot load a library for {checked.manifest.target.arch}",
                where=f"device {self.name}",
                reasons=error.reasons,
                fix="deploy again with the --target that is this board",
            ) from error
        self._bundle, self._opened = checked, None

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Run the bundle on each sample of `inputs`, on one thread."""
        bundle = need_bundle(self._bundle, name=self.name)
        samples, spec = samples_of(inputs, bundle.manifest), bundle.manifest.outputs[0]
        if self._opened is None:
            self._open(1)
        result = self._tensor(np.zeros(spec.shape, spec.dtype))
        outputs = []
        for sample in samples:
            self._call("the run", "ev_rpc_run", self._tensor(sample), result)
            outputs.append(self._limited("fetching the output", result.numpy).tobytes())
        return outputs_of(b"".join(outputs), len(samples), spec, where=self.name)

    def profile(self, n: int, *, warmup: int = 3, threads: int = 1, per_step: bool = False) -> RawTiming:
        """Time `n` runs, clocked on the board by the walk itself. The server's memory is not the runner's: no peak."""
        bundle = need_bundle(self._bundle, name=self.name)
        opened = self._opened if self._opened and self._opened.threads == threads else self._open(threads)
        if bundle.manifest.golden:
            result = self._tensor(np.zeros(bundle.manifest.outputs[0].shape, bundle.manifest.outputs[0].dtype))
            given = bundle.golden(bundle.manifest.golden[0])[0]
            self._call("the run", "ev_rpc_run", self._tensor(np.ascontiguousarray(given)), result)
        runs = self._tensor(np.zeros(n, np.uint64))
        steps = self._tensor(np.zeros((n, len(bundle.manifest.steps)) if per_step else 1, np.uint64))
        self._call("the timed runs", "ev_rpc_time", runs, steps, warmup)
        rows = tuple(tuple(map(int, row)) for row in steps.numpy()) if per_step else ()
        return RawTiming(
            init_ns=opened.init_ns,
            first_ns=opened.first_ns,
            run_ns=tuple(map(int, runs.numpy())),
            steps=by_step(rows),
            threads=threads,
        )

    def facts(self) -> dict[str, Any]:
        """What Linux says about the board, read by the pushed walk from files whose names are known beforehand."""
        need_bundle(self._bundle, name=self.name)
        texts = {path: text for path in facts.FIXED if (text := self._read(path))}
        return facts.parse({"": self._read("/proc/sys/kernel/arch"), **texts})

    def _refuse_static(self, *, static: bool) -> None:
        if static:
            raise Unsupported(
                "expected a bundle with shared kernels, got a static one",
                where=f"device {self.name}",
                fix="deploy without --static, for a target with glibc",
            )

    def need_tracker(self) -> None:
        """Raise `DeviceError` unless somebody answers where the tracker should be."""
        try:
            # TVM itself would retry for minutes.
            socket.create_connection(self.tracker, timeout=min(self.timeout, 10)).close()
        except OSError as error:
            raise DeviceError(
                f"the tracker cannot be reached: {error.strerror or error}",
                where=self.name,
                fix="python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port PORT",
            ) from error

    def _connected(self) -> Any:
        """The session with the board, requested once."""
        if self._session is None:
            try:
                from tvm import rpc
            except ImportError as error:
                raise ToolMissing(
                    f"TVM's RPC needs {', '.join(_MODULES)}: {error}",
                    where=self.name,
                    fix="pip install edgevision[board]",
                ) from error
            self.need_tracker()
            tracker = self._limited("connecting to the tracker", lambda: rpc.connect_tracker(*self.tracker))
            self._session = self._limited(
                f"waiting for a free board '{self.key}'",
                lambda: tracker.request(self.key, session_timeout=0),
            )
        return self._session

    def _open(self, threads: int) -> _Opened:
        """Open the program on the board; its files are those just uploaded."""
        workpath = self._session.get_function("tvm.rpc.server.workpath")
        folder = str(PurePosixPath(self._limited("asking for the folder", lambda: workpath("plan.txt"))).parent)
        start = time.perf_counter_ns()
        self._call("opening the bundle", "ev_rpc_open", self._text(folder), threads)
        init_ns = time.perf_counter_ns() - start
        first, none = self._tensor(np.zeros(1, np.uint64)), self._tensor(np.zeros(1, np.uint64))
        self._call("the first run", "ev_rpc_time", first, none, 0)
        self._opened = _Opened(threads, init_ns, int(first.numpy()[0]))
        return self._opened

    def _call(self, step: str, function: str, first: Any, *rest: Any) -> None:
        """Call the walk; its second argument is the tensor an error text comes back in (runner/rpc_side.c)."""
        text = self._tensor(np.zeros(1024, np.uint8))
        code = int(self._limited(step, lambda: self._walk[function](first, text, *rest)))
        if code:
            raise_failure(
                code, bytes(text.numpy()).split(b"\0")[0].decode(errors="replace"), where=f"{self.name}, {step}"
            )

    def _tensor(self, array: np.ndarray) -> Any:
        import tvm

        return self._limited("sending a tensor", lambda: tvm.runtime.tensor(array, self._session.cpu()))

    def _read(self, path: str) -> str:
        """A file of the board; empty when it has none of that name."""
        content = self._tensor(np.zeros(1 << 16, np.uint8))
        try:
            self._call("reading facts", "ev_rpc_read", self._text(path), content)
        except UsageError:
            return ""
        return bytes(content.numpy()).replace(b"\0", b"").decode(errors="replace")

    def _text(self, words: str) -> Any:
        return self._tensor(np.frombuffer(words.encode() + b"\0", np.uint8))

    def _limited(self, step: str, work: Callable[[], T]) -> T:
        """Result of `work`, which TVM offers no way to interrupt: after the limit it is left behind."""
        done: list[T] = []
        failed: list[BaseException] = []

        def attempt() -> None:
            try:
                done.append(work())
            except BaseException as error:
                failed.append(error)

        begun = time.monotonic()
        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(self.timeout)
        if failed and isinstance(failed[0], EdgeVisionError):
            raise failed[0]
        if failed:
            raise DeviceError(
                f"{step} failed on the board", where=self.name, reasons=str(failed[0]).strip().splitlines()[-3:]
            ) from failed[0]
        if not done:
            raise_timeout(step, where=self.name, elapsed=time.monotonic() - begun, limit=self.timeout)
        return done[0]
