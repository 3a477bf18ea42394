"""plan.txt read back: which tensors each step of a plan touches, for whoever wants to know what a step costs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import UsageError


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor of the plan as the file has it; offsets of inputs and outputs are their indices."""

    place: str
    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes, unpadded; types of less than a byte are packed.

        >>> PlannedTensor("arena", 0, "float32", (2, 3)).nbytes, PlannedTensor("constant", 0, "int4", (5,)).nbytes
        (24, 3)
        """
        bits = re.search(r"\d+$", self.dtype)
        return -(-self.elements * (int(bits.group()) if bits else 8) // 8)


def read_steps(path: Path) -> tuple[tuple[PlannedTensor, ...], ...]:
    """The tensors of each step, in the order of the call; the last ones are what it writes.

    Args:
        path: plan.txt of a bundle whose hashes were checked.

    Raises:
        UsageError: the file is not a plan.
    """
    tensors: list[PlannedTensor] = []
    steps: list[tuple[PlannedTensor, ...]] = []
    number = 0
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            number += 1
            words = line.split(" ")
            if words[0] == "tensor":
                rank = int(words[4])
                tensors.append(PlannedTensor(words[1], int(words[2]), words[3], tuple(map(int, words[5 : 5 + rank]))))
            elif words[0] == "step":
                steps.append(tuple(tensors[int(word)] for word in words[3 : 3 + int(words[2])]))
    except (OSError, ValueError, IndexError) as error:
        raise UsageError(f"the file is not a plan: {error}", where=f"{path}, line {number}") from error
    return tuple(steps)
