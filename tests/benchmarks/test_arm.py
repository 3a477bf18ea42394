"""The Arm kernels' inner loops hold the instructions meant for each core, and stand up to hand-written ones."""

import re

import pytest
from helpers.tools import need

from benchmarks.arm import generated, hand_written, mca, peaks
from benchmarks.arm.cores import CORES, FAMILIES
from benchmarks.arm.loops import inner_loop, macs

BY_NAME = {core.name: core for core in CORES}

#: What the loop is made of.
WANTED = {
    ("Cortex-A53", "fp32 gemm"): r"fmla .*\.s\[[0-3]\]",
    ("Cortex-A53", "int8 gemm"): r"smull |smlal2 |sadalp ",
    ("Cortex-A72", "int8 gemm"): r"smull |smlal2 |sadalp ",
    ("Cortex-A76", "fp32 gemm"): r"fmla .*\.s\[[0-3]\]",
    ("Cortex-A76", "int8 gemm"): r"sdot .*\.4b\[[0-3]\]",
    ("Cortex-A9", "fp32 gemm"): r"vmla\.f32 .*d\d+\[[01]\]",
    ("Cortex-A9", "int8 gemm"): r"vmull\.s8 |vmlal\.s8 |vpadal\.s16 ",
    ("Neoverse V1", "int8 gemm"): r"usmmla ",
}


@pytest.mark.parametrize(("name", "family"), sorted(WANTED))
def test_products_are_made_by_the_instructions_of_the_core_and_no_accumulator_is_spilled(name, family):
    loop = [text.replace("\t", " ") for text in inner_loop(generated.assembly(family, BY_NAME[name]))]
    products = [text for text in loop if re.match(WANTED[name, family], text)]
    assert len(products) > len(loop) / 2, loop
    assert not [text for text in loop if re.match(r"v?st[a-z0-9.]* ", text)]


@pytest.mark.parametrize("name", sorted(BY_NAME))
@pytest.mark.parametrize("family", FAMILIES)
def test_modelled_rate_is_at_least_four_fifths_of_the_hand_written_loop(name, family):
    need(mca.tool() if mca.installed() else "llvm-mca")
    core = BY_NAME[name]
    ours, theirs = inner_loop(generated.assembly(family, core)), hand_written.body(family, core)
    rates = [macs(body) / mca.cycles(body, core) for body in (ours, theirs, peaks.body(family, core))]
    assert 0.8 * rates[1] <= rates[0] <= 1.01 * rates[2]
    # Four fifths of the peak too, where the multiplication is the only instruction worth counting.
    assert core.int8 != "usmmla" or family != "int8 gemm" or rates[0] >= 0.8 * rates[2]


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_hand_written_product_multiplies_what_its_tile_says(name):
    sizes = {"pairs": 4 * 4 * 16, "sdot": 4 * 8 * 12 * 4, "usmmla": 2 * 8 * 8 * 8}
    core = BY_NAME[name]
    narrow = core.triple.startswith("armv7")
    assert macs(hand_written.body("fp32 gemm", core)) == (2 * 4 * 8 if narrow else 4 * 8 * 12)
    assert macs(hand_written.body("int8 gemm", core)) == (2 * 4 * 16 if narrow else sizes[core.int8])
