"""A board with pynq: the bitstream is loaded, the engine found in it, memory allocated, and the engine reset.

`pynq` is a parameter: on the board the package, elsewhere something with the same `Overlay`, `MMIO` and `allocate`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from edgevision.engine.registers import Registers, offsets_of
from edgevision.errors import DeviceError, ToolMissing

#: System-level control registers of a Zynq-7000 (UG585): lock, unlock, resets of the logic; keys of the first two.
SLCR, SLCR_BYTES = 0xF8000000, 0x1000
SLCR_LOCK, SLCR_UNLOCK, FPGA_RESET = 0x004, 0x008, 0x240
LOCK_KEY, UNLOCK_KEY = 0x767B, 0xDF0D
IP = "edgevision_engine"


class PynqBoard:
    """A board, as `driver.Board`.

    Args:
        bitstream: engine.bit with engine.hwh beside it.

    Raises:
        ToolMissing: pynq is not installed.
        DeviceError: the bitstream cannot be loaded, or there is no engine in it.
    """

    def __init__(self, bitstream: Path, *, pynq: ModuleType | Any | None = None, name: str = "pynq") -> None:
        self.name = name
        self._pynq = pynq if pynq is not None else _installed()
        try:
            self.overlay = self._pynq.Overlay(str(bitstream))
        except (OSError, RuntimeError, ValueError) as error:
            raise DeviceError(f"the bitstream cannot be loaded: {error}", where=str(bitstream)) from error
        found = [ip for ip in self.overlay.ip_dict.values() if f":{IP}:" in str(ip.get("type"))]
        if len(found) != 1:
            raise DeviceError(
                f"expected one {IP} in the overlay, got {len(found)}", where=str(bitstream),
                reasons=[f"{key}: {ip.get('type')}" for key, ip in self.overlay.ip_dict.items()],
            )  # fmt: skip
        (ip,) = found
        window = self._pynq.MMIO(int(ip["phys_addr"]), int(ip["addr_range"]))
        self.registers = Registers(window, offsets_of(ip.get("registers", {})))
        self._slcr = self._pynq.MMIO(SLCR, SLCR_BYTES)

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Contiguous memory: `pynq.allocate`."""
        return self._pynq.allocate(shape, dtype)

    def reset(self) -> None:
        """Hold the reset line of the logic's first clock for a moment."""
        self._slcr.write(SLCR_UNLOCK, UNLOCK_KEY)
        self._slcr.write(FPGA_RESET, 1)
        self._slcr.write(FPGA_RESET, 0)
        self._slcr.write(SLCR_LOCK, LOCK_KEY)


def _installed() -> ModuleType:
    try:
        return importlib.import_module("pynq")
    except ImportError as error:
        raise ToolMissing(
            f"the driver needs pynq: {error}", fix="it comes with the board's PYNQ image (version 4)"
        ) from error
