from __future__ import annotations

import json
import subprocess

import pytest

from edgevision import doctor
from edgevision.cli.group import run


def check(name="x", state="ok", required=True) -> doctor.Check:
    return doctor.Check(name, state, required, "1", "everything", "pip install x")


@pytest.mark.parametrize(
    ("checks", "healthy"),
    [
        ([check()], True),
        ([check(state="missing")], False),
        ([check(state="version")], False),
        ([check(), check(state="missing", required=False)], True),
    ],
)
def test_only_needed_things_make_it_ill(checks, healthy, monkeypatch, capsys):
    diagnosis = doctor.Diagnosis(doctor.SCHEMA, tuple(checks))
    monkeypatch.setattr(doctor, "examine", lambda: diagnosis)
    assert run(["doctor", "--json"]) == (0 if healthy else 3)
    assert json.loads(capsys.readouterr().out)["healthy"] is healthy


def test_what_is_missing_says_what_it_disables_and_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda: doctor.Diagnosis(doctor.SCHEMA, (check(state="missing"),)))
    assert run(["doctor"]) == 3
    out = capsys.readouterr().out
    assert "disables: everything" in out and "get it:   pip install x" in out


def test_this_machine_can_be_examined():
    diagnosis = doctor.examine()
    by_name = {c.name: c for c in diagnosis.checks}
    assert by_name["python"].state == "ok"
    assert by_name["package data"].state == "ok"
    assert by_name["LLVM in TVM"].state == "ok"
    assert all(c.get and c.disables for c in diagnosis.checks)


def test_a_pin_is_compared_without_its_build_label():
    assert doctor.package("pytest", "").state == "ok"
    assert doctor.package("pytest", "0.0.1").state == "version"
    assert doctor.package("no-such-package-anywhere", "1.0").state == "missing"


def test_requirements_for_other_pythons_are_left_out():
    assert doctor.requirement("tomli>=2; python_version < '3.2'") is None


@pytest.mark.parametrize("error", [OSError("gone"), subprocess.TimeoutExpired("x", 10)])
def test_a_tool_that_does_not_answer_is_still_named(error):
    def broken(*args, **kwargs):
        raise error

    assert doctor.version("/usr/bin/tool", broken) == "/usr/bin/tool"
