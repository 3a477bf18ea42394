"""Verilator and yosys accept the SystemVerilog, and the array takes the DSPs it is meant to."""

import msgspec
import pytest
from helpers.engines import ENGINES, Z2
from helpers.tools import need

from edgevision.engine import rtlsim
from edgevision.engine.synth import Block, synthesised

WIDE = msgspec.structs.replace(Z2, lanes=32, columns=32, scale_lanes=32, axi_bits=128)


@pytest.mark.parametrize("engine", [*ENGINES.values(), WIDE], ids=[*ENGINES, "32 lanes"])
def test_verilator_has_no_warning(engine):
    need("verilator")
    assert rtlsim.lint(engine) == ""


def test_two_products_share_a_dsp():
    need("yosys")
    counts = synthesised(Block("pair", "two_products", {"LANES": 4, "SUM_BITS": 24}))
    assert counts.dsp == 4 and counts.bram36 == 0
    assert 0 < counts.ff < 400 and 0 < counts.lut < 200
