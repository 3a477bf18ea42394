"""llvm-mca: cycles a loop body takes in LLVM's model of a core, when it repeats and every load hits."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

from benchmarks.arm.cores import Core
from edgevision.errors import EdgeVisionError, ToolMissing

ITERATIONS = 100
#: Newest first: models of cores are still being added.
VERSIONS = range(40, 13, -1)


def installed() -> bool:
    """Whether there is an llvm-mca."""
    return _path() is not None


@cache
def _path() -> str | None:
    names = [*(f"llvm-mca-{version}" for version in VERSIONS), "llvm-mca"]
    return next((path for path in map(shutil.which, names) if path), None)


def tool() -> str:
    """Path of the newest llvm-mca.

    Raises:
        ToolMissing: there is none.
    """
    path = _path()
    if path is None:
        raise ToolMissing("expected llvm-mca, found none", fix="apt-get install llvm-19 (or any newer llvm-NN)")
    return path


@cache
def version() -> str:
    """What the tool says of itself."""
    said = subprocess.run([tool(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"LLVM version (\S+)", said)
    return found.group(1) if found else said.strip()


def cycles(body: Sequence[str], core: Core) -> float:
    """Cycles of one pass through `body`, in the steady state.

    Raises:
        EdgeVisionError: the model does not know an instruction.
    """
    command = [
        tool(), f"-mtriple={core.triple}", f"-mcpu={core.cpu}", f"-mattr={core.features}",
        f"-iterations={ITERATIONS}", "-instruction-info=0", "-resource-pressure=0",
    ]  # fmt: skip
    done = subprocess.run(command, input="\n".join(body) + "\n", capture_output=True, text=True, check=False)
    total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if done.returncode or total is None:
        raise EdgeVisionError(
            f"llvm-mca has no cycles for this loop on {core.name}",
            where=tool(),
            reasons=[line for line in done.stderr.splitlines() if "error" in line or "note" in line][:6],
        )
    return int(total.group(1)) / ITERATIONS
