"""The model of the RTL's resources against runs of yosys it was not fitted on, and against a run made now."""

import pytest
from helpers.engines import SMALL, Z2
from helpers.tools import need

from edgevision.engine.rtlarea import estimate, recorded, use_of_rtl
from edgevision.engine.synth import blocks_of, synthesised

HELD_OUT = [run for run in recorded().runs if run.held_out]


@pytest.mark.parametrize("run", HELD_OUT, ids=[f"{run.block} {index}" for index, run in enumerate(HELD_OUT)])
def test_runs_that_were_held_out_are_predicted(run):
    found = estimate(run.block, run.sizes)
    assert found.dsp == pytest.approx(run.counts.dsp, rel=0.1)
    assert found.bram36 == pytest.approx(run.counts.bram36, rel=0.1)
    assert found.lut == pytest.approx(run.counts.lut, rel=0.2)
    assert found.ff == pytest.approx(run.counts.ff, rel=0.2)


def test_the_record_is_what_yosys_makes_of_these_sources():
    need("yosys")
    (block,) = (one for one in blocks_of(SMALL) if one.name == "collect")
    (recorded_one,) = (run for run in recorded().runs if (run.block, run.sizes) == (block.name, block.parameters))
    counts = synthesised(block)
    assert (counts.dsp, counts.bram36) == (recorded_one.counts.dsp, recorded_one.counts.bram36)
    # Other versions of yosys count a little differently.
    assert counts.lut == pytest.approx(recorded_one.counts.lut, rel=0.1)
    assert counts.ff == pytest.approx(recorded_one.counts.ff, rel=0.1)


def test_the_engine_of_the_board_fits_it():
    # Block RAMs are beyond nine tenths of the part: tight.
    assert all(use.verdict != "no" for use in use_of_rtl(Z2))
    assert {use.resource for use in use_of_rtl(Z2)} == {"DSP", "BRAM36", "LUT", "FF"}
