from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgevision import errors
from edgevision.cli import group, listing, options
from edgevision.cli.group import run

OUT = ["--out", "nowhere"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("EDGEVISION_OUT", raising=False)


def raising(monkeypatch, error: BaseException) -> None:
    def fail():
        raise error

    monkeypatch.setitem(listing.LISTS, "recipes", fail)


def test_result_goes_to_stdout_and_nothing_to_stderr(capsys):
    assert run(["list", "recipes"]) == 0
    shown = capsys.readouterr()
    assert "w8a8" in shown.out and shown.err == ""


def test_json_is_one_object_with_a_schema_before_or_after_the_verb(capsys):
    for arguments in (["list", "targets", "--json"], ["--json", "list", "targets"]):
        assert run(arguments) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["schema"] == "edgevision.list/1"
        assert "rpi4" in [item["name"] for item in shown["items"]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError, 2),
        (errors.ToolMissing, 3),
        (errors.Unsupported, 4),
        (errors.DoesNotFit, 5),
        (errors.AccuracyMissed, 6),
        (errors.DeviceError, 7),
        (errors.Mismatch, 8),
    ],
)
def test_each_error_has_its_exit_code_and_is_shown_whole(error, code, monkeypatch, capsys):
    raising(monkeypatch, error("expected a, got [b]", where="here", fix="do c", reasons=["one", "two"]))
    assert run(["list", "recipes"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    for words in ("expected a, got [b]", "- one", "- two", "where: here", "fix:   do c"):
        assert words in shown.err


def test_errors_are_json_too(monkeypatch, capsys):
    raising(monkeypatch, errors.DoesNotFit("too big", reasons=["512 MiB"]))
    assert run(["list", "recipes", "--json"]) == 5
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema"], shown["kind"], shown["exit_code"]) == ("edgevision.error/1", "does not fit", 5)
    assert shown["reasons"] == ["512 MiB"]


def test_a_bug_is_one_with_its_traceback_saved(monkeypatch, capsys):
    raising(monkeypatch, ZeroDivisionError("by zero"))
    assert run(["list", "recipes"]) == 1
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown and "Traceback" not in shown
    saved = Path(shown.split("traceback saved in ")[1].split()[0])
    assert "edgevision list recipes" in saved.read_text() and "Traceback" in saved.read_text()


def test_verbose_shows_the_traceback(monkeypatch, capsys):
    raising(monkeypatch, ZeroDivisionError("by zero"))
    assert run(["list", "recipes", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_gives_the_command_that_goes_on(monkeypatch, capsys):
    def fail(*_, **__):
        raise KeyboardInterrupt("3 of 10 epochs are kept")

    monkeypatch.setattr("edgevision.api.train", fail)
    assert run(["train", "--model", "cas_vit", "--overwrite", "--data", "folder:my photos"]) == 130
    said = capsys.readouterr().err
    assert "3 of 10 epochs are kept" in said
    assert "edgevision train --model cas_vit --overwrite --data 'folder:my photos' --resume\n" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "recipes"], "nothing of it is kept; start again with: edgevision list recipes"),
        (["profile", "a"], "nothing of it is kept; start again with: edgevision profile a"),
        (["--json", "compress", "--resume"], "go on with: edgevision --json compress --resume"),
        (["deploy", "--tune", "10"], "in the cache; go on with: edgevision deploy --tune 10"),
    ],
)
def test_an_interrupted_command_says_only_what_is_so(arguments, said):
    assert group.after_interruption(arguments).endswith(said)


def test_nothing_asked_for_is_answered_with_help(capsys):
    assert run([]) == 0
    shown = capsys.readouterr()
    assert "compress" in shown.out and "Usage" in shown.out and shown.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compres"], "did you mean 'compress'"),
        (["list", "recipe"], "list --help"),
        (["list"], "Missing argument"),
        (["--seed", "-1", "list", "recipes"], "--seed"),
        (["compress", "--model", "cas_vit", "--recipe", "w8a9", *OUT], "did you mean 'w8a8'"),
        (["compress", "--model", "cas_vit", "--recipe", "w8a8", *OUT], "edgevision train --model cas_vit_xs"),
        (["compress", "--model", "cas_vti", "--recipe", "fp32", "--random-weights", *OUT], "did you mean 'cas_vit"),
        (["compress", "--model", "cas_vit", "--recipe", "fp32", "--data", "digts", *OUT], "did you mean 'digits'"),
        (["train", "--model", "cas_vti", *OUT], "did you mean 'cas_vit"),
        (["train", "--model", "cas_vit", "--data", "foler:x", *OUT], "did you mean 'folder'"),
        (["train", "--model", "cas_vit", "--batch", "5000", *OUT], "expected a batch of 2 to 1347 images, got 5000"),
        (["check", "--target", "rpi4", *OUT], "there is no compressed network yet"),
        (["check", "no.onnx", "--target", "rpi4", *OUT], "No such file"),
        (["deploy", "--target", "host", *OUT], "edgevision compress --model"),
        (["deploy", "x", "--target", "host", "--device", "host", *OUT], "add --run"),
        (["verify", *OUT], "there is no bundle yet"),
        (["verify", "other", *OUT], "there is no bundle 'other'"),
        (["profile", *OUT], "edgevision deploy --target host"),
        (["report", *OUT], "nothing to report"),
    ],
)
def test_usage_errors_say_what_to_do(arguments, words, capsys):
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert words in " ".join(shown.err.split()) and shown.out == ""
    assert not Path("nowhere").exists()


def test_flags_before_the_verb_are_kept_and_those_after_it_win():
    settings = options.merged(options.Settings(), {"seed": 3, "as_json": True, "out": None, "verbose": 0})
    again = options.merged(settings, {"seed": 0, "as_json": False, "out": Path("x"), "other": 1})
    assert (again.seed, again.as_json, again.out) == (0, True, Path("x"))


def test_out_may_come_from_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("EDGEVISION_OUT", "from-environment")
    assert run(["verify"]) == 2
    assert "from-environment" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--out", "named", "verify"], ["verify", "--out", "named"]])
def test_out_on_the_command_line_outranks_the_environment(monkeypatch, capsys, arguments):
    monkeypatch.setenv("EDGEVISION_OUT", "from-environment")
    assert run(arguments) == 2
    assert "named" in capsys.readouterr().err


def test_every_verb_has_help():
    for verb in group.VERBS:
        assert run([verb, "--help"]) == 0


def test_help_is_quick_because_it_imports_neither_torch_nor_tvm():
    code = (
        "import sys, edgevision.cli.group as m; code = m.run(['--help']);"
        "sys.exit(code or sum(n in sys.modules for n in ('torch', 'tvm', 'onnx', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in group.VERBS)


def test_rooms_that_are_verbs_are_both_module_and_function():
    import edgevision
    import edgevision.compress.compressed
    import edgevision.profile.statistics

    assert edgevision.compress.compressed.SCHEMA.startswith("edgevision.compressed/")
    for verb in edgevision.__all__:
        assert callable(getattr(edgevision, verb))
    with pytest.raises(errors.UsageError, match="no compressed network yet"):
        edgevision.deploy(out="nowhere")
    with pytest.raises(errors.UsageError, match="nothing to report"):
        edgevision.report(out="nowhere")


def test_unknown_model_is_answered_with_the_nearest_name(tmp_path, capsys):
    assert run(["--out", str(tmp_path), "compress", "--model", "cas_vot", "--recipe", "fp32"]) == 2
    assert "did you mean 'cas_vit'?" in capsys.readouterr().err
