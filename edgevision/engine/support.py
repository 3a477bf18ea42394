"""Tools around the engine and their versions (hw/support.toml): which are expected to work, which were run here."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess

import msgspec

from edgevision.errors import UsageError
from edgevision.resources import shipped


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One tool.

    Attributes:
        program, package: what is looked for, a program or a Python package.
        oldest: version from which on it is expected to work.
        run: versions this project has run; none where it never was.
        does: what does not work without it.
        flag: makes the program say its version.
        ask: lines to give to a program that says its version in no other way.
    """

    name: str
    oldest: str
    run: tuple[str, ...]
    does: str
    get: str
    program: str = ""
    package: str = ""
    flag: str = "--version"
    ask: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tools: tuple[Tool, ...]


def tools() -> tuple[Tool, ...]:
    """The tools of hw/support.toml.

    Raises:
        UsageError: the file is not what it should be.
    """
    path = shipped("hw") / "support.toml"
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_File).tools
    except msgspec.DecodeError as error:
        raise UsageError(f"cannot read the versions of tools: {error}", where=str(path),
                         fix="pip install --force-reinstall edgevision") from error  # fmt: skip


def found(tool: Tool) -> str:
    """Version of `tool` on this machine; "" where it is not, "unknown" where it does not say."""
    if tool.package:
        try:
            return importlib.metadata.version(tool.package)
        except importlib.metadata.PackageNotFoundError:
            return ""
    path = shutil.which(tool.program)
    if path is None:
        return ""
    command, lines = ([path], "\n".join(tool.ask)) if tool.ask else ([path, tool.flag], "")
    try:
        done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return version_in(done.stdout + done.stderr) or "unknown"


def version_in(text: str) -> str:
    """The first version number of `text`.

    >>> version_in("Vitis HLS v2022.2 (64-bit)"), version_in("g++ (Debian 12.2.0-14) 12.2.0"), version_in("none")
    ('2022.2', '12.2.0', '')
    """
    match = re.search(r"(?<![\w.])v?(\d+(?:\.\d+)+)", text)
    return match[1] if match else ""


def new_enough(version: str, oldest: str) -> bool:
    """Whether `version` is `oldest` or newer; what is unknown passes.

    >>> new_enough("2022.10", "2022.2"), new_enough("11.4.0", "12"), new_enough("unknown", "12")
    (True, False, True)
    """
    numbers = [[int(part) for part in re.findall(r"\d+", one)] for one in (version, oldest)]
    return not numbers[0] or numbers[0] >= numbers[1]
