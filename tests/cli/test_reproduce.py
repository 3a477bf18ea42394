"""`reproduce` on a small network: the same bytes again, from the compressed network and from the user's file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest
from helpers.tiny import tiny_network

from edgevision import bundle as bundles
from edgevision.bundle.manifest import NAME, read_manifest
from edgevision.cli.group import run
from edgevision.files import sha256_of


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A w8a8 network and its bundle, made with one layer in float."""
    folder = tmp_path_factory.mktemp("reproduce")
    tiny_network(folder / "tiny.onnx")
    common = ["--out", str(folder / "out"), "--quiet"]
    compress = ["compress", "--model", str(folder / "tiny.onnx"), "--recipe", "w8a8", "--data", "digits"]
    assert run([*compress, "--keep-fp", "head", "--limit", "20", "--no-sensitivity", *common]) == 0
    assert run(["deploy", "--target", "host", *common]) == 0
    return folder


def reproduced(capsys, out: Path, *arguments: str, code: int = 0) -> dict:
    capsys.readouterr()
    got = run(["reproduce", "--out", str(out), "--json", "--quiet", *arguments])
    shown = capsys.readouterr()
    assert got == code, shown.err
    return json.loads(shown.out)


def test_two_builds_of_one_command_have_one_hash(made, capsys):
    found = reproduced(capsys, made / "out")
    folder = made / "out/bundles/tiny-digits-w8a8@host"
    assert found["manifest_sha256"] == sha256_of(folder / NAME)
    assert found["files"] == len(bundles.load(folder).manifest.files)
    assert found["network"] == str(made / "out/compressed/tiny-digits-w8a8")


def test_the_whole_way_from_the_weights_gives_it_too(made, capsys, tmp_path):
    assert reproduced(capsys, made / "out", "--again")["network"] is None
    # The file has moved and the compressed network is gone.
    moved = shutil.copy(made / "tiny.onnx", tmp_path / "renamed.onnx")
    bundle = shutil.copytree(made / "out/bundles/tiny-digits-w8a8@host", tmp_path / "bundle")
    assert reproduced(capsys, tmp_path / "empty", str(bundle), "--model", str(moved))["network"] is None


def test_another_file_of_that_name_is_not_taken(made, capsys, tmp_path):
    tiny_network(tmp_path / "tiny.onnx", seed=1)
    problem = reproduced(capsys, made / "out", "--again", "--model", str(tmp_path / "tiny.onnx"), code=2)
    assert "has changed" in problem["what"] and "--model" in problem["fix"]


def test_versions_that_differ_are_named_before_the_files(made, capsys, tmp_path):
    bundle = shutil.copytree(made / "out/bundles/tiny-digits-w8a8@host", tmp_path / "bundle")
    weights = bytearray((bundle / "weights.bin").read_bytes())
    weights[0] ^= 1
    (bundle / "weights.bin").write_bytes(weights)

    found = read_manifest(bundle)
    files = tuple(
        msgspec.structs.replace(entry, sha256=sha256_of(bundle / "weights.bin"))
        if entry.path == "weights.bin"
        else entry
        for entry in found.files
    )
    built_with = found.built_with | {"apache-tvm": "0.1"}
    other = msgspec.structs.replace(found, files=files, built_with=built_with, arena_bytes=64)
    (bundle / NAME).write_bytes(other.encoded())
    problem = reproduced(capsys, made / "out", str(bundle), code=8)
    assert problem["reasons"][0].startswith("apache-tvm: it was made with 0.1, here is ")
    assert problem["reasons"][1].startswith("weights.bin: expected sha256 ")
    assert problem["reasons"][2].startswith("manifest.json, arena_bytes: expected 64, got ")
    assert "install the versions" in problem["fix"]
