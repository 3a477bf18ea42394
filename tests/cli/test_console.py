from __future__ import annotations

import io

import pytest

from edgevision.cli import console as consoles
from edgevision.cli.console import Console, duration
from edgevision.cli.profile import cores


def test_progress_away_from_a_terminal_is_a_line_at_the_end_and_now_and_then(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 4))
    monkeypatch.setattr(consoles.time, "monotonic", lambda: next(clock))
    with Console().progress() as progress:
        for done in range(1, 11):
            progress("calibrate", done, 10, f"image {done}")
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 5
    assert "left" in lines[0] and "left" not in lines[-1]
    assert lines[-1].startswith("calibrate 10/10") and lines[-1].endswith("image 10")


def test_quiet_says_nothing(capsys):
    console = Console(verbosity=-1)
    with console.progress() as progress:
        progress("a", 1, 1)
    console.note("hidden")
    assert capsys.readouterr() == ("", "")


def test_names_with_brackets_are_not_markup(capsys):
    console = Console()
    console.table("[red]t[/red]", ["a"], [["[bold]x[/bold]"], ["[/]"]])
    console.say("[link=x]y[/link]")
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out and "[/]" in out and "[link=x]y[/link]" in out


def test_json_mode_prints_no_table(capsys):
    console = Console(as_json=True)
    console.table("t", ["a"], [["x"]])
    console.say("words")
    console.result({"schema": "s/1"})
    assert capsys.readouterr().out == '{\n "schema": "s/1"\n}\n'


def test_no_colour_where_it_is_not_wanted(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console()
    console.err.file = io.StringIO()
    console.err._force_terminal = True
    console.error(__import__("edgevision.errors").errors.UsageError("x"))
    assert "\x1b[31" not in console.err.file.getvalue()


@pytest.mark.parametrize(("seconds", "words"), [(9.96, "10 s"), (59.6, "1 min 00 s"), (3599.6, "1 h 00 min")])
def test_durations_never_show_sixty(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize("text", ["a", "1-", "-1", "0,x", "1-b"])
def test_affinity_takes_core_numbers_only(text):
    from edgevision.errors import UsageError

    with pytest.raises(UsageError, match="such as 0,2-3"):
        cores(text)
