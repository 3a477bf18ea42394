"""Programs from outside Python that some tests need."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def need(*places: str) -> None:
    """Skip the test when a program (or, with a slash, a file) is missing; on CI, where all are installed, fail it."""
    missing = [place for place in places if not (Path(place).exists() if "/" in place else shutil.which(place))]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"missing on CI: {', '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
