"""The driver over pynq itself, where it is installed (it pins numpy below 2): real MMIO and buffers, our device."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.engines import Z2, random_image, require_csim
from helpers.integers import CASES, network_of

from edgevision.engine.driver import EngineDriver
from edgevision.engine.execute import run
from edgevision.engine.program import compiled
from edgevision.engine.pynq_board import SLCR, PynqBoard
from edgevision.engine.simulated_pynq import SimulatedPynq

pynq = pytest.importorskip("pynq")


def test_outputs_are_those_of_the_reference_through_real_registers_and_buffers():
    require_csim()
    simulation = SimulatedPynq(Z2)
    windows = {}

    class Simulated(pynq.Device):
        _probe_priority_ = 1

        def __init__(self):
            super().__init__("simulated")
            self.capabilities = {"REGISTER_RW": True}

        def window(self, address):
            base = SLCR if address >= SLCR else 0x40000000
            return windows.setdefault(base, simulation.MMIO(base, 0x1000)), address - base

        def read_registers(self, address, length):
            window, offset = self.window(address)
            return window.read(offset).to_bytes(4, "little")

        def write_registers(self, address, data):
            window, offset = self.window(address)
            window.write(offset, int.from_bytes(bytes(data), "little"))

        def allocate(self, shape, dtype, **_):
            own = simulation.allocate(shape, dtype)
            return pynq.buffer.PynqBuffer(
                shape, dtype, device=self, device_address=own.device_address, bo=own.device_address, coherent=False
            )

        def flush(self, bo, offset, address, size):
            simulation.device[bo][offset : offset + size] = np.frombuffer(ctypes.string_at(address, size), np.uint8)

        def invalidate(self, bo, offset, address, size):
            ctypes.memmove(address, simulation.device[bo][offset : offset + size].ctypes.data, size)

    pynq.Device.active_device = Simulated()
    module = SimpleNamespace(Overlay=simulation.Overlay, MMIO=pynq.MMIO, allocate=pynq.allocate)
    network = network_of(CASES["network"])
    driver = EngineDriver(compiled(network, Z2), Z2, PynqBoard(Path("engine.bit"), pynq=module))
    for seed in range(2):
        image = random_image(network.header, seed)
        wanted, got = run(network, image), driver.run(image)
        assert all(np.array_equal(got[name], wanted[name]) for name in network.header.outputs)
    assert simulation.writes > 10
