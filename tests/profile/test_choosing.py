"""Which bundle `profile` means, and what it does with the ones it cannot use; and what it says before it starts."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from pathlib import Path

import msgspec
import pytest
from helpers import programs
from helpers.images import classes, files, write_folder

from edgevision import api, bundle, machine
from edgevision.api.measuring import Unsaved, images_of
from edgevision.cli.group import run
from edgevision.errors import Mismatch, Unsupported, UsageError
from edgevision.target import load as load_target

QUICK = {"seconds": 0.001}


def damage(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"damaged")


def by_age(*folders: Path) -> None:
    for age, folder in enumerate(folders):
        os.utime(folder / "manifest.json", (1_000_000 + age, 1_000_000 + age))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bundles of one network: host, host static, and one for a board."""
    room = tmp_path_factory.mktemp("choosing") / "bundles"
    programs.bundled(room / "tiny@host")
    other = "rpi4" if machine.machine_arch(platform.machine()) == "x86_64" else "zynq7020-ps"
    programs.bundled(room / "tiny@board", load_target(other))
    return room.parent


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    copied = shutil.copytree(made, tmp_path / "out")
    by_age(copied / "bundles/tiny@host", copied / "bundles/tiny@board")
    return copied


@pytest.mark.parametrize("device", ["host", None])
def test_the_newest_bundle_that_fits_is_timed_whatever_is_newer(out: Path, device: str | None) -> None:
    assert api.profile(device=device, out=out, **QUICK).profile.engines[0].bundle == "tiny@host"


def test_without_a_fitting_bundle_all_there_are_are_named(out: Path) -> None:
    shutil.rmtree(out / "bundles/tiny@host")
    with pytest.raises(Unsupported, match="none of the bundles can be timed on host") as caught:
        api.profile(device="host", out=out)
    assert caught.value.reasons[0].startswith("tiny@board: ")
    assert bundle.load(out / "bundles/tiny@board").manifest.target.name in caught.value.reasons[0]
    assert caught.value.fix and "--target host" in caught.value.fix


@pytest.mark.parametrize("every", [False, True])
def test_a_broken_bundle_is_stepped_over_and_named_with_its_reason(out: Path, every: bool) -> None:
    broken = shutil.copytree(out / "bundles/tiny@host", out / "bundles/later@host")
    damage(broken)
    by_age(out / "bundles/tiny@board", out / "bundles/tiny@host", broken)
    (out / "compressed/half").mkdir(parents=True)
    (out / "compressed/half/compressed.json").write_bytes(b'{"schema": "\xff')
    done = api.profile(out=out, every=every, **QUICK)
    assert [engine.bundle for engine in done.profile.engines] == ["tiny@host"]
    text = "\n".join(done.skipped)
    assert f"{broken}: " in text and "weights.bin: expected" in text
    assert str(out / "compressed/half") in text


def test_the_broken_bundle_a_user_names_is_an_error(out: Path) -> None:
    damage(out / "bundles/tiny@host")
    with pytest.raises(Mismatch, match="not what its manifest says"):
        api.profile(["tiny@host"], out=out)


def test_when_every_bundle_is_broken_each_reason_is_given(out: Path) -> None:
    damage(out / "bundles/tiny@host")
    damage(out / "bundles/tiny@board")
    with pytest.raises(UsageError, match="no bundle that is whole") as caught:
        api.profile(out=out)
    assert len(caught.value.reasons) == 2


def test_a_profile_names_the_bundle_by_its_hash(out: Path) -> None:
    done = api.profile(out=out, **QUICK).profile
    assert done.engines[0].bundle_sha256 == bundle.load(out / "bundles/tiny@host").identity


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_figures_are_shown_although_the_disk_is_full(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgevision.files.os.fsync", full)
    assert run(["profile", "--seconds", "0.001", "--out", str(out), "-q"]) == 2
    shown = capsys.readouterr()
    assert "edgevision fp32" in shown.out and "median" in shown.out
    assert "could not be written" in shown.err and "the disk is full" in shown.err
    assert run(["profile", "--seconds", "0.001", "--out", str(out), "-q", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["profile"]["engines"][0]["latency"]["runs"] > 0 and "disk is full" in said["what"]
    assert list((out / "profiles").iterdir()) == []
    with pytest.raises(Unsaved):
        api.profile(out=out, **QUICK)


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[bundle.Origin, Path]:
    """Origin of a network whose images were named by a relative path, and where they are now."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "pets", files(*classes(count=10)))
    from edgevision.data import open_data

    images = open_data("folder:pets")
    origin = msgspec.structs.replace(
        programs.origin(),
        data=images.spec,
        data_sha256=images.sha256,
        classes=images.classes,
        preprocessing=images.preprocessing,
    )
    (tmp_path / "elsewhere").mkdir()
    return origin, tmp_path / "pets"


def test_images_are_found_from_another_folder(
    moved: tuple[bundle.Origin, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("elsewhere")
    split, place, doubts = images_of(moved[0], None)
    assert split is not None and len(split) and place == f"folder:{moved[1]}" and doubts == []


def test_images_that_are_gone_are_found_where_data_says_they_are(moved: tuple[bundle.Origin, Path]) -> None:
    origin, pets = moved
    pets.rename("moved")
    with pytest.raises(UsageError, match="test images of tiny cannot be used") as caught:
        images_of(origin, None)
    assert caught.value.fix and "--data" in caught.value.fix and "--no-accuracy" in caught.value.fix
    split, place, doubts = images_of(origin, "folder:moved")
    assert split is not None and place == f"folder:{pets.parent / 'moved'}" and doubts == []


def test_other_images_are_doubted_and_other_classes_refused(moved: tuple[bundle.Origin, Path]) -> None:
    write_folder(Path("more"), files(*classes(count=15)))
    assert "other images" in images_of(moved[0], "folder:more")[2][0]
    write_folder(Path("birds"), files(*classes(labels=("jay", "owl"), count=10)))
    with pytest.raises(UsageError, match=r"cat, dog.*got 2 \(jay, owl"):
        images_of(moved[0], "folder:birds")
    with pytest.raises(UsageError, match="finds objects") as caught:
        images_of(msgspec.structs.replace(moved[0], metric="AP50"), "folder:more")
    assert caught.value.fix and "voc:PATH" in caught.value.fix


def test_latency_alone_needs_no_images(out: Path, tmp_path: Path) -> None:
    origin = msgspec.structs.replace(programs.origin(), data=f"folder:{tmp_path / 'gone'}")
    folder = out / "bundles/gone@host"
    bundle.write(programs.program(), origin, folder, golden=programs.golden())
    with pytest.raises(UsageError, match="cannot be used"):
        api.profile([folder], out=out)
    done = api.profile([folder], accuracy=False, out=out, **QUICK).profile
    assert done.engines[0].accuracy is None and done.images_from is None
    with pytest.raises(UsageError) as caught:
        api.profile([folder], accuracy=False, data="digits", out=out)
    assert "--no-accuracy uses none" in caught.value.reasons[0]


@pytest.mark.parametrize("text", ["3-1", "", ",", "0,,1", "-1", "0-", "a", "0x1", "٣"])
def test_bad_affinity_is_refused_with_the_form_expected(out: Path, text: str, capsys) -> None:
    assert run(["profile", f"--affinity={text}", "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "such as 0,2-3" in said and ("--affinity 1-3" in said or text != "3-1")


def test_cores_that_do_not_exist_and_cores_of_a_board_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        api.profile(affinity=(0, 9000, 9001), device="ssh:pi@board.invalid", out=tmp_path)
    assert "and not 9000, 9001" in caught.value.reasons[0]
    assert "ssh:pi@board.invalid is another" in caught.value.reasons[1]


def test_two_profiles_of_one_moment_are_two_files(out: Path) -> None:
    paths = {api.profile(out=out, **QUICK).path for _ in range(2)}
    assert len(paths) == 2
