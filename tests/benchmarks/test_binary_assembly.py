"""The inner loops of the binary product count bits on every kind of core."""

import pytest

from benchmarks.binary_assembly import COUNTS, assembly, innermost_loops


@pytest.mark.parametrize(
    ("name", "instruction"),
    [("x86-64-avx2", "vpshufb"), ("rpi4", "cnt"), ("zynq7020-ps", "vcnt.8")],
)
def test_an_inner_loop_counts_bits(name, instruction):
    loops = [loop for loop in innermost_loops(assembly(name)) if instruction in loop]
    assert loops and all(COUNTS.match(instruction) for _ in loops)
    # At least one count in seven instructions: nothing is spilled and nothing is counted bit by bit.
    assert max(loop.count(instruction) / len(loop) for loop in loops) > 1 / 7
