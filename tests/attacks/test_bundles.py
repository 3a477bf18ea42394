"""Bundles that lie: each refused while loading, before anything in them is used."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import programs

from edgevision import bundle
from edgevision.errors import EdgeVisionError, Mismatch, UsageError


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return programs.bundled(tmp_path_factory.mktemp("attacks") / "good")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "b")
    return tmp_path / "b"


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def refused(folder: Path, kind: type[EdgeVisionError], text: str) -> None:
    with pytest.raises(kind) as caught:
        bundle.load(folder)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["plan.txt", "weights.bin", "kernels.so", "runner", "golden/input_0.bin"])
def test_one_flipped_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 3] ^= 0x10
    (folder / name).write_bytes(content)
    refused(folder, Mismatch, f"{name}: expected sha256")


@pytest.mark.parametrize("size", [0, 1, 577, 2**62, -1])
def test_a_size_that_lies_is_found(folder: Path, size: int) -> None:
    edit(folder, lambda m: m["files"][[f["path"] for f in m["files"]].index("weights.bin")].update(size=size))
    refused(folder, Mismatch, "weights.bin: expected")


ESCAPES = ["../b/weights.bin", "/etc/passwd", "golden/../weights.bin", "./weights.bin", "golden//input_0.bin", "", ".."]
ODD = ["a\0b", "a\nb", "C:\\x", "$(id)", "a b"]


@pytest.mark.parametrize("name", [*ESCAPES, *ODD])
def test_a_name_that_leaves_the_folder_or_is_not_plain_is_refused(folder: Path, name: str) -> None:
    edit(folder, lambda m: m["files"].append({"path": name, "size": 0, "sha256": "0" * 64}))
    refused(folder, Mismatch, "plain relative name")


def test_a_golden_vector_outside_the_list_is_refused(folder: Path) -> None:
    edit(folder, lambda m: m["golden"][0].update(input="../secret"))
    refused(folder, Mismatch, "../secret")


def test_links_are_refused_even_to_the_same_content(folder: Path, good: Path) -> None:
    (folder / "weights.bin").unlink()
    (folder / "weights.bin").symlink_to(good / "weights.bin")
    refused(folder, Mismatch, "is a link")


def test_a_link_to_a_folder_and_a_pipe_are_refused(folder: Path, good: Path) -> None:
    shutil.rmtree(folder / "golden")
    (folder / "golden").symlink_to(good / "golden")
    os.mkfifo(folder / "pipe")
    with pytest.raises(Mismatch) as caught:
        bundle.load(folder)
    text = str(caught.value)
    assert "'golden' is a link" in text and "'pipe' is a link or another thing" in text


def test_missing_and_extra_files_are_all_named(folder: Path) -> None:
    (folder / "plan.txt").unlink()
    (folder / "kernels.so").unlink()
    (folder / "extra.so").write_bytes(b"")
    with pytest.raises(Mismatch) as caught:
        bundle.load(folder)
    assert len(caught.value.reasons) == 3


def test_a_file_listed_twice_and_one_not_listed_are_refused(folder: Path) -> None:
    edit(folder, lambda m: m["files"].append(m["files"][0]))
    refused(folder, Mismatch, "listed twice")
    edit(folder, lambda m: m.update(files=[f for f in m["files"] if f["path"] != "kernels.so"]))
    refused(folder, Mismatch, "does not list 'kernels.so'")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected a file of"),
        (b"{", "not a manifest"),
        (b"[]", "not a manifest"),
        (b"\xff\xfe", "not a manifest"),
        (b"[" * 100_000, "not a manifest"),
        (b'{"schema": "edgevision.bundle/2"}', "expected schema edgevision.bundle/1"),
        (b'{"schema": "edgevision.bundle/1"}', "missing required field"),
    ],
)
def test_a_file_that_is_no_manifest_is_a_usage_error(folder: Path, content: bytes, text: str) -> None:
    (folder / "manifest.json").write_bytes(content)
    refused(folder, UsageError, text)


def test_an_unknown_field_and_a_wrong_type_are_refused(folder: Path) -> None:
    edit(folder, lambda m: m.update(surprise=1))
    refused(folder, UsageError, "surprise")
    edit(folder, lambda m: (m.pop("surprise"), m.update(arena_bytes="many")))
    refused(folder, UsageError, "arena_bytes")


def test_no_bundle_and_a_manifest_that_is_a_link_are_usage_errors(folder: Path, good: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", UsageError, "edgevision deploy")
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to(good / "manifest.json")
    refused(folder, UsageError, "a link")


def test_shapes_that_disagree_with_the_plan_never_reach_memory(folder: Path) -> None:
    """The manifest says the output is larger than the plan's buffer: Python must not read past it."""
    from edgevision.device.host import HostDevice

    edit(folder, lambda m: m["outputs"][0].update(shape=[4, 1_000_000]))
    device = HostDevice()
    device.push(folder)
    with pytest.raises(Mismatch, match="the plan has 256"):
        device.run(programs.images())
