from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevision.errors import UsageError
from edgevision.workspace import Workspace, slug


def put(path: Path, age: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    os.utime(path, (1000 - age, 1000 - age))
    return path.parent


@given(st.text(min_size=1))
def test_a_slug_is_one_plain_file_name(text):
    assert re.fullmatch(r"[A-Za-z0-9_+@][A-Za-z0-9_.+@-]*|[A-Za-z0-9_.+@-]*[A-Za-z0-9_+@]", slug(text))
    assert slug(text) not in (".", "..") and "/" not in slug(text)


def test_the_newest_is_meant_when_none_is_named(tmp_path):
    space = Workspace(tmp_path)
    put(tmp_path / "compressed/old/compressed.json", 9)
    new = put(tmp_path / "compressed/new/compressed.json", 1)
    put(tmp_path / "compressed/.aside.x/compressed.json", 0)
    assert space.find_compressed(None) == new
    assert [path.name for path in space.all_compressed()] == ["old", "new"]


def test_a_name_or_a_folder_finds_it(tmp_path):
    space = Workspace(tmp_path)
    folder = put(tmp_path / "bundles/net@host/manifest.json", 0)
    assert space.find_bundle("net@host") == folder
    assert space.find_bundle(str(folder)) == folder


def test_an_unknown_name_lists_what_is_there(tmp_path):
    put(tmp_path / "bundles/net@host/manifest.json", 0)
    with pytest.raises(UsageError) as caught:
        Workspace(tmp_path).find_bundle("net@rpi4")
    assert "net@host" in str(caught.value)


def test_profiles_keep_earlier_ones(tmp_path):
    space = Workspace(tmp_path)
    first = space.profile("ssh:pi@10.0.0.7", 2, datetime(2026, 1, 1, tzinfo=timezone.utc))
    second = space.profile("ssh:pi@10.0.0.7", 2, datetime(2026, 1, 2, tzinfo=timezone.utc))
    assert first != second and first.parent == second.parent and first.name.startswith("ssh-pi@10.0.0.7-2t-")


def test_paths_of_data_do_not_leave_the_folder(tmp_path):
    space = Workspace(tmp_path)
    for data in ("folder:/etc/passwd", "folder:../../x", "imagenet:..", "folder:a/b/"):
        for path in (space.weights("m", data), space.compressed("m", data, "r"), space.bundle(data, "host")):
            assert path.resolve().parent.parent == tmp_path.resolve()
