"""The inner loop of a kernel in its assembly, and the multiply-accumulates in it.

The branch that closes a loop is left out, as it is from the loops written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LABEL = re.compile(r"^([.$\w]+):")
_BRANCH = re.compile(r"^(?:b[.a-z]*|cbn?z|tbn?z)\s+(?:[^,]+,\s*)*(\.\w+)$")
#: Multiply-accumulates of one instruction on full registers; half registers do half of it.
_MACS = {
    r"fmla|vmla\.f32|vfma\.f32": 4,
    r"mla|vmla\.i32|mul|vmul\.i32": 4,
    r"[su]m(?:ull|lal)2?": 8,
    r"vm(?:ull|lal)\.[su]8": 8,
    r"vm(?:ull|lal)\.[su]16": 4,
    r"(?:s|u|us|su)dot": 16,
    r"(?:s|u|us)mmla": 32,
}


def inner_loop(assembly: str) -> list[str]:
    """The loop without a loop inside that multiplies most: where a kernel spends its time.

    >>> inner_loop(".a:\\n\\tmov x0, x1\\n.b:\\n\\tfmla v0.4s, v1.4s, v2.4s // note\\n\\tb.ne .b\\n\\tb.ne .a\\n")
    ['fmla v0.4s, v1.4s, v2.4s']
    """
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in assembly.splitlines():
        text = re.sub(r"\s+(//|@ ).*$", "", line).strip()
        label = _LABEL.match(text)
        if label:
            labels[label.group(1)] = len(instructions)
        elif text and text[0] not in ".@/":
            instructions.append(text)
    found = []
    for index, text in enumerate(instructions):
        branch = _BRANCH.match(text.replace("\t", " "))
        if branch and labels.get(branch.group(1), index + 1) <= index:
            found.append((labels[branch.group(1)], index))
    inner = [a for a in found if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in found)]
    return max((instructions[a:b] for a, b in inner), key=macs, default=[])


def macs(body: Sequence[str]) -> int:
    """Multiply-accumulates of a loop body.

    >>> macs(["smull v0.8h, v1.8b, v2.8b", "smlal v0.4s, v1.4h, v2.4h", "vmla.f32 d0, d1, d2", "sadalp v3.4s, v0.8h"])
    14
    """
    return sum(_macs(text) for text in body)


def _macs(text: str) -> int:
    name, _, operands = text.replace("\t", " ").partition(" ")
    for pattern, count in _MACS.items():
        if re.fullmatch(pattern, name):
            first = operands.strip().split(",")[0]
            if name.startswith(("mul", "mla")) and not first.startswith("v"):
                return 0
            if re.match(r"[su]m(?:ull|lal)", name):
                return {"8h": 8, "4s": 4, "2d": 2}.get(first.rpartition(".")[2], 0)
            return count // 2 if first.startswith("d") or first.endswith(".2s") else count
    return 0
