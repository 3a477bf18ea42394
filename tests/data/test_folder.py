import numpy as np
import pytest
from helpers.images import classes, files, index_of, write_folder, write_tar

from edgevision.data import Preprocessing, open_data

SMALL = Preprocessing(height=8, width=8)
LAYOUTS = {
    "plain": classes(),
    "train and test": classes("train/") + classes("test/"),
    "train and val": classes("train/") + classes("val/"),
    "a folder around": classes("pets/train/") + classes("pets/test/"),
    "a folder around classes": classes("pets/"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz", "tgz"])
def test_every_layout_reads_the_same_from_a_folder_and_from_an_archive(tmp_path, layout, kind):
    contents = files(*LAYOUTS[layout])
    folder = open_data(f"folder:{write_folder(tmp_path / 'data', contents)}", SMALL)
    path = tmp_path / "data" if kind == "folder" else write_tar(tmp_path / f"data.{kind}", contents)
    data = open_data(f"folder:{path}", SMALL)
    assert data.classes == ("cat", "dog") and data.sha256 == folder.sha256
    tested = 10 if "train" in layout or layout.split()[-1] == "around" else 2
    assert len(data.split("test")) == tested
    assert len(data.split("train")) == (10 if tested == 10 else 8)
    for name in ("train", "calibration", "test"):
        here, there = data.split(name), folder.split(name)
        assert np.array_equal(here.labels, there.labels)
        for index in range(len(here)):
            assert np.array_equal(here.images(index)[0], there.images(index)[0])


def test_names_with_a_dot_in_front_and_other_files_are_no_images(tmp_path):
    contents = files(*classes(), "cat/._0.png", ".hidden/x.png") | {"cat/notes.txt": b"text", "README": b"text"}
    for path in (write_folder(tmp_path / "data", contents), write_tar(tmp_path / "data.tar.gz", contents)):
        data = open_data(f"folder:{path}", SMALL)
        assert len(data.split("train")) + len(data.split("test")) == 10


def test_without_train_images_the_note_says_where_calibration_comes_from(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path, files(*classes('val/')))}", SMALL)
    assert set(data.splits) == {"calibration", "test"}
    assert any("calibration images are test images" in note for note in data.notes)


def test_hashed_test_images_stay_test_images_when_images_are_added(tmp_path):
    root = write_folder(tmp_path, files(*classes(count=20)))

    def tested():
        split = open_data(f"folder:{root}", SMALL).split("test")
        return {split.source.names[i] for i in split.indices}

    before = tested()
    write_folder(root, files("cat/new.png"))
    assert len(before - tested()) <= 1


def test_the_hash_changes_with_names_and_sizes(tmp_path):
    contents = files(*classes())
    first = open_data(f"folder:{write_folder(tmp_path / 'a', contents)}", SMALL).sha256
    renamed = dict(contents)
    renamed["cat/other.png"] = renamed.pop("cat/0.png")
    assert open_data(f"folder:{write_folder(tmp_path / 'b', renamed)}", SMALL).sha256 != first


@pytest.mark.parametrize("archive", [False, True])
def test_imagenet_labels_are_the_indices_of_the_index(tmp_path, archive):
    contents = files("val/n03/a.png", "val/n01/b.png") | {"class_index.json": index_of("n00", "n01", "n02", "n03")}
    path = write_tar(tmp_path / "x.tar.gz", contents) if archive else write_folder(tmp_path / "x", contents)
    data = open_data(f"imagenet:{path}", SMALL)
    assert data.classes == ("n00", "n01", "n02", "n03")
    assert sorted(data.split("test").labels) == [1, 3]
    assert any("calibration images are test images" in note for note in data.notes)


@pytest.mark.parametrize("kind", ["folder", "imagenet"])
def test_the_first_test_images_are_a_sample_of_all_classes(tmp_path, kind):
    labels = tuple(f"class{number}" for number in range(5))
    named = [f"{part}/{label}/{i}.png" for part in ("train", "val") for label in labels for i in range(12)]
    contents = files(*named) | {"class_index.json": index_of(*labels)}
    test = open_data(f"{kind}:{write_folder(tmp_path / 'data', contents)}", SMALL).split("test")
    assert np.bincount(test.labels).tolist() == [12] * 5
    assert len(set(test.labels[:20].tolist())) >= 4
    assert len(set(test.indices.tolist())) == 60
