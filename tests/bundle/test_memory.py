"""The runner holds the arena and the weights once, and little else."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import programs

from edgevision import bundle

#: Runner, kernels, libc, plan, input and output.
BESIDES = 4 << 20


@pytest.mark.parametrize("static", [False, True])
def test_peak_memory_is_arena_and_weights_and_four_mebibytes(tmp_path: Path, static: bool) -> None:
    program = programs.program()
    large = replace(program, arena_bytes=24 << 20, constants=program.constants.ljust(48 << 20, b"\1"))
    folder = bundle.write(large, programs.origin(), tmp_path / "b", static=static).folder
    # Many samples: they are read as they are needed, not kept.
    count = 120_000
    programs.images(count).tofile(tmp_path / "in.bin")
    assert (tmp_path / "in.bin").stat().st_size > 2 * BESIDES
    words = ["--input", tmp_path / "in.bin", "--output", "/dev/null", "--repeat", "2", "--json"]
    done = subprocess.run(["./runner", ".", *words], cwd=folder, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["samples"] == count
    held = large.arena_bytes + len(large.constants)
    assert held < answer["peak_rss_bytes"] <= held + BESIDES


def test_a_file_of_samples_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    folder = programs.bundled(tmp_path / "b")
    programs.images(200_000).tofile(tmp_path / "in.bin")
    words = ["./runner", ".", "--input", tmp_path / "in.bin", "--output", tmp_path / "out.bin"]
    running = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "out.bin").exists() or not (tmp_path / "out.bin").stat().st_size:
        assert running.poll() is None
    with (tmp_path / "in.bin").open("r+b") as file:
        file.truncate(1 << 20)
    assert "ended early" in running.communicate(timeout=60)[1]
    assert running.returncode == 2
