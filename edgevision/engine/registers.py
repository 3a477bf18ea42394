"""The engine's registers: where Vitis HLS puts them, written with a read back, and read for a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from edgevision.errors import DeviceError

CONTROL, GLOBAL_INTERRUPT, INTERRUPT_ENABLE, INTERRUPT_STATUS = 0x00, 0x04, 0x08, 0x0C
START, DONE, IDLE, READY = 1, 2, 4, 8
#: Of `edgevision_engine` (hw/engine/engine.h): ap_ctrl_hs, one 32-bit argument every eight bytes (UG1399).
OFFSETS = {"program": 0x10, "words": 0x18, "features": 0x20, "dilations": 0x28, "results": 0x30, "finished": 0x38}


class Window(Protocol):
    """Registers as pynq's `MMIO` has them."""

    def read(self, offset: int) -> int:
        """The 32 bits at `offset`."""

    def write(self, offset: int, value: int) -> None:
        """Set the 32 bits at `offset`."""


def offsets_of(described: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Where the arguments are, from what the hardware description says of the IP; the known places where it is silent.

    Args:
        described: `overlay.ip_dict[NAME]["registers"]` of pynq. Vivado puts `_r` behind names that Verilog uses.

    >>> offsets_of({"program_r": {"address_offset": 64}})["program"], offsets_of({})["words"]
    (64, 24)
    """
    found = dict(OFFSETS)
    for name in found:
        for known in (name, f"{name}_r"):
            if known in described:
                found[name] = int(described[known]["address_offset"])
    return found


class Registers:
    """Registers of one engine behind a window.

    Args:
        offsets: as `offsets_of` gives them.
    """

    def __init__(self, window: Window, offsets: Mapping[str, int] = OFFSETS) -> None:
        self._window, self._offsets = window, dict(offsets)

    def control(self) -> int:
        """START, DONE, IDLE and READY; DONE is cleared by reading it."""
        return int(self._window.read(CONTROL))

    def start(self) -> None:
        """Begin with what the arguments say."""
        self._window.write(CONTROL, START)

    def set(self, arguments: Mapping[str, int]) -> None:
        """Write arguments and read each of them back.

        Raises:
            DeviceError: a register holds another value than was written; every one is named.
        """
        for name, value in arguments.items():
            self._window.write(self._offsets[name], value)
        reasons = [
            f"register '{name}' at 0x{self._offsets[name]:02x}: wrote 0x{value:08x}, read 0x{got:08x}"
            for name, value in arguments.items()
            if (got := self.get(name)) != value
        ]
        if reasons:
            raise DeviceError(
                "the engine's registers do not hold what was written", where="AXI4-Lite registers of the engine",
                reasons=reasons, fix="is the bitstream loaded, is it this engine's, does its clock run?",
            )  # fmt: skip

    def get(self, name: str) -> int:
        """The argument `name`, or `finished`."""
        return int(self._window.read(self._offsets[name])) & 0xFFFFFFFF

    def dump(self, control: int) -> list[str]:
        """Lines for an error; `control` as it was read, since reading clears it."""
        words = {"start": START, "done": DONE, "idle": IDLE, "ready": READY}
        bits = ", ".join(name for name, bit in words.items() if control & bit) or "no bit set"
        status = int(self._window.read(INTERRUPT_STATUS))
        lines = [f"control 0x{control:08x} ({bits}), interrupt status 0x{status:08x}"]
        return lines + [f"{name} 0x{self.get(name):08x}" for name in self._offsets]
