"""A stand-in for pynq whose board is the C simulation of the engine: `Overlay`, `MMIO` and `allocate`.

Host and device have memories of their own, so what was not flushed or not invalidated is not there on the other side.
An engine that is given addresses outside allocated memory never ends, as on a bus that answers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgevision.engine import csim
from edgevision.engine.pynq_board import FPGA_RESET, IP, LOCK_KEY, SLCR, SLCR_LOCK, SLCR_UNLOCK, UNLOCK_KEY
from edgevision.engine.registers import CONTROL, DONE, IDLE, INTERRUPT_STATUS, OFFSETS, READY, START
from edgevision.errors import EdgeVisionError
from edgevision.target import Engine

#: Where memory and registers lie; as on a Zynq-7000.
MEMORY_BASE, ENGINE_BASE, ENGINE_BYTES = 0x10000000, 0x40000000, 0x10000
_PAGE = 4096
#: What memory nobody wrote holds.
_STALE = 0xA5


@dataclass
class Faults:
    """What goes wrong: `stalls` starts that never end, `stuck` bits of registers by offset that cannot be set."""

    stalls: int = 0
    stuck: dict[int, int] = field(default_factory=dict)


class SimulatedPynq:
    """Takes the place of the module `pynq`.

    Args:
        memory_bytes: contiguous memory of the board.

    Attributes:
        why: what the simulation said when it last did not end.
    """

    def __init__(self, engine: Engine, *, memory_bytes: int = 128 << 20, faults: Faults | None = None) -> None:
        self.engine, self.faults, self.why = engine, faults or Faults(), ""
        self.memory_bytes = memory_bytes
        self.device: dict[int, np.ndarray] = {}
        self.registers: dict[int, int] = {CONTROL: IDLE}
        self.writes = 0

    def Overlay(self, bitstream: str) -> _Overlay:  # noqa: N802
        """A loaded bitstream; the file is not looked at."""
        return _Overlay()

    def MMIO(self, base: int, length: int) -> _Window:  # noqa: N802
        """Registers of the engine, or the system's."""
        return _Window(self, base)

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """Memory on both sides; both hold what nobody wrote.

        Raises:
            RuntimeError: there is no room, as pynq says it.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = MEMORY_BASE
        for begin in sorted(self.device):
            if begin - address >= size:
                break
            address = begin + -(-self.device[begin].nbytes // _PAGE) * _PAGE
        if address + size > MEMORY_BASE + self.memory_bytes:
            raise RuntimeError("Failed to allocate Memory!")
        self.device[address] = np.full(size, _STALE, np.uint8)
        buffer = np.full(size, _STALE, np.uint8).view(dtype).reshape(shape).view(Buffer)
        buffer.pynq, buffer.device_address = self, address
        return buffer

    def start(self) -> None:
        """What the engine does between start and done, at once."""
        self.registers[CONTROL], self.why = START, ""
        if self.faults.stalls:
            self.faults.stalls -= 1
            self.why = "stalled as asked"
            return
        at = {name: self.registers.get(offset, 0) for name, offset in OFFSETS.items()}
        maps = self._region(at["features"])
        program = self._region(at["program"])
        if maps is None or program is None or not at["features"] == at["dilations"] == at["results"]:
            self.why = "an address is outside of what was allocated"
            return
        words = program[: at["words"] * 8]
        if len(words) != at["words"] * 8:
            self.why = "the program is longer than its memory"
            return
        try:
            said = csim.execute(words.view(np.uint64), self.engine, maps)
        except EdgeVisionError as error:
            self.why = error.what
            return
        (calls,) = (int(line.split()[1]) for line in said.splitlines() if line.startswith("calls "))
        self.registers[OFFSETS["finished"]] = calls
        self.registers[CONTROL] = DONE | IDLE | READY

    def reset(self) -> None:
        """The engine waits for a start and has forgotten its arguments."""
        self.registers = {CONTROL: IDLE}

    def _region(self, address: int) -> np.ndarray | None:
        return self.device.get(address)


class Buffer(np.ndarray):
    """An array of the host with its twin on the device, as `pynq.buffer.PynqBuffer`."""

    pynq: SimulatedPynq
    device_address: int

    @property
    def physical_address(self) -> int:
        """The older name."""
        return self.device_address

    def flush(self) -> None:
        """What the host wrote reaches the device."""
        self.pynq.device[self.device_address][:] = self._bytes()

    def invalidate(self) -> None:
        """What the device wrote reaches the host."""
        self._bytes()[:] = self.pynq.device[self.device_address]

    def freebuffer(self) -> None:
        """Give the memory back."""
        del self.pynq.device[self.device_address]

    def _bytes(self) -> np.ndarray:
        return self.view(np.ndarray).reshape(-1).view(np.uint8)


class _Overlay:
    ip_dict = {  # noqa: RUF012
        "engine": {"type": f"edgevision:engine:{IP}:1.0", "phys_addr": ENGINE_BASE, "addr_range": ENGINE_BYTES}
    }


class _Window:
    """Registers, as `pynq.MMIO`."""

    def __init__(self, pynq: SimulatedPynq, base: int) -> None:
        self._pynq, self._base, self._unlocked, self._held = pynq, base, False, False

    def read(self, offset: int) -> int:
        """The 32 bits at `offset`; reading the control register clears DONE."""
        registers = self._pynq.registers
        value = registers.get(offset, 0)
        if offset == CONTROL:
            registers[CONTROL] = value & ~(DONE | READY)
        return 0 if offset == INTERRUPT_STATUS else value

    def write(self, offset: int, value: int) -> None:
        """Set the 32 bits at `offset`."""
        if self._base == SLCR:
            self._system(offset, value)
            return
        self._pynq.writes += 1
        if offset == CONTROL:
            if value & START:
                self._pynq.start()
            return
        self._pynq.registers[offset] = value & ~self._pynq.faults.stuck.get(offset, 0)

    def _system(self, offset: int, value: int) -> None:
        if offset == SLCR_UNLOCK and value == UNLOCK_KEY:
            self._unlocked = True
        elif offset == SLCR_LOCK and value == LOCK_KEY:
            self._unlocked = False
        elif offset == FPGA_RESET and self._unlocked:
            if self._held and not value & 1:
                self._pynq.reset()
            self._held = bool(value & 1)
