"""What this installation has, what it lacks, what each missing thing disables, and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable

import msgspec

from edgevision.errors import EdgeVisionError

SCHEMA = "edgevision.doctor/1"
REPORT_PACKAGE = "edgevision"
PYTHONS = ((3, 10), (3, 12))


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked for.

    Attributes:
        state: "ok", "missing" or "version" (there, but not the version that is known to work).
        required: whether anything at all works without it.
        found: what is there.
        disables: what does not work without it.
        get: the command that brings it.
    """

    name: str
    state: str
    required: bool
    found: str
    disables: str = ""
    get: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """All checks; `healthy` when nothing required is missing."""

    schema: str
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether every required check is ok."""
        return all(check.state == "ok" for check in self.checks if check.required)

    def missing(self) -> list[Check]:
        """The checks that are not ok, required ones first."""
        return sorted((c for c in self.checks if c.state != "ok"), key=lambda c: not c.required)


def examine() -> Diagnosis:
    """Look at this machine; runs a few `--version` commands and loads TVM, changes nothing."""
    checks = [_python(), _data(), *_packages(), _compiler(), _llvm(), *_tools()]
    known = {check.name for check in checks}
    return Diagnosis(SCHEMA, (*checks, *(check for check in _engine() if check.name not in known)))


def _python() -> Check:
    low, high = PYTHONS
    good = low <= sys.version_info[:2] <= high
    return Check(
        "python",
        "ok" if good else "version",
        True,
        platform.python_version(),
        "everything: torch and TVM have wheels for 3.10 to 3.12 only",
        "install python3.11",
    )


def _data() -> Check:
    from edgevision import recipe, target

    try:
        found, state = f"{len(target.names())} targets, {len(recipe.names())} recipes", "ok"
    except EdgeVisionError as error:
        found, state = error.what, "missing"
    return Check("package data", state, True, found, "everything", "pip install --force-reinstall edgevision")


def _packages() -> Iterable[Check]:
    """Every requirement of the package: exact pins must match, lower bounds are left to pip."""
    try:
        requirements = importlib.metadata.requires(REPORT_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("edgevision", "missing", True, "not installed", "the command and its pins", "pip install -e .")
        return
    for text in requirements:
        parsed = requirement(text)
        if parsed is None:
            continue
        name, pin, extra = parsed
        if not extra or extra in _EXTRAS:
            yield package(name, pin, extra)


#: Extras a user may miss, and what each one is for.
_EXTRAS = {
    "board": "building bundles for other boards without a Debian cross compiler, and the rpc device",
    "tune": "deploy --tune: searching faster loops for operators without a kernel of ours",
    "detect": "average precision of detectors",
    "fpga": "the C simulation of the FPGA engine",
    "bench": "the ImageNet-pretrained EfficientNet-Lite0",
}


def requirement(text: str) -> tuple[str, str, str] | None:
    """Name, exact version ("" when only bounded) and extra of a requirement; None when it is not for this Python.

    >>> requirement("torch==2.13.0"), requirement('ziglang==0.17.1; extra == "board"')
    (('torch', '2.13.0', ''), ('ziglang', '0.17.1', 'board'))
    """
    spec, _, marker = text.partition(";")
    older = re.search(r"python_version < ['\"]3\.(\d+)['\"]", marker)
    if older and sys.version_info[1] >= int(older[1]):
        return None
    extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
    match = re.match(r"\s*([A-Za-z0-9_.-]+)\s*(?:==\s*([\w.]+))?", spec)
    return (match[1], match[2] or "", extra[1] if extra else "") if match else None


def package(name: str, pin: str, extra: str = "") -> Check:
    """Whether a package is installed in the version that is known to work."""
    what = _EXTRAS.get(extra, "everything")
    get = (
        f"pip install 'edgevision[{extra}]'" if extra else f"pip install '{name}=={pin}'" if pin else "pip install -e ."
    )
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", not extra, "–", what, get)
    # A local label such as +cpu names a build, not another version.
    good = not pin or found.split("+")[0] == pin
    return Check(
        name, "ok" if good else "version", not extra, found if good else f"{found}, known to work: {pin}", what, get
    )


def _compiler() -> Check:
    path = next((p for n in ("cc", "gcc", "clang") if (p := shutil.which(n))), "")
    zig = importlib.util.find_spec("ziglang") is not None
    return Check(
        "C compiler",
        "ok" if path or zig else "missing",
        True,
        version(path) if path else "zig cc (ziglang)" if zig else "–",
        "deploy: the runner cannot be compiled",
        "apt-get install gcc libc6-dev, or pip install 'edgevision[board]'",
    )


def _llvm() -> Check:
    wanted = {"x86": "x86-64", "aarch64": "AArch64", "arm": "ARM"}
    get = "pip install 'apache-tvm==0.27.0.post1' 'apache-tvm-ffi==0.1.14.post1'"
    if importlib.util.find_spec("tvm") is None:
        return Check("LLVM in TVM", "missing", True, "–", "compiling kernels", get)
    import tvm

    known = {str(name) for name in tvm.get_global_func("target.llvm_get_targets")()}
    lacking = [title for name, title in wanted.items() if not any(k.startswith(name) for k in known)]
    return Check(
        "LLVM in TVM",
        "ok" if not lacking else "version",
        True,
        f"{len(known)} targets" if not lacking else f"without {', '.join(lacking)}",
        "compiling kernels for these architectures",
        get,
    )


def _tools() -> Iterable[Check]:
    """Tools outside Python; none is required."""
    zig = importlib.util.find_spec("ziglang") is not None
    looked_for: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
        ("cross compiler aarch64", ("aarch64-linux-gnu-gcc",), "deploy for rpi3, rpi4, rpi5, android-arm64, ultra96",
         "pip install 'edgevision[board]' (ziglang), or apt-get install gcc-aarch64-linux-gnu"),
        ("cross compiler armv7", ("arm-linux-gnueabihf-gcc",), "deploy for zynq7020-ps, pynq-z2",
         "pip install 'edgevision[board]' (ziglang), or apt-get install gcc-arm-linux-gnueabihf"),
        ("qemu-aarch64", ("qemu-aarch64", "qemu-aarch64-static"), "checking 64-bit ARM bundles without a board",
         "apt-get install qemu-user libc6-arm64-cross"),
        ("qemu-arm", ("qemu-arm", "qemu-arm-static"), "checking 32-bit ARM bundles without a board",
         "apt-get install qemu-user libc6-armhf-cross"),
        ("ssh", ("ssh",), "the ssh device: deploying to a board over the network", "apt-get install openssh-client"),
        ("sshd", ("sshd", "/usr/sbin/sshd"), "the tests of the ssh device", "apt-get install openssh-server"),
        ("chromium", ("chromium", "chromium-browser", "google-chrome"), "the tests of the report",
         "apt-get install chromium"),
    )  # fmt: skip
    for name, programs, disables, get in looked_for:
        path = next((p for program in programs if (p := shutil.which(program))), "")
        found = version(path) if path else "zig cc (ziglang)" if zig and name.startswith("cross") else ""
        yield Check(name, "ok" if found else "missing", False, found or "–", disables, get)


def _engine() -> Iterable[Check]:
    """Tools around the FPGA engine (hw/support.toml); none is required."""
    from edgevision.engine import support

    try:
        tools = support.tools()
    except EdgeVisionError as error:
        yield Check("hw/support.toml", "missing", False, error.what, "knowing the FPGA engine's tools", str(error.fix))
        return
    for tool in tools:
        found = support.found(tool)
        good = support.new_enough(found, tool.oldest)
        tried = f"run here: {', '.join(tool.run)}" if tool.run else "never run by this project"
        said = "" if found in tool.run else f", {tried}" if good else f", expected {tool.oldest} or newer"
        state = "missing" if not found else "ok" if good else "version"
        yield Check(tool.name, state, False, found + said if found else f"– ({tried})", tool.does, tool.get)


def version(path: str, run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> str:
    """First line of `path --version` (or -V), or the path where it does not say."""
    flag = "-V" if path.endswith(("ssh", "sshd", "yosys")) else "--version"
    try:
        done = run([path, flag], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return path
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].strip() if lines and done.returncode == 0 else path
