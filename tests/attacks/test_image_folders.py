"""Image folders and archives that are empty, broken, or try to leave their place."""

import gzip
import io
import os
import tarfile

import pytest
from helpers.images import classes, files, index_of, jpeg, write_folder, write_tar
from PIL import Image

from edgevision.data import Preprocessing, image_files, open_data
from edgevision.errors import UsageError

SMALL = Preprocessing(height=8, width=8)


def refused(path, message, kind="folder"):
    with pytest.raises(UsageError) as caught:
        open_data(f"{kind}:{path}", SMALL)
    assert message in str(caught.value)
    return caught.value


def test_missing_and_empty_folders(tmp_path):
    refused(tmp_path / "nowhere", "no such file")
    refused(tmp_path, "found none among 0 files")
    (tmp_path / "notes.txt").write_text("text")
    refused(tmp_path / "notes.txt", "expected a folder, .tar")


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    refused(write_folder(tmp_path / "a", files(*classes(labels=["cat"]))), "at least two classes, got cat")
    refused(write_tar(tmp_path / "a.tar.gz", files(*classes("train/", labels=["cat"]))), "at least two classes")


def test_every_problem_of_a_folder_is_listed_at_once(tmp_path):
    root = write_folder(tmp_path, files("train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/bird/4.png"))
    (root / "train" / "empty").mkdir()
    error = refused(root, "cannot be used")
    assert error.reasons == (
        "class 'bird' has test images and no train images",
        "class folder 'train/empty' holds no image",
    )


def test_images_outside_class_folders_are_named(tmp_path):
    refused(write_folder(tmp_path / "a", files(*classes(), "loose.png")), "loose.png")
    refused(write_folder(tmp_path / "b", files(*classes("train/"), "train/loose.png")), "train/loose.png")


@pytest.mark.parametrize("content", [b"", b"not an image", jpeg()[:60]])
@pytest.mark.parametrize("archive", [False, True])
def test_an_unreadable_image_in_the_middle_is_named_with_its_index(tmp_path, content, archive):
    contents = files(*classes("train/"), *classes("test/")) | {"test/dog/2.png": content}
    path = write_tar(tmp_path / "x.tar.gz", contents) if archive else write_folder(tmp_path / "x", contents)
    split = open_data(f"folder:{path}", SMALL).split("test")
    broken, seen = split.indices.tolist().index(7), 0
    with pytest.raises(UsageError, match=r"test/dog/2\.png \(index 7\)") as caught:
        for images, _ in split.batches(2):
            seen += len(images)
    assert seen == broken // 2 * 2
    assert "BytesIO" not in str(caught.value)


def test_an_image_that_vanishes_while_running_is_named(tmp_path):
    root = write_folder(tmp_path, files(*classes("test/")))
    split = open_data(f"folder:{root}", SMALL).split("test")
    (root / "test" / "dog" / "4.png").unlink()
    with pytest.raises(UsageError, match=r"test/dog/4\.png"):
        list(split.batches(4))


def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    Image.new("1", (600, 600)).save(buffer, "PNG")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 300_000)
    path = write_folder(tmp_path, files(*classes("test/")) | {"test/cat/0.png": buffer.getvalue()})
    with pytest.raises(UsageError, match="600x600 pixels"):
        open_data(f"folder:{path}", SMALL).split("test").source.image(0)


@pytest.mark.parametrize("name", ["../cat/9.png", "cat/../../9.png", "/cat/9.png", "cat/\\..\\9.png"])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    before = sorted(tmp_path.parent.rglob("*"))
    path = write_tar(tmp_path / "x.tar.gz", files(*classes(), name))
    refused(path, "leads outside the archive")
    assert sorted(tmp_path.parent.rglob("*")) == sorted([*before, path])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    path = write_tar(tmp_path / "x.tar", files(*classes()))
    with tarfile.open(path, "a") as archive:
        entry = tarfile.TarInfo("cat/9.png")
        entry.type, entry.linkname = kind, "/etc/hostname"
        archive.addfile(entry)
    refused(path, "a link, device or sparse file")


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7])
def test_cut_archives_say_so(tmp_path, suffix, share):
    whole = write_tar(tmp_path / f"whole.{suffix}", files(*classes(count=30))).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "damaged or truncated")


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path):
    path = write_tar(tmp_path / "x.tar", files(*classes()))
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        middle = archive.getmembers()[5].offset
    content[middle : middle + 200] = os.urandom(200)
    path.write_bytes(content)
    refused(path, "damaged or truncated")


def test_an_archive_that_unpacks_without_end_is_stopped(tmp_path, monkeypatch):
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(8 << 20)))
    monkeypatch.setattr(image_files, "MAX_UNPACKED_BYTES", 1 << 20)
    refused(path, "unpacks to at most 1,048,576 bytes")


def test_text_that_calls_itself_an_archive(tmp_path):
    for name in ("x.tar", "x.tar.gz"):
        (tmp_path / name).write_bytes(b"this is text" * 100)
        refused(tmp_path / name, "damaged or truncated")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (None, "expected class_index.json"),
        (b"[1, 2]", "expected a map"),
        (b'{"cat": 0, "dog": 0}', "each index from 0 to 1 once"),
        (b'{"cat": 0, "dog": 5}', "each index from 0 to 1 once"),
        (index_of("cat", "bird"), "1 folders are not in class_index.json"),
    ],
)
def test_an_imagenet_index_that_does_not_fit(tmp_path, index, message):
    contents = files(*classes("val/")) | ({} if index is None else {"class_index.json": index})
    refused(write_folder(tmp_path, contents), message, kind="imagenet")
