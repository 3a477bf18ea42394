"""The driver over the stand-in for pynq: the bytes of the reference, and a usable engine after all that fails."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.engines import SMALL, Z2, random_image, require_csim
from helpers.integers import CASES, network_of

from edgevision.engine.driver import EngineDriver
from edgevision.engine.execute import run
from edgevision.engine.program import compiled
from edgevision.engine.pynq_board import PynqBoard
from edgevision.engine.registers import OFFSETS
from edgevision.engine.simulated_pynq import MEMORY_BASE, Buffer, Faults, SimulatedPynq
from edgevision.errors import DeviceError, DoesNotFit, Unsupported, UsageError

NETWORK = network_of(CASES["network"])
PROGRAM = compiled(NETWORK, Z2)
IMAGE = random_image(NETWORK.header)


@pytest.fixture
def pynq():
    require_csim()
    return SimulatedPynq(Z2)


def driver(pynq, **kwargs):
    return EngineDriver(PROGRAM, Z2, PynqBoard(Path("engine.bit"), pynq=pynq, name="csim"), **kwargs)


def agrees(one, image=IMAGE):
    wanted, got = run(NETWORK, image), one.run(image)
    return all(np.array_equal(got[name], wanted[name]) for name in NETWORK.header.outputs)


def test_outputs_are_those_of_the_reference_image_after_image(pynq):
    one = driver(pynq)
    assert agrees(one) and agrees(one, random_image(NETWORK.header, 1))


@pytest.mark.parametrize("forgotten", ["flush", "invalidate"])
def test_a_forgotten_flush_or_invalidate_shows(pynq, monkeypatch, forgotten):
    one = driver(pynq)
    monkeypatch.setattr(Buffer, forgotten, lambda self: None)
    assert not agrees(one)


def test_a_time_out_says_where_it_stands_dumps_the_registers_and_leaves_a_usable_engine(pynq):
    one = driver(pynq, timeout=0.05)
    pynq.faults = Faults(stalls=1)
    with pytest.raises(DeviceError) as caught:
        one.run(IMAGE)
    assert "within 0.05 s: 0 of 6 calls" in caught.value.what and "in call 0 (stem)" in caught.value.what
    assert any(f"words 0x{PROGRAM.header.words:08x}" in line for line in caught.value.reasons)
    assert "control 0x00000001 (start)" in caught.value.reasons[0]
    one.timeout = 10
    assert agrees(one)


def test_a_register_that_does_not_hold_its_value_is_named_and_nothing_is_started(pynq):
    one = driver(pynq)
    pynq.faults = Faults(stuck={OFFSETS["results"]: MEMORY_BASE})
    with pytest.raises(DeviceError, match=r"register 'results' at 0x30: wrote 0x1.*, read 0x0"):
        one.run(IMAGE)
    assert "finished" not in pynq.registers and pynq.why == ""
    pynq.faults = Faults()
    assert agrees(one)


def test_memory_that_is_used_up_is_given_back(pynq):
    pynq.memory_bytes = PROGRAM.words.nbytes + 4096
    with pytest.raises(DoesNotFit, match=r"no .* bytes of contiguous memory for feature maps"):
        driver(pynq)
    assert pynq.device == {}
    pynq.memory_bytes = 64 << 20
    assert agrees(driver(pynq))


def test_no_register_is_written_for_a_program_that_is_damaged_or_for_another_engine(pynq):
    board = PynqBoard(Path("engine.bit"), pynq=pynq)
    cut = dataclasses.replace(PROGRAM, words=PROGRAM.words[:-1])
    with pytest.raises(UsageError, match="words"):
        EngineDriver(cut, Z2, board)
    with pytest.raises(Unsupported, match="for engine"):
        EngineDriver(PROGRAM, SMALL, board)
    assert pynq.writes == 0 and pynq.device == {}


def test_addresses_outside_the_memory_hang_and_are_reset(pynq, monkeypatch):
    one = driver(pynq, timeout=0.05)
    monkeypatch.setattr(one._words, "device_address", MEMORY_BASE + (64 << 20))
    with pytest.raises(DeviceError, match="did not end"):
        one.run(IMAGE)
    assert "outside" in pynq.why


def test_an_image_of_another_size_is_refused_before_the_engine_starts(pynq):
    one = driver(pynq)
    with pytest.raises(UsageError, match="expected an int8 image"):
        one.run(IMAGE[:, 1:])
    assert pynq.writes == 0 and agrees(one)


def test_a_closed_driver_has_given_its_memory_back(pynq):
    one = driver(pynq)
    one.close()
    assert pynq.device == {}
    with pytest.raises(DeviceError, match="closed"):
        one.run(IMAGE)


def test_an_overlay_without_the_engine_is_refused(pynq):
    pynq.Overlay = lambda path: type("Other", (), {"ip_dict": {"dma": {"type": "xilinx.com:ip:axi_dma:7.1"}}})()
    with pytest.raises(DeviceError, match="expected one edgevision_engine in the overlay, got 0"):
        driver(pynq)
