"""Tools outside Python that tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def require_tools(*names: str) -> None:
    """Skip the test where a tool is missing; on CI, where none may be, fail it."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
