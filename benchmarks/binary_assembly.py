"""`python -m benchmarks.binary_assembly`: the inner loop of the binary product on each target, by its instructions.

Exit code 1 where an inner loop counts no bits. Nothing is run, so every architecture can be shown on any machine.
"""

from __future__ import annotations

import re
import sys
from collections import Counter

import tvm

from benchmarks.common import progress
from edgevision import target as targets
from edgevision.compiler.kernels import xnor
from edgevision.compiler.kernels.chain import Chain, Store
from edgevision.compiler.simd import simd_of, tvm_target
from edgevision.machine import resolve

#: What counts bits: of lanes, of bytes by table, of bytes.
COUNTS = re.compile(r"^(vpopcnt[dqbw]|vpshufb|cnt|vcnt(\.\w+)?)$")
ROWS, DEPTH, CHANNELS = 197, 768, 192


def assembly(name: str) -> str:
    """Assembly of the product for target `name`."""
    target = resolve(targets.load(name))
    simd = simd_of(target)
    tile = xnor.tile_shape(simd, ROWS, CHANNELS, to_bits=False)
    spec = xnor.Xnor(ROWS, DEPTH, CHANNELS, tile, ROWS * CHANNELS, Chain((), Store(pitch=CHANNELS)))
    module = tvm.IRModule({"binary": xnor.build("binary", spec, simd)})
    return str(tvm.tirx.build(module, target=tvm_target(target)).inspect_source("asm"))


def innermost_loops(text: str) -> list[list[str]]:
    """Instructions of each stretch from a label to a branch back to it with no other label between.

    >>> innermost_loops("a:\\n.L1:\\n\\tcnt v0, v1\\n\\tb.ne .L1\\n\\tret\\n")
    [['cnt', 'b.ne']]
    """
    found: list[list[str]] = []
    label, inside = None, []
    for line in text.splitlines():
        opened = re.match(r"^([.\w]+):", line)
        words = line.split("#")[0].split("//")[0].split("@")[0].split()
        if opened:
            label, inside = opened.group(1), []
        elif words and not words[0].startswith("."):
            inside.append(words[0])
            if label is not None and words[-1] == label and words[0][0] in "jbc":
                found.append(inside)
                label, inside = None, []
    return found


def main() -> None:
    """Print the loop with the most counts of every target."""
    failed = False
    names = targets.names()
    for index, name in enumerate(names):
        progress("compile", index, len(names), name)
        loops = innermost_loops(assembly(name))
        best = max(loops, key=lambda loop: sum(bool(COUNTS.match(word)) for word in loop), default=[])
        counts = {word: n for word, n in Counter(best).most_common() if COUNTS.match(word)}
        failed |= not counts
        rest = ", ".join(f"{n} {word}" for word, n in Counter(best).most_common(8))
        print(f"{name:16} {sum(counts.values()):4} counts in {len(best):4} instructions: {rest}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
