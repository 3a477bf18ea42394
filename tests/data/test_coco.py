import numpy as np
import pytest
from helpers.detections import coco_json
from helpers.images import files, write_folder, write_tar

from edgevision.data import open_data, open_detections
from edgevision.errors import UsageError

TRAIN = coco_json(
    {10: "a.png", 3: "b.png"}, [(3, 7, (1, 2, 3, 4)), (10, 1, (0, 0, 12, 10), True), (3, 1, (5, 5, 1, 1))]
)
VAL = coco_json({1: "c.png"}, [(1, 7, (2, 2, 2.5, 2))])
LAYOUTS = {
    "coco": ("annotations/instances_{}2017.json", "{}2017/"),
    "images below": ("annotations/instances_{}2017.json", "images/{}2017/"),
    "one images folder": ("annotations/instances_{}.json", "images/"),
    "flat": ("instances_{}.json", ""),
    "beside": ("instances_{}.json", "images/"),
    "a folder around": ("pets/annotations/instances_{}.json", "pets/{}/"),
}


def layout(name):
    annotation, folder = LAYOUTS[name]
    images = [folder.format(part) + file for part, file in (("train", "a.png"), ("train", "b.png"), ("val", "c.png"))]
    return files(*images) | {annotation.format("train"): TRAIN, annotation.format("val"): VAL}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("kind", ["folder", "tar.gz"])
def test_every_layout_gives_the_same_objects(tmp_path, name, kind):
    contents = layout(name)
    path = write_folder(tmp_path / "d", contents) if kind == "folder" else write_tar(tmp_path / "d.tar.gz", contents)
    data = open_detections(f"coco:{path}")
    assert data.classes == ("cat", "dog") and {n: len(s) for n, s in data.splits.items()} == {
        "train": 2,
        "calibration": 2,
        "test": 1,
    }
    _, first = data.split("train").read(0)
    assert first.boxes.tolist() == [[0, 0, 12, 10]] and first.difficult.tolist() == [True]
    _, second = data.split("train").read(1)
    assert second.boxes.tolist() == [[1, 2, 4, 6], [5, 5, 6, 6]] and second.classes.tolist() == [1, 0]
    assert second.boxes.dtype == np.float32 and not second.difficult.any()
    assert data.split("test").read(0)[1].boxes.tolist() == [[2, 2, 4.5, 4]]


def test_sparse_category_ids_become_indices_in_the_order_of_ids(tmp_path):
    categories = ((90, "late"), (2, "early"), (18, "middle"))
    objects = [(1, key, (0, 0, 2, 2)) for key, _ in categories]
    content = {"annotations.json": coco_json({1: "a.png", 2: "b.png"}, objects, categories)}
    data = open_detections(f"coco:{write_folder(tmp_path, files('images/a.png', 'images/b.png') | content)}")
    assert data.classes == ("early", "middle", "late")
    assert data.split("train").read(0)[1].classes.tolist() == [2, 0, 1]


def test_a_single_file_is_divided_by_hash(tmp_path):
    images = {index: f"{index:02}.png" for index in range(20)}
    content = coco_json(images, [(index, 1 + 6 * (index % 2), (0, 0, 2, 2)) for index in images])
    path = write_folder(
        tmp_path, files(*(f"images/{name}" for name in images.values())) | {"annotations.json": content}
    )
    data = open_detections(f"coco:{path}")
    assert len(data.split("test")) == 4 and len(data.split("train")) == 16
    assert not {*data.split("test").indices} & {*data.split("train").indices}
    assert any("4 of 20 images held out" in note for note in data.notes)


def test_val_is_validation_beside_a_test_file(tmp_path):
    contents = layout("flat") | files("d.png") | {"instances_test.json": coco_json({1: "d.png"}, [])}
    data = open_detections(f"coco:{write_folder(tmp_path, contents)}")
    assert [len(data.split(name)) for name in ("train", "validation", "test")] == [2, 1, 1]
    assert any("1 of 1 test images have no objects" in note for note in data.notes)


def test_boxes_of_no_height_are_left_out_and_said_so(tmp_path):
    objects = [(1, 1, (2, 3, 5.54, 0.0)), (1, 1, (1, 1, 2, 2)), (1, 7, (-1, 1, 3, 2))]
    content = {"instances_train.json": coco_json({1: "a.png"}, objects)}
    data = open_detections(f"coco:{write_folder(tmp_path, files('a.png') | content)}")
    assert data.split("train").read(0)[1].boxes.tolist() == [[1, 1, 3, 3], [0, 1, 2, 3]]
    assert any(note.startswith("1 boxes of no width or height left out") for note in data.notes)
    assert any(note.startswith("1 boxes over the edge") and "'a.png'" in note for note in data.notes)


def test_a_category_without_objects_keeps_its_place(tmp_path):
    content = {"instances_train.json": coco_json({1: "a.png"}, [(1, 7, (1, 1, 2, 2))])}
    data = open_detections(f"coco:{write_folder(tmp_path, files('a.png') | content)}")
    assert data.classes == ("cat", "dog") and data.split("train").read(0)[1].classes.tolist() == [1]
    assert "1 classes without objects: cat" in data.notes


def test_images_with_boxes_are_no_images_with_labels(tmp_path):
    with pytest.raises(UsageError, match="one label each, got 'coco:x'"):
        open_data("coco:x")
