import hashlib
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import programs
from helpers.tools import need
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.bundle import link, load
from edgevision.bundle.toolchain import find_compilers
from edgevision.device.walk import Walk
from edgevision.target import load as load_target


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.bundled(tmp_path_factory.mktemp("runner") / "float")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["./runner", ".", *words], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_every_sample_is_right_on_any_number_of_threads(folder: Path, tmp_path: Path, threads: int) -> None:
    images = programs.images(7)
    images.tofile(tmp_path / "in.bin")
    words = ["--input", f"{tmp_path}/in.bin", "--output", f"{tmp_path}/out.bin", "--threads", str(threads)]
    assert run(folder, *words).returncode == 0
    got = np.fromfile(tmp_path / "out.bin", np.float32).reshape(-1, 16)
    np.testing.assert_array_equal(got, programs.reference(images, integer=False))


def test_json_has_one_time_per_run_and_step(folder: Path) -> None:
    answer = json.loads(run(folder, "--repeat", "5", "--steps", "--json", "--cpus", "0").stdout)
    assert len(answer["run_ns"]) == 5
    assert [len(times) for times in answer["steps"]] == [2] * 5
    assert answer["arena_bytes"] == 512
    assert 100_000 < answer["peak_rss_bytes"] < 50_000_000


def test_text_is_for_people(folder: Path) -> None:
    assert "median of 3 runs" in run(folder, "--repeat", "3").stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--threads", "0"],
        ["--threads", "two"],
        ["--frobnicate", "1"],
        ["--repeat"],
        ["--cpus", "0,"],
        ["--cpus", "0,1"],
        ["--input", "nowhere.bin"],
        ["--input", "plan.txt"],
        ["--output", "/nowhere/out.bin"],
    ],
)
def test_a_wrong_flag_is_a_usage_error(folder: Path, words: list[str]) -> None:
    done = run(folder, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("runner: ")


def test_steps_run_one_by_one_leave_their_tensors(folder: Path) -> None:
    with Walk(load(folder)) as walk:
        walk.input[...] = programs.images()
        walk.step(0)
        product = walk.tensor(3, (4, 16), "float32")
        np.testing.assert_array_equal(product, programs.images() @ programs.weights()[0])
        walk.step(1)
        np.testing.assert_array_equal(walk.output, programs.reference(programs.images(), integer=False))


def test_buffers_are_aligned_to_64_bytes(folder: Path) -> None:
    with Walk(load(folder)) as walk:
        buffers = [walk.input, walk.output, *(walk.tensor(i, (4, 16), "float32") for i in (3,))]
        assert all(buffer.ctypes.data % 64 == 0 for buffer in buffers)


def test_denormals_are_flushed_only_when_asked(folder: Path) -> None:
    tiny = np.full((4, 8), 1e-41, np.float32)
    results = []
    for flush in (False, True):
        with Walk(load(folder), threads=2, flush_denormals=flush) as walk:
            walk.input[...] = tiny
            walk.step(0)
            results.append(walk.tensor(3, (4, 16), "float32").copy())
    assert np.any(results[0] != 0)
    assert not np.any(results[1])
    assert np.float32(1e-41) * np.float32(0.5) != 0, "the calling thread got its floating-point mode back"


def test_a_static_file_runs_without_kernels_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = next(c for c in find_compilers(programs.host(), static=True) if c.name != "zig")
    monkeypatch.setattr("edgevision.bundle.bundle.need_compiler", lambda target, static: compiler)
    folder = programs.bundled(tmp_path / "static", static=True)
    assert not (folder / "kernels.so").exists()
    images = programs.images(2)
    images.tofile(tmp_path / "in.bin")
    assert run(folder, "--input", f"{tmp_path}/in.bin", "--output", f"{tmp_path}/out.bin").returncode == 0
    got = np.fromfile(tmp_path / "out.bin", np.float32).reshape(-1, 16)
    np.testing.assert_array_equal(got, programs.reference(images, integer=False))


def test_a_static_runner_refuses_the_plan_of_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = next(c for c in find_compilers(programs.host(), static=True) if c.name != "zig")
    monkeypatch.setattr("edgevision.bundle.bundle.need_compiler", lambda target, static: compiler)
    folder = programs.bundled(tmp_path / "static", static=True)
    plan = (folder / "plan.txt").read_text()
    old = plan.splitlines()[3]
    (folder / "plan.txt").write_text(plan.replace(old, "kernels " + "0" * 64))
    done = run(folder)
    assert done.returncode == 8
    assert "expected kernels 000000000000" in done.stderr


def test_the_sources_compile_without_warnings_for_arm() -> None:
    need("aarch64-linux-gnu-gcc")
    for name in ("zig", "aarch64-linux-gnu-gcc"):
        compiler = next(c for c in find_compilers(load_target("rpi4")) if c.name == name)
        assert link.link_runner(compiler)[:4] == b"\x7fELF"


def test_no_memory_error_and_no_undefined_behaviour(folder: Path, tmp_path: Path) -> None:
    """Good runs, and plans cut off or damaged at every line, under the address and undefined-behaviour sanitizers."""
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [str(link.RUNNER / name) for name in (*link._WALK, *link._COMMAND, "kernels_dynamic.c")]
    runner = tmp_path / "runner"
    compiler = next(c for c in find_compilers(programs.host()) if c.name != "zig")
    compiler.run([*flags, *sources, "-o", str(runner), "-lpthread", "-lm", "-ldl"], cwd=tmp_path)

    for name in ("plan.txt", "weights.bin", "kernels.so"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    lines = (folder / "plan.txt").read_text().splitlines(keepends=True)
    damaged = ["".join(lines)]
    for index, line in enumerate(lines):
        damaged.append("".join(lines[:index]) + line[:-3])
        damaged.append("".join([*lines[:index], line.replace(" ", " 9999999999999999999", 1), *lines[index + 1 :]]))
    codes = set()
    for text in damaged:
        (tmp_path / "plan.txt").write_text(text)
        words = [str(runner), str(tmp_path), "--threads", "3", "--repeat", "3", "--steps"]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        codes.add(done.returncode)
    assert codes == {0, 2, 4, 8}


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_sha256_is_that_of_hashlib(content: bytes) -> None:
    import ctypes

    library = ctypes.CDLL(str(link.walk_library(programs.host())))
    text = ctypes.create_string_buffer(65)
    library.ev_sha256_hex(content, ctypes.c_size_t(len(content)), text)
    assert text.value.decode() == hashlib.sha256(content).hexdigest()
