"""Versions of the tools around the engine."""

import msgspec
import pytest

from edgevision import doctor
from edgevision.engine import support


def test_the_file_says_which_tools_were_never_run():
    tools = {tool.name: tool for tool in support.tools()}
    assert all(bool(tool.program) != bool(tool.package) for tool in tools.values())
    assert [name for name, tool in tools.items() if not tool.run] == ["Vitis HLS", "Vivado", "pynq"]
    assert all(support.new_enough(version, tool.oldest) for tool in tools.values() for version in tool.run)


def test_a_program_s_version_is_compared(tmp_path, monkeypatch):
    program = tmp_path / "vitis_hls"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for said, state in (("v2021.1", "version"), ("v2023.1", "ok"), ("", "ok")):
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
        (check,) = (one for one in doctor.examine().checks if one.name == "Vitis HLS")
        assert check.state == state and not check.required
        assert ("expected 2022.2" in check.found) == (state == "version")
        assert ("never run by this project" in check.found) == (state == "ok")


def test_what_is_not_here_is_missing():
    nothing = support.Tool(name="x", oldest="1", run=(), does="", get="", program="no-such-program")
    assert support.found(nothing) == ""
    assert support.found(msgspec.structs.replace(nothing, program="", package="no-such-package")) == ""


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "support.toml").write_text("tools = 3")
    monkeypatch.setattr(support, "shipped", lambda _: tmp_path)
    with pytest.raises(support.UsageError, match="versions of tools"):
        support.tools()
    (check,) = doctor._engine()
    assert (check.name, check.state) == ("hw/support.toml", "missing")
