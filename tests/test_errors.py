"""What every error promises."""

from __future__ import annotations

import pytest

from edgevision.errors import UsageError


@pytest.mark.parametrize(
    ("hostile", "plain"),
    [("\x1b[31mred\x1b[0m", "red"), ("\x1b]0;title\x07name", "name"), ("\x1b[2Jgone", "gone"), ("a[0m", "a[0m")],
)
def test_text_from_elsewhere_cannot_steer_the_terminal(hostile, plain):
    error = UsageError(hostile, where=hostile, fix=hostile, reasons=[hostile])
    assert (error.what, error.where, error.fix, error.reasons) == (plain, plain, plain, (plain,))
    assert "\x1b" not in str(error)
