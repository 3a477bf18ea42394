from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import programs

from edgevision import bundle
from edgevision.bundle.link import kernels_id
from edgevision.bundle.objects import check_objects, read_symbols
from edgevision.bundle.toolchain import Compiler
from edgevision.compiler.program import PlanStep
from edgevision.errors import ToolMissing, Unsupported, UsageError
from edgevision.target import Target
from edgevision.target import load as load_target


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_two_builds_are_byte_identical_and_hold_no_paths(tmp_path: Path) -> None:
    first = contents(programs.bundled(tmp_path / "first"))
    second = contents(programs.bundled(tmp_path / "a" / "second"))
    assert first == second
    assert set(first) == {
        "manifest.json", "plan.txt", "weights.bin", "kernels.so", "runner",
        "golden/input_0.bin", "golden/output_0.bin", "golden/input_1.bin", "golden/output_1.bin",
    }  # fmt: skip
    for name, content in first.items():
        for trace in (str(tmp_path).encode(), b"/tmp/", str(Path.home()).encode() + b"/"):
            assert trace not in content, name


def test_what_was_written_is_what_is_loaded(tmp_path: Path) -> None:
    folder = programs.bundled(tmp_path / "b", integer=True)
    manifest = bundle.load(folder).manifest
    assert manifest.origin == programs.origin()
    assert manifest.target == programs.host()
    assert [step.label for step in manifest.steps] == ["first / matmul", "first / bias", "last"]
    assert manifest.macs == 512
    assert manifest.outputs[0].dtype == "int8"
    assert {vector.tolerance for vector in manifest.golden} == {0.0}


def test_an_integer_output_has_no_tolerance_whatever_is_asked(tmp_path: Path) -> None:
    golden = programs.golden(integer=True)
    made = bundle.write(programs.program(integer=True), programs.origin(), tmp_path / "b", golden=golden, tolerance=1)
    assert made.manifest.golden[0].tolerance == 0


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    folder = programs.bundled(tmp_path / "b")
    before = contents(folder)
    with pytest.raises(UsageError, match="--overwrite"):
        bundle.write(programs.program(integer=True), programs.origin(), folder)
    assert contents(folder) == before
    bundle.write(programs.program(integer=True), programs.origin(), folder, overwrite=True)
    assert contents(folder) != before


def test_a_musl_target_is_always_static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stop(target: Target, *, static: bool) -> Compiler:
        asked.append((target.name, static))
        raise ToolMissing("stop here")

    monkeypatch.setattr("edgevision.bundle.bundle.need_compiler", stop)
    with pytest.raises(ToolMissing):
        bundle.write(programs.program(load_target("android-arm64")), programs.origin(), tmp_path / "b")
    assert asked == [("android-arm64", True)]


def test_missing_kernels_and_wrong_architecture_are_all_named() -> None:
    program = programs.program()
    steps = (*program.steps, PlanStep("gone", (0,), "x", "x"), PlanStep("lost", (0,), "x", "x"))
    with pytest.raises(Unsupported) as caught:
        check_objects(replace(program, steps=steps, target=load_target("rpi4")))
    assert len(caught.value.reasons) == 3


def test_bytes_that_are_no_object_file_are_refused() -> None:
    for content in (b"", b"\x7fELF", b"MZ" * 100, programs.program().objects[0][:100]):
        with pytest.raises(Unsupported, match="ELF"):
            read_symbols([content])


def test_golden_vectors_of_another_shape_are_refused(tmp_path: Path) -> None:
    pair = (np.zeros((4, 8), np.float64), np.zeros((4, 15), np.float32))
    with pytest.raises(UsageError) as caught:
        bundle.write(programs.program(), programs.origin(), tmp_path / "b", golden=[pair])
    assert len(caught.value.reasons) == 2
    assert not (tmp_path / "b").exists()


def test_a_misplaced_tensor_is_refused(tmp_path: Path) -> None:
    program = programs.program()
    tensors = (*program.tensors[:3], replace(program.tensors[3], offset=480), program.tensors[4])
    with pytest.raises(UsageError, match="tensor 3"):
        bundle.write(replace(program, tensors=tensors), programs.origin(), tmp_path / "b")


def test_other_objects_are_other_kernels() -> None:
    program = programs.program()
    assert kernels_id(program) != kernels_id(replace(program, objects=(program.objects[0] + b"\0",)))
