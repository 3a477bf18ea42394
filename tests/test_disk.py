"""A disk that is full, and a limit on the size of files: said with path, bytes and fix, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.images import classes, files, write_folder

from edgevision import api
from edgevision import files as writing
from edgevision.cache import Cache
from edgevision.cli.group import run
from edgevision.compress.train_settings import TrainSettings
from edgevision.compress.train_state import RunIdentity, TrainState, load_state, save_state
from edgevision.compress.work import Rows
from edgevision.errors import UsageError


@pytest.fixture
def full(monkeypatch):
    """From the call on, nothing reaches the disk any more."""

    def fill() -> None:
        def no_space(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(writing.os, "fsync", no_space)

    return fill


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(full, tmp_path):
    path = tmp_path / "weights"
    writing.write_atomic(path, b"old")
    full()
    with pytest.raises(UsageError, match=r"disk is full: 5 bytes(.|\n)*weights(.|\n)*free some space"):
        writing.write_atomic(path, b"newer")
    assert everything(tmp_path) == {"weights": b"old"}


def test_a_full_disk_leaves_the_old_folder(full, tmp_path):
    with writing.folder_aside(tmp_path / "bundle", overwrite=False) as folder:
        writing.write_atomic(folder / "a", b"old")
    full()
    with (
        pytest.raises(UsageError, match="disk is full"),
        writing.folder_aside(tmp_path / "bundle", overwrite=True) as folder,
    ):
        (folder / "a").write_bytes(b"new")
        writing.write_atomic(folder / "b", b"more")
    assert everything(tmp_path) == {"bundle/a": b"old"}


def test_a_file_past_the_limit_of_the_process_is_a_usage_error(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    code = (
        "import resource, sys; from pathlib import Path; from edgevision.files import write_atomic\n"
        "from edgevision.errors import UsageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_atomic(Path(sys.argv[1]), b'x' * 10000)\n"
        "except UsageError as error: print(error); sys.exit(error.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "10000 bytes" in done.stdout and "ulimit -f" in done.stdout and str(tmp_path / "a") in done.stdout
    assert everything(tmp_path) == {"a": b"old"}


def test_a_training_state_that_does_not_fit_leaves_the_one_before(full, tmp_path):
    identity = RunIdentity(TrainSettings(epochs=2), "digits", "0", 0, 1, 1)
    save_state(tmp_path / "state", identity, TrainState({"w": torch.ones(2)}, {}, {}, ()))
    full()
    with pytest.raises(UsageError, match="disk is full"):
        save_state(tmp_path / "state", identity, TrainState({"w": torch.zeros(2)}, {}, {}, ()))
    assert load_state(tmp_path / "state", identity).network["w"].tolist() == [1, 1]
    assert len(everything(tmp_path)) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_row_that_cannot_be_written_is_an_error_with_its_path():
    with pytest.raises(UsageError, match=r"disk is full(.|\n)*/dev/full"):
        Rows(Path("/dev/full")).get("accuracy", lambda: 1.0)


def test_a_cache_on_a_full_disk_only_costs_time(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path))

    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("edgevision.cache.os.fdopen", no_space)
        Cache("kernels").put("ab" * 32, b"code")
    assert Cache("kernels").get("ab" * 32) is None and everything(tmp_path) == {}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Six images trained on, compressed, deployed and reported."""
    folder = tmp_path_factory.mktemp("disk")
    names = [*classes("train/", count=3), *classes("test/", count=2)]
    data = f"folder:{write_folder(folder / 'pets', files(*names))}"
    out = ["--out", str(folder / "out"), "--quiet"]
    small = ["--epochs", "1", "--image-size", "32"]
    assert run(["train", "--model", "mobilenet_v2", "--data", data, *small, *out]) == 0
    assert run(["compress", "--model", "mobilenet_v2", "--data", data, "--recipe", "fp32", *out]) == 0
    assert run(["deploy", "--target", "host", *out]) == 0
    assert run(["report", *out]) == 0
    return folder / "out"


def test_six_images_are_enough_to_train_on(made):
    (path,) = (made / "weights").iterdir()
    from edgevision.zoo.weights import read_checkpoint

    assert read_checkpoint(path).meta.detail["batch"] == 6


def test_a_finished_training_is_not_replaced_by_resuming_it(made):
    data = f"folder:{made.parent / 'pets'}"
    with pytest.raises(UsageError, match="already there"):
        api.train("mobilenet_v2", data, out=made, resume=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress", "--model", "mobilenet_v2", "--recipe", "fp32"],
        ["deploy", "--target", "host"],
        ["report"],
    ],
)
def test_each_command_on_a_full_disk_says_so_and_loses_nothing(made, full, capsys, arguments):
    before = everything(made)
    full()
    assert run([*arguments, "--out", str(made), "--overwrite", "--json", "--quiet"]) == 2
    problem = json.loads(capsys.readouterr().out)
    assert "disk is full" in problem["what"] and str(made) in problem["where"] and "free some space" in problem["fix"]
    assert everything(made) == before


def test_weights_that_do_not_fit_leave_the_old_ones(made, full, capsys):
    before = everything(made)
    full()
    data = f"folder:{made.parent / 'pets'}"
    again = ["train", "--model", "mobilenet_v2", "--data", data, "--epochs", "1", "--image-size", "32", "--overwrite"]
    assert run([*again, "--out", str(made), "--quiet"]) == 2
    assert "disk is full" in capsys.readouterr().err and everything(made) == before
