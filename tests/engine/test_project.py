"""The folder for Vitis HLS: its vectors come from the reference, and the test bench built with g++ agrees with them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.engines import Z2, require_csim
from helpers.integers import CASES, network_of
from helpers.tools import need

from edgevision.engine.csim import ap_types
from edgevision.engine.hardware import header_text
from edgevision.engine.project import write_project
from edgevision.resources import shipped

HW = shipped("hw")


def test_the_test_bench_agrees_and_notices_one_wrong_byte(tmp_path):
    require_csim()
    need("make", "g++")
    hw = tmp_path / "hw"
    shutil.copytree(HW, hw, ignore=shutil.ignore_patterns("build"))
    command = ["make", "-C", str(hw), "testbench", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"8 calls, 0 of \d+ words of the maps differ", done.stdout)
    build = hw / "build" / "pynq-z2"
    after, mask = bytearray((build / "after.bin").read_bytes()), (build / "mask.bin").read_bytes()
    after[mask.index(255)] ^= 1
    (build / "after.bin").write_bytes(after)
    again = subprocess.run([build / "testbench", build], capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "8 calls, 1 of" in again.stdout


def test_vectors_hold_every_tensor_of_the_golden_network(tmp_path):
    case = CASES["network"]
    write_project(network_of(case), Z2, np.array(case["image"], np.int8), tmp_path)
    computed = ("stem", "expand", "deep", "project", "deform.map", "deform", "point", "head")
    bytes_ = sum(np.size(case["tensors"][name]) for name in computed)
    assert np.count_nonzero(np.frombuffer((tmp_path / "mask.bin").read_bytes(), np.uint8)) == bytes_


@pytest.mark.parametrize("path", sorted((HW / "engine").glob("*")), ids=lambda path: path.name)
def test_sources_have_nothing_that_vitis_hls_refuses(path: Path):
    text = path.read_text()
    if path.name == "dataflow.h":
        # The only place that differs in a C simulation.
        text = text[: text.index("#else")]
    code = re.sub(r"//.*", "", text)
    assert not re.search(r"\bnew\b|\bmalloc\b|std::|\bdouble\b|\bfloat\b|\bthrow\b|\bvirtual\b|\bgoto\b", code)


def test_what_is_synthesised_compiles_without_the_simulation(tmp_path):
    require_csim()
    need("g++")
    includes = [f"-I{HW / 'engine'}", f"-I{HW / 'csim'}", "-isystem", str(ap_types())]
    (tmp_path / "engine_config.h").write_text(header_text(Z2))
    includes.append(f"-I{tmp_path}")
    # The ap_int headers know this macro too, and then want Xilinx's compiler.
    source = '#include "types.h"\n#define __SYNTHESIS__\n#include "engine.cpp"\n'
    done = subprocess.run(
        ["g++", "-std=c++14", "-fsyntax-only", "-Wall", "-Wno-unknown-pragmas", *includes, "-x", "c++", "-"],
        input=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
