"""The cache of things built once: bounded, and never in anyone's way."""

import os
import subprocess
import sys

import pytest

from edgevision.cache import Cache


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path))
    return tmp_path


def test_what_was_put_is_found_by_its_key_alone():
    cache = Cache("things")
    cache.put("ab12", b"one")
    assert cache.get("ab12") == b"one"
    assert cache.get("ab13") is None


def test_an_entry_under_another_key_is_not_believed(folder):
    cache = Cache("things")
    cache.put("ab12", b"one")
    (folder / "things/ab/ab12").rename(folder / "things/ab/ab13")
    assert cache.get("ab13") is None
    assert not (folder / "things/ab/ab13").exists()


def test_the_entries_not_used_for_longest_go_first(folder):
    cache = Cache("things", most_bytes=4 * 132)
    for index in range(6):
        cache.put(f"a{index}", bytes(100))
        os.utime(folder / f"things/a{index}/a{index}", (index, index))
    assert cache.get("a0") == bytes(100)
    cache.trim()
    assert [cache.get(f"a{index}") is not None for index in range(6)] == [True, False, False, False, True, True]


def test_a_folder_others_may_write_is_not_used(folder):
    cache = Cache("things")
    cache.put("ab12", b"one")
    (folder / "things").chmod(0o777)
    assert cache.get("ab12") is None


def test_processes_that_write_the_same_entry_leave_a_whole_one(folder):
    text = "from edgevision.cache import Cache\nfor i in range(200): Cache('things').put('ab12', bytes([i]) * 50000)"
    running = [subprocess.Popen([sys.executable, "-c", text]) for _ in range(2)]
    seen = 0
    while any(process.poll() is None for process in running):
        content = Cache("things").get("ab12")
        seen += content is not None
        assert content is None or (len(content) == 50000 and len(set(content)) == 1)
    assert seen and all(process.returncode == 0 for process in running)
    assert [path.name for path in (folder / "things/ab").iterdir()] == ["ab12"]
