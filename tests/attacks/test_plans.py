"""Plans that lie, through the runner itself: each refused before the first step, with its exit code and line."""

import hashlib
import subprocess
from pathlib import Path

import pytest
from helpers import programs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgevision.bundle.link import link_kernels
from edgevision.bundle.toolchain import need_compiler


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.bundled(tmp_path_factory.mktemp("plans") / "b")


def run(folder: Path, where: Path, text: str | bytes) -> subprocess.CompletedProcess[str]:
    """Run a folder that has the bundle's files but this plan."""
    for name in ("weights.bin", "kernels.so"):
        if not (where / name).exists():
            (where / name).write_bytes((folder / name).read_bytes())
    (where / "plan.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    words = [str(folder / "runner"), str(where), "--repeat", "1"]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


LIES = [
    ("edgevision-plan 2", "edgevision-plan 1", 4, "expected plan format 2, got 1"),
    ("edgevision-plan 2", "some other file", 2, "line 1"),
    ("first / bias", "\x1b[2Jfirst", 2, "printable"),
    ("first / bias", "first\0", 2, "printable"),
    ("arch x86_64", "arch armv7", 4, "the bundle is for armv7"),
    ("requires ", "requires sve9 ", 4, "cannot check"),
    ("requires ", "requires " + "avx " * 40, 2, "at most 32"),
    ("arena 512", "arena 255", 2, "line 12"),
    ("arena 512", "arena 99999999999999999999", 2, "line 7"),
    ("arena 512", "arena -1", 2, "line 7"),
    ("arena 512", "arena 1000000000000000000", 5, "no memory"),
    ("tensors 5", "tensors 1000000", 2, "line 8"),
    ("tensors 5", "tensors 4", 2, "line 13"),
    ("tensor arena 0 ", "tensor arena 4 ", 2, "multiple of 64"),
    ("tensor arena 0 ", "tensor arena 18446744073709551552 ", 2, "line 12"),
    ("tensor constant 512 ", "tensor constant 576 ", 2, "line 11"),
    ("tensor constant 0 ", "tensor stack 0 ", 2, "input, output, arena or constant"),
    ("float32 2 8 16", "float32 2 2147483647 2147483647", 2, "line 10"),
    ("float32 2 8 16", "float32 8 4294967296 4294967296 4294967296 1 1 1 1 1", 2, "line 10"),
    ("float32 2 8 16", "float32 9 1 1 1 1 1 1 1 1 1", 2, "0 to 8"),
    ("float32 2 8 16", "float32 2 0 16", 2, "at least 1 element"),
    ("float32 2 8 16", "complex64 2 8 16", 2, "a dtype"),
    ("float32 2 8 16", "float32 2 8", 2, "line 10"),
    ("float32 2 8 16", "float32 2 8 16 16", 2, "end of line"),
    ("inputs 1 0", "inputs 1 1", 2, "line 14"),
    ("inputs 1 0", "inputs 2 0 0", 2, "line 14"),
    ("outputs 1 4", "outputs 1 5", 2, "line 15"),
    ("steps 2 0", "steps 3 0", 2, "line 19"),
    ("steps 2 0", "steps 2", 2, "a number of prepared steps"),
    ("steps 2 0", "steps 2 3", 2, "a number of prepared steps from 0 to 2"),
    ("steps 2 0", "steps 2 1", 2, "tensors of the arena and constants alone"),
    ("step __tvm_ffi_gemm 3 0 1 3", "step __tvm_ffi_gemm 3 0 1 9", 2, "line 17"),
    ("step __tvm_ffi_gemm 3 0 1 3", "step __tvm_ffi_gemm 65 0 1 3", 2, "0 to 64"),
    ("step __tvm_ffi_gemm", "step __tvm_ffi_conv", 8, "which the kernels do not have"),
    ("step __tvm_ffi_gemm", "step  __tvm_ffi_gemm", 2, "kernel symbol"),
    ("\nend\n", "\nend", 2, "end of file"),
    ("\nend\n", "\nend\nend\n", 2, "end of file after"),
    ("\nend\n", "\n", 2, "end of file"),
]


@pytest.mark.parametrize(("true", "lie", "code", "text"), LIES)
def test_a_lie_is_refused_with_its_place(
    folder: Path, tmp_path: Path, true: str, lie: str, code: int, text: str
) -> None:
    plan = (folder / "plan.txt").read_text().replace("arch aarch64", "arch x86_64")
    assert true in plan
    done = run(folder, tmp_path, plan.replace(true, lie, 1))
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr


def test_a_kernel_refuses_tensors_it_was_not_compiled_for(folder: Path, tmp_path: Path) -> None:
    """The parser cannot know this: shapes that fit the arena but not the kernel. TVM's check ends the run."""
    plan = (folder / "plan.txt").read_text()
    done = run(folder, tmp_path, plan.replace("float32 2 8 16", "float32 2 16 8", 1))
    assert done.returncode == 1
    assert "step 0 (first / matmul, __tvm_ffi_gemm) failed" in done.stderr


@pytest.mark.parametrize("name", ["weights.bin", "kernels.so"])
def test_one_flipped_bit_or_one_byte_less_is_a_mismatch(folder: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / name).write_bytes(content)
    plan = (folder / "plan.txt").read_text()
    done = run(folder, tmp_path, plan)
    assert done.returncode == 8 and "sha256" in done.stderr and name in done.stderr
    (tmp_path / name).write_bytes(content[:-1])
    done = run(folder, tmp_path, plan)
    assert done.returncode == 8 and "bytes as plan.txt says" in done.stderr


@pytest.mark.parametrize("name", ["weights.bin", "plan.txt", "kernels.so"])
def test_a_missing_file_and_a_folder_in_its_place_are_named(folder: Path, tmp_path: Path, name: str) -> None:
    for other in {"weights.bin", "plan.txt", "kernels.so"} - {name}:
        (tmp_path / other).write_bytes((folder / other).read_bytes())
    for attempt in (lambda: None, lambda: (tmp_path / name).mkdir()):
        attempt()
        done = subprocess.run([folder / "runner", tmp_path], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and name in done.stderr


def test_kernels_that_want_a_tvm_runtime_are_refused(folder: Path, tmp_path: Path) -> None:
    """A pointer variable nobody fills would be a crash in the middle of a run."""
    program = programs.program()
    compiler = need_compiler(program.target)
    for symbol in ("__TVMBackendRegisterSystemLibSymbol", "__TVMFFIFunctionCall"):
        (tmp_path / "kernels.o").write_bytes(program.objects[0])
        plain = link_kernels(program, compiler)
        (tmp_path / "hook.c").write_text(f"void *{symbol};\nextern const char ev_kernels_id[];\n")
        assert symbol.encode() not in plain
        identity = (folder / "plan.txt").read_text().splitlines()[3].split()[1]
        (tmp_path / "identity.c").write_text(
            f'extern const char ev_kernels_id[];\nconst char ev_kernels_id[] = "{identity}";\n'
            'const char *ev_kernel_error(void) { return ""; }\n'
            "void TVMFFIErrorSetRaisedFromCStrParts(void) {}\n"
        )
        compiler.run(["-shared", "-fPIC", "kernels.o", "hook.c", "identity.c", "-lm", "-o", "kernels.so"], cwd=tmp_path)
        content = (tmp_path / "kernels.so").read_bytes()
        lines = (folder / "plan.txt").read_text().splitlines()
        lines[4] = f"kernels.so {len(content)} {hashlib.sha256(content).hexdigest()}"
        done = run(folder, tmp_path, "\n".join(lines) + "\n")
        assert done.returncode == 4 and symbol in done.stderr


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_crashes_the_runner(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    plan = bytearray((folder / "plan.txt").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(plan) - 1))
        plan[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    done = run(folder, tmp_path, bytes(plan))
    assert done.returncode in (0, 1, 2, 4, 5, 8), done.stderr
    assert done.returncode == 0 or done.stderr.startswith("runner: ")
