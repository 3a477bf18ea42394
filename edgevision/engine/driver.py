"""The driver of the engine: programs and images in, feature maps out, over anything with pynq's `allocate` and `MMIO`.

It needs numpy and msgspec alone, so it runs on the board as it is (`driver/` of a bundle), and the C simulation runs
behind the same code. Nothing is written to a register before the whole program was checked. Every wait ends.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from edgevision.engine.maps import read_map, write_image
from edgevision.engine.program import Program
from edgevision.engine.registers import DONE, IDLE, Registers
from edgevision.engine.validate import validated
from edgevision.errors import DeviceError, DoesNotFit
from edgevision.target import Engine

#: Bursts must not cross 4 KiB for addresses the compiler chose, so a region begins at a multiple of it.
ALIGNMENT = 4096
#: The engine's pointers have 32 bits.
_ADDRESSES = 1 << 32
_PAUSE_S = 50e-6


class Board(Protocol):
    """What the driver needs of a board."""

    name: str
    registers: Registers

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Contiguous memory both sides see: an array with `device_address`, `flush`, `invalidate` and `freebuffer`."""

    def reset(self) -> None:
        """Bring the engine back to where it waits for a start."""


class EngineDriver:
    """One program on a board's engine.

    Args:
        timeout: seconds a run may take.

    Raises:
        Unsupported: the program was made for another engine, or has another version.
        UsageError: it is damaged or contradicts itself.
        DoesNotFit: the board has no memory for it.
    """

    def __init__(self, program: Program, engine: Engine, board: Board, *, timeout: float = 10.0) -> None:
        self.program, self.board, self.timeout = validated(program, engine), board, timeout
        header = self.program.header
        self._buffers: list[Any] = []
        self._words = self._allocated(header.words, np.uint64, "the program")
        self._maps = self._allocated(header.map_bytes, np.uint8, "feature maps")
        self._words[:] = self.program.words
        self._words.flush()

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs (channels, height, width) by name of an int8 image (channels, height, width).

        Raises:
            UsageError: the image is not what the program takes.
            DeviceError: a register cannot be written, the engine did not end in time, or ended early; it was reset.
        """
        if not self._buffers:
            raise DeviceError("the driver was closed", where=self.board.name, fix="make another one")
        header = self.program.header
        # The view writes through to the buffer, whose own class may refuse to be indexed in other ways.
        write_image(self._maps.view(np.ndarray), header, image)
        self._maps.flush()
        with self._resetting():
            self._idle()
            maps = int(self._maps.device_address)
            self.board.registers.set(
                {"program": int(self._words.device_address), "words": header.words, "features": maps,
                 "dilations": maps, "results": maps}
            )  # fmt: skip
            self.board.registers.start()
            self._wait()
        self._maps.invalidate()
        memory = self._maps.view(np.ndarray)
        return {stored.name: read_map(memory, header, stored) for stored in header.outputs}

    def close(self) -> None:
        """Give the memory back."""
        while self._buffers:
            self._buffers.pop().freebuffer()

    def _allocated(self, count: int, dtype: Any, what: str) -> Any:
        size = count * np.dtype(dtype).itemsize
        try:
            buffer = self.board.allocate((count,), dtype)
        except (RuntimeError, MemoryError, OSError) as error:
            self.close()
            raise DoesNotFit(
                f"no {size} bytes of contiguous memory for {what}: {error}", where=self.board.name,
                fix="close other overlays, or raise cma= on the kernel's command line",
            ) from error  # fmt: skip
        self._buffers.append(buffer)
        address = int(buffer.device_address)
        if buffer.nbytes != size or address % ALIGNMENT or not 0 < address <= _ADDRESSES - size:
            self.close()
            raise DeviceError(
                f"expected {size} bytes below 4 GiB at a multiple of {ALIGNMENT} for {what}, got {buffer.nbytes} at "
                f"0x{address:x}", where=self.board.name,
            )  # fmt: skip
        return buffer

    @contextlib.contextmanager
    def _resetting(self) -> Iterator[None]:
        """Leave an engine that can be started again, whatever went wrong."""
        try:
            yield
        except DeviceError:
            self.board.reset()
            raise

    def _idle(self) -> None:
        control = self.board.registers.control()
        if control & IDLE:
            return
        self.board.reset()
        control = self.board.registers.control()
        if not control & IDLE:
            raise DeviceError(
                "the engine is busy, and a reset does not end it", where=self.board.name,
                reasons=self.board.registers.dump(control), fix="load the bitstream again",
            )  # fmt: skip

    def _wait(self) -> None:
        registers, calls = self.board.registers, self.program.header.calls
        begun = time.monotonic()
        while not (control := registers.control()) & DONE:
            if time.monotonic() - begun > self.timeout:
                finished = registers.get("finished")
                at = f"in call {finished} ({', '.join(calls[finished].layers)})" if finished < len(calls) else "behind"
                raise DeviceError(
                    f"the engine did not end within {self.timeout:g} s: {finished} of {len(calls)} calls are done, it "
                    f"stands {at}; it was reset", where=self.board.name, reasons=registers.dump(control),
                    fix="is memory of the engine's used by something else? a longer --timeout if it is only slow",
                )  # fmt: skip
            time.sleep(_PAUSE_S)
        finished = registers.get("finished")
        if finished != len(calls):
            raise DeviceError(
                f"the engine says it is done after {finished} of {len(calls)} calls", where=self.board.name,
                reasons=registers.dump(control), fix="is this the bitstream of this engine?",
            )  # fmt: skip
