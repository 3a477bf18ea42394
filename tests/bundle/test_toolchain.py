from pathlib import Path

import msgspec
import pytest
from helpers import programs

from edgevision.bundle import toolchain
from edgevision.errors import ToolMissing, Unsupported, UsageError
from edgevision.target import load as load_target


def test_zig_builds_for_every_architecture_and_names_the_glibc_it_needs() -> None:
    for name in ("rpi4", "zynq7020-ps"):
        first = toolchain.find_compilers(load_target(name))[0]
        assert first.name == "zig"
        assert first.version.endswith(".2.28")


def test_the_machines_own_compiler_comes_first_and_cc_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    assert toolchain.find_compilers(programs.host())[0].name == "cc"
    mine = tmp_path / "mycc"
    mine.write_text("#!/bin/sh\necho my compiler 1.0\n")
    mine.chmod(0o755)
    monkeypatch.setenv("CC", f"{mine} -m64")
    first = toolchain.find_compilers(programs.host())[0]
    assert first.command == (str(mine), "-m64")
    assert first.version == "my compiler 1.0"


def test_no_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing) as caught:
        toolchain.need_compiler(load_target("zynq7020-ps"))
    assert "ziglang" in str(caught.value) and "gcc-arm-linux-gnueabihf" in str(caught.value)


def test_bionic_is_refused_with_the_way_round() -> None:
    target = msgspec.structs.replace(load_target("android-arm64"), libc="bionic")
    with pytest.raises(Unsupported, match="musl"):
        toolchain.find_compilers(target)


def test_a_compiler_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int f(void) { return x; }\n")
    with pytest.raises(ToolMissing) as caught:
        toolchain.need_compiler(programs.host()).run(["-c", "bad.c"], cwd=tmp_path)
    assert any("x" in reason for reason in caught.value.reasons)


@pytest.mark.parametrize("said", ["/tmp/cc1.s: No space left on device", "error: unable to link: NoSpaceLeft"])
def test_a_compiler_without_room_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    fake = tmp_path / "cc"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo fake 1 && exit 0\necho "{said}" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    with pytest.raises(UsageError, match="the disk is full") as caught:
        toolchain.need_compiler(programs.host()).run(["-c", "x.c"], cwd=tmp_path)
    assert caught.value.reasons == (said,)
    assert "TMPDIR" in str(caught.value) and str(tmp_path) in str(caught.value)
