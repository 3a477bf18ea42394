"""Every integer operator against vectors of exact rational arithmetic: in numpy, compiled for this machine, on ARM."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import golden_operators as golden
from helpers.emulated import emulated
from helpers.walking import HOST, walk

from edgevision import target as targets
from edgevision.graph import reference
from edgevision.graph.integer import integerize
from edgevision.graph.ir import read
from edgevision.machine import cpu_flags, resolve
from edgevision.resources import shipped

EVERY = list(range(len(golden.CASES)))
FLAGS = cpu_flags(Path("/proc/cpuinfo").read_text())
#: This machine, and narrower ones it can stand in for.
RUNNABLE = [HOST, *(made for name in ("x86-64-avx2", "x86-64-avx512")
                    if set((made := targets.load(name)).cpu.requires) <= FLAGS)]  # fmt: skip


def same(got, at):
    wanted = golden.wanted(at)
    # Compared as values: rationals have no negative zero.
    np.testing.assert_array_equal(np.reshape(got, wanted.shape), wanted, err_msg=golden.names()[at])


@pytest.mark.parametrize("at", EVERY, ids=golden.names())
def test_the_reference_has_the_golden_bytes(at):
    (got,) = reference.run(golden.network([at]), *golden.given([at]))
    same(got, at)


@pytest.mark.parametrize("target", RUNNABLE, ids=lambda target: target.name)
def test_compiled_kernels_have_the_golden_bytes(target):
    for at, got in zip(EVERY, walk(golden.network(EVERY), *golden.given(EVERY), target=target), strict=True):
        same(got, at)


@pytest.mark.parametrize("board", ["rpi4", "rpi3"])
def test_kernels_on_arm_have_the_golden_bytes(board):
    made = emulated(golden.network(EVERY), *golden.given(EVERY), target=resolve(targets.load(board)))
    for at, got in zip(EVERY, made, strict=True):
        same(got, at)


def test_every_integer_operator_has_a_vector():
    """The operators `graph.integer` makes, as its own table names them."""
    from edgevision.graph import integer

    table = (integer.__doc__ or "").split("====\n")[1]
    operators = {name.strip(",") for row in table.splitlines() if not row.startswith(" ")
                 for name in row[:19].split()} - {"="}  # fmt: skip
    made = {node.op for node in integerize(read(golden.network(EVERY))).nodes}
    # Factorized layers are compared bit for bit in `test_factorized`.
    assert operators and {name for name in operators if name[0].isupper()} - {"IntFactorizedConv"} <= made


def test_the_golden_file_is_what_its_program_makes():
    folder = shipped("quant") / "golden"
    code = "import json, make_operators; print(json.dumps(make_operators.cases()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert json.loads(ran.stdout) == golden.CASES
