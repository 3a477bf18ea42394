"""Work in child processes: what aborts, crashes or hangs there is an answer here, with what it last said."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import IO, Any

_OK, _FAILED = b"\0", b"\1"
#: Bytes of a dead child's output that are looked at.
_TAIL = 4096


@dataclass(frozen=True)
class Died:
    """An item without a result, and why."""

    reason: str


@dataclass
class _Child:
    process: Any
    pipe: Connection
    log: IO[bytes]
    item: int | None = None
    begun: float = field(default_factory=time.monotonic)

    def end(self) -> None:
        """Stop the process and take back what it held."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()
        self.log.close()


def in_children(
    work: Callable[[int], bytes],
    count: int,
    *,
    processes: int,
    seconds: float,
    done: Callable[[int], None] = lambda finished: None,
) -> list[bytes | Died]:
    """Results of `work(0)` to `work(count - 1)`, each from a child process forked off this one.

    A child takes one item after another; one that ends, or takes longer than `seconds` for an item, loses only that
    item and is replaced. Forked, because what `work` needs (TVM: seconds of importing) is here already.

    Args:
        done: called with the number of items finished so far.
    """
    results: dict[int, bytes | Died] = {}
    waiting = list(range(count))[::-1]
    children: list[_Child] = []
    try:
        while len(results) < count:
            while waiting and len(children) < processes:
                children.append(_start(work, children))
            for child in children:
                if child.item is None and waiting:
                    _hand_out(child, waiting.pop())
            for child in _answering(children, seconds):
                item, result = child.item, _result(child, seconds)
                if item is None:
                    raise ChildProcessError("a child process ended before it was given any work")
                results[item], child.item = result, None
                if isinstance(result, Died) or not waiting:
                    children.remove(child)
                    child.end()
                done(len(results))
    finally:
        for child in children:
            child.end()
    return [results[index] for index in range(count)]


def _start(work: Callable[[int], bytes], others: list[_Child]) -> _Child:
    here, there = multiprocessing.Pipe()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
    context = multiprocessing.get_context("fork")
    inherited = [here, *(child.pipe for child in others)]
    process = context.Process(target=_serve, args=(work, there, log, inherited), daemon=True)
    process.start()
    there.close()
    return _Child(process, here, log)


def _serve(work: Callable[[int], bytes], pipe: Connection, log: IO[bytes], inherited: list[Connection]) -> None:
    """The child: answer each item until the parent hangs up."""
    for other in inherited:
        # An end of a sibling's pipe held here would keep it alive when the parent is gone.
        other.close()
    for standard in (1, 2):
        os.dup2(log.fileno(), standard)
    # Its list of Python frames would hide what the compiler said.
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError, OSError):
        while True:
            item = int.from_bytes(pipe.recv_bytes(), "little")
            try:
                answer = _OK + work(item)
            except Exception as error:
                answer = _FAILED + _last_line(f"{type(error).__name__}: {error}").encode(errors="replace")
            pipe.send_bytes(answer)


def _hand_out(child: _Child, item: int) -> None:
    child.item, child.begun = item, time.monotonic()
    # A child that died idle is found when its answer is read.
    with contextlib.suppress(OSError):
        child.pipe.send_bytes(item.to_bytes(8, "little"))


def _answering(children: list[_Child], seconds: float) -> list[_Child]:
    """The children that have answered, ended, or run out of time; waits for the first."""
    busy = [child for child in children if child.item is not None]
    left = min((child.begun + seconds for child in busy), default=0.0) - time.monotonic()
    ready = wait([child.pipe for child in busy], timeout=max(0.0, left))
    now = time.monotonic()
    return [child for child in busy if child.pipe in ready or now >= child.begun + seconds]


def _result(child: _Child, seconds: float) -> bytes | Died:
    try:
        if not child.pipe.poll(0):
            return Died(f"took longer than {seconds:g} s and was stopped")
        answer = child.pipe.recv_bytes()
    except (EOFError, OSError):
        child.process.join()
        return Died(_how_it_ended(child.process.exitcode, child.log))
    return answer[1:] if answer[:1] == _OK else Died(answer[1:].decode(errors="replace"))


def _how_it_ended(code: int, log: IO[bytes]) -> str:
    ended = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
    said = _last_line(log.read().decode(errors="replace"))
    return f"{ended}: {said}" if said else ended


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
