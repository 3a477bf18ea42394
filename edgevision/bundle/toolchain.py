"""C compilers: which ones can build for a target, in which order they are tried, and how to get one.

On the machine's own architecture its C compiler comes first; for any other architecture `ziglang`, a cross compiler
in a Python wheel, comes before Debian's cross compilers. A static file is linked with musl by zig where it is
installed; any other compiler links its own static libc.

Android: a static musl file for aarch64 needs nothing of Android but the kernel, so it runs there from a shell
(`adb push`, /data/local/tmp). A program that has to live inside an app needs the NDK, which is not used here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevision.errors import ToolMissing, Unsupported, UsageError
from edgevision.files import explained
from edgevision.machine import machine_arch
from edgevision.target import Arch, Target

#: Oldest glibc a dynamic bundle runs on when zig links it (Debian 10, Ubuntu 18.10 and later have it).
GLIBC_FLOOR = "2.28"
ZIGLANG = "0.17.1"

_TIMEOUT_S = 300
#: How gcc, clang, the linkers and zig say that a file could not be written.
_FULL = re.compile(r"no space left on device|NoSpaceLeft|disk quota exceeded|DiskQuota", re.IGNORECASE)
_ZIG_TARGETS = {
    "x86_64": (f"x86_64-linux-gnu.{GLIBC_FLOOR}", "x86_64-linux-musl"),
    "aarch64": (f"aarch64-linux-gnu.{GLIBC_FLOOR}", "aarch64-linux-musl"),
    "armv7": (f"arm-linux-gnueabihf.{GLIBC_FLOOR}", "arm-linux-musleabihf"),
}
_CROSS = {
    "x86_64": "x86_64-linux-gnu-gcc",
    "aarch64": "aarch64-linux-gnu-gcc",
    "armv7": "arm-linux-gnueabihf-gcc",
}
_CROSS_PACKAGE = {
    "x86_64": "gcc-x86-64-linux-gnu",
    "aarch64": "gcc-aarch64-linux-gnu",
    "armv7": "gcc-arm-linux-gnueabihf",
}


@dataclass(frozen=True)
class Compiler:
    """One C compiler for one architecture.

    Attributes:
        name: what a person calls it: "cc", "zig", "aarch64-linux-gnu-gcc".
        command: the words before the sources; target flags included.
        version: what it says of itself, one line; part of the bundle's record.
        static: whether `command` links static files.
    """

    name: str
    command: tuple[str, ...]
    version: str
    arch: Arch
    static: bool = False

    def run(self, arguments: Sequence[str], *, cwd: Path) -> None:
        """Compile or link in folder `cwd`; relative names keep the folder out of the result.

        Raises:
            ToolMissing: the compiler failed; its last lines are the reasons.
            UsageError: it had no room to write.
        """
        try:
            with explained(cwd):
                done = subprocess.run(
                    [*self.command, *arguments],
                    cwd=cwd,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=_TIMEOUT_S,
                    check=False,
                    # In any other language the reason of a failure would not be recognised.
                    env=os.environ | {"LC_ALL": "C"},
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolMissing(f"the C compiler could not be run: {error}", where=self.name) from error
        if done.returncode and _FULL.search(done.stderr):
            raise UsageError(
                "the disk is full: the C compiler had no room for its files; nothing was changed",
                where=f"{self.name}, working in {cwd}, temporary files in {tempfile.gettempdir()}",
                reasons=done.stderr.strip().splitlines()[-3:],
                fix="free some space there, or name a folder with room: TMPDIR=/path edgevision ...",
            )
        if done.returncode:
            raise ToolMissing(
                f"the C compiler failed with exit code {done.returncode}",
                where=f"{self.name} ({self.version}) for {self.arch}",
                reasons=done.stderr.strip().splitlines()[-12:],
                fix="edgevision doctor lists the compilers; install another one, or set CC for this machine",
            )


def find_compilers(target: Target, *, static: bool = False) -> list[Compiler]:
    """Return the C compilers that build for `target`, the one to use first.

    Args:
        static: whether the result has to be one static file.

    Raises:
        Unsupported: the target's C library is not one any of them links.
    """
    if target.libc == "bionic":
        raise Unsupported(
            "linking with Android's own C library needs the NDK, which is not used here",
            where=f"target {target.name}",
            fix='set libc = "musl": the static file runs on Android as well',
        )
    native = _machine() == target.arch
    candidates = [*_native(target.arch, static)] if native else []
    zig = _zig(target.arch, static)
    cross = _cross(target.arch, static)
    # musl makes the smaller static file and the one without glibc's caveats about static linking.
    order = [*zig, *candidates, *cross] if static or not native else [*candidates, *zig, *cross]
    return order


def need_compiler(target: Target, *, static: bool = False) -> Compiler:
    """Return the first of `find_compilers`.

    Raises:
        ToolMissing: there is none; says what to install.
    """
    found = find_compilers(target, static=static)
    if found:
        return found[0]
    package = _CROSS_PACKAGE[target.arch]
    raise ToolMissing(
        f"expected a C compiler for {target.arch}, found none",
        where=f"target {target.name}",
        fix=f"pip install ziglang=={ZIGLANG}, or apt-get install {package}",
    )


def _machine() -> Arch | None:
    try:
        return machine_arch(platform.machine())
    except Unsupported:
        return None


def _native(arch: Arch, static: bool) -> list[Compiler]:
    named = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else []
    found: list[Compiler] = []
    for words in [*named, ["cc"], ["gcc"], ["clang"]]:
        path = shutil.which(words[0])
        if path and all(Path(path).resolve() != Path(c.command[0]).resolve() for c in found):
            found.append(_compiler(words[0], [path, *words[1:]], arch, static))
    return found


def _cross(arch: Arch, static: bool) -> list[Compiler]:
    path = shutil.which(_CROSS[arch])
    return [_compiler(_CROSS[arch], [path], arch, static)] if path else []


def _zig(arch: Arch, static: bool) -> list[Compiler]:
    if importlib.util.find_spec("ziglang") is None:
        return []
    command = (sys.executable, "-m", "ziglang", "cc", "-target", _ZIG_TARGETS[arch][static])
    version = f"zig {importlib.metadata.version('ziglang')}, {_ZIG_TARGETS[arch][static]}"
    return [Compiler("zig", (*command, "-static") if static else command, version, arch, static)]


def _compiler(name: str, words: list[str], arch: Arch, static: bool) -> Compiler:
    command = (*words, "-static") if static else tuple(words)
    return Compiler(name, command, _version(words), arch, static)


def _version(words: list[str]) -> str:
    try:
        done = subprocess.run([*words, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown version"
    return (done.stdout.splitlines() or ["unknown version"])[0]
