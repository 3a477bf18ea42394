import numpy as np
import pytest
from helpers.detections import voc, voc_object, voc_xml
from helpers.images import jpeg, write_folder, write_tar

from edgevision.data import Preprocessing, has_boxes, open_detections
from edgevision.errors import UsageError

CAT = voc_xml(voc_object("cat", (2, 3, 6, 5)))
BOTH = voc_xml(voc_object("dog", (1, 1, 12, 10)), voc_object("cat", (4, 4, 4, 4), difficult=1))
BARE = voc_xml()
ANNOTATIONS = {"a": CAT, "b": BOTH, "c": CAT, "d": BOTH, "e": BARE}
LISTS = {"train": ["b", "a"], "val": ["c"], "test": ["d", "e"], "trainval": ["a", "b", "c"]}


def stems(data, part):
    split = data.split(part)
    source = split.source
    return [source.files.names[source.images[i]].rpartition("/")[2].partition(".")[0] for i in split.indices]


@pytest.mark.parametrize("around", ["", "BCCD/", "VOCdevkit/VOC2007/"])
@pytest.mark.parametrize("kind", ["folder", "tar", "tar.gz"])
def test_the_lists_say_which_image_is_in_which_split(tmp_path, around, kind):
    contents = voc(ANNOTATIONS, LISTS, around=around) | {"LICENSE": b"text"}
    folder = write_folder(tmp_path / "data", contents)
    path = folder if kind == "folder" else write_tar(tmp_path / f"data.{kind}", contents)
    data = open_detections(f"voc:{path}")
    assert data.classes == ("cat", "dog") and data.sha256 == open_detections(f"voc:{folder}").sha256
    assert stems(data, "train") == ["b", "a"] and stems(data, "validation") == ["c"]
    assert sorted(stems(data, "test")) == ["d", "e"] and sorted(stems(data, "calibration")) == ["a", "b"]
    assert data.notes == ("1 of 2 test images have no objects",)


def test_pixels_are_counted_from_zero_and_the_last_one_is_excluded(tmp_path):
    data = open_detections(f"voc:{write_folder(tmp_path, voc(ANNOTATIONS, LISTS))}")
    image, objects = data.split("train").read(0)
    assert image.mode == "RGB" and image.size == (12, 10)
    # (1, 1)-(12, 10) written is the whole image; (4, 4)-(4, 4) is the fourth pixel of the fourth row.
    assert objects.boxes.tolist() == [[0, 0, 12, 10], [3, 3, 4, 4]] and objects.boxes.dtype == np.float32
    assert objects.classes.tolist() == [1, 0] and objects.difficult.tolist() == [False, True]


def test_other_lists_are_used_where_the_usual_ones_are_missing(tmp_path):
    lists = {"trainval": ["a", "b", "c"], "val": ["c"], "cat_train": ["a"]}
    data = open_detections(f"voc:{write_folder(tmp_path, voc(ANNOTATIONS, lists))}")
    assert stems(data, "train") == ["a", "b"] and stems(data, "test") == ["c"]
    assert "no test.txt: val.txt is the test split" in data.notes


def test_without_lists_a_fifth_is_held_out_whatever_else_is_there(tmp_path):
    annotations = {f"{index:02}": voc_xml(voc_object()) for index in range(40)}
    data = open_detections(f"voc:{write_folder(tmp_path / 'a', voc(annotations))}")
    tested = set(stems(data, "test"))
    assert len(tested) == 8 and len(data.split("train")) == 32
    assert not tested & set(stems(data, "train"))
    assert any("8 of 40 images held out" in note for note in data.notes)
    more = open_detections(f"voc:{write_folder(tmp_path / 'b', voc(annotations | {'new': CAT}))}")
    assert len(tested - set(stems(more, "test"))) <= 1


def test_a_class_of_one_image_is_a_train_class_when_images_are_held_out(tmp_path):
    for rare in range(10):
        annotations = {f"{i}": voc_xml(voc_object("dog" if i == rare else "cat")) for i in range(10)}
        data = open_detections(f"voc:{write_folder(tmp_path / str(rare), voc(annotations))}")
        assert data.classes == ("cat", "dog") and str(rare) in stems(data, "train")


def test_boxes_over_the_edge_are_clipped_and_said_so(tmp_path):
    over = voc_xml(voc_object("cat", (0, 1, 6, 5)), voc_object("cat", (7, 8, 14, 11)), voc_object())
    data = open_detections(f"voc:{write_folder(tmp_path, voc({'a': over, 'b': CAT}, {'train': ['b', 'a']}))}")
    assert data.split("train").read(1)[1].boxes.tolist() == [[0, 0, 6, 5], [6, 7, 12, 10], [0, 0, 6, 5]]
    assert "2 boxes over the edge of their image clipped to it, first in Annotations/a.xml" in data.notes


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_a_size_the_annotation_does_not_give_is_the_image_s(tmp_path, size):
    annotations = {"a": voc_xml(voc_object("cat", (7, 8, 14, 11)), size=size)}
    data = open_detections(f"voc:{write_folder(tmp_path, voc(annotations, {'train': ['a']}))}")
    assert data.split("train").read(0)[1].boxes.tolist() == [[6, 7, 12, 10]]


def test_names_of_parts_are_no_objects_and_numbers_may_have_fractions(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    content = voc_xml(voc_object("cat", (2.5, 3, 6, 5.25)).replace("</object>", part + "</object>"))
    data = open_detections(f"voc:{write_folder(tmp_path, voc({'a': content}, {'train': ['a']}))}")
    assert data.classes == ("cat",) and data.split("train").read(0)[1].boxes.tolist() == [[1.5, 2, 6, 5.25]]


def test_the_hash_covers_names_sizes_and_what_the_annotations_say(tmp_path):
    contents = voc(ANNOTATIONS, LISTS)
    others = [
        contents | {"Annotations/a.xml": CAT.replace(b"cat", b"dog")},
        contents | {"Annotations/a.xml": CAT.replace(b">6<", b">7<")},
        contents | {"ImageSets/Main/val.txt": b"c\n\n"},
        contents | {"JPEGImages/a.png": contents["JPEGImages/a.png"] + b"\0"},
    ]
    hashes = [
        open_detections(f"voc:{write_folder(tmp_path / str(index), one)}").sha256
        for index, one in enumerate([contents, contents, *others])
    ]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 5


def test_images_of_test_alone_calibrate_too(tmp_path):
    data = open_detections(f"voc:{write_folder(tmp_path, voc({'a': CAT}, {'test': ['a']}))}")
    assert set(data.splits) == {"calibration", "test"}
    assert any("calibration images are test images" in note for note in data.notes)


def test_batches_are_the_scaled_padded_and_normalised_images_with_their_boxes(tmp_path):
    how = Preprocessing(height=20, width=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))
    split = open_detections(f"voc:{write_folder(tmp_path, voc(ANNOTATIONS, LISTS))}", how).split("test")
    batches = list(split.batches(1))
    assert len(batches) == 2 and len(next(iter(split.batches(8, limit=1)))[1]) == 1
    for index, (images, (objects,)) in enumerate(batches):
        image, stored = split.read(index)
        # 12 x 10 in 32 x 20: twice as large, four columns of the mean colour on each side.
        scaled = np.asarray(image.resize((24, 20), 2), np.float32) / 255
        assert images.shape == (1, 3, 20, 32) and images.dtype == np.float32
        for channel in range(3):
            expected = (scaled[..., channel] - how.mean[channel]) / how.std[channel]
            np.testing.assert_allclose(images[0, channel, :, 4:28], expected, rtol=1e-5, atol=1e-6)
            assert np.abs(images[0, channel, :, :4]).max() <= 0.5 / 255 / how.std[channel] + 1e-6
        assert np.array_equal(objects.boxes, stored.boxes * 2 + np.float32([4, 0, 4, 0]))
        assert np.array_equal(objects.classes, stored.classes)


def test_kinds_with_boxes_are_told_from_kinds_with_labels(tmp_path):
    assert has_boxes("voc:x") and has_boxes("coco:x") and has_boxes("shapes") and not has_boxes("folder:x")
    assert open_detections("shapes").spec == "shapes"
    with pytest.raises(UsageError, match="one label each"):
        open_detections("digits")
    with pytest.raises(UsageError, match=r"did you mean 'voc'\?"):
        open_detections("vos:x")


def test_a_crop_is_refused(tmp_path):
    path = write_folder(tmp_path, voc(ANNOTATIONS, LISTS) | {"x.png": jpeg()})
    with pytest.raises(UsageError, match="keeps the whole image"):
        open_detections(f"voc:{path}", Preprocessing(height=8, width=8, resize_short=10))


def test_validation_images_can_be_trained_on(tmp_path):
    data = open_detections(f"voc:{write_folder(tmp_path, voc(ANNOTATIONS, LISTS))}")
    joined = data.trained_on_validation()
    assert stems(joined, "train") == [*stems(data, "train"), *stems(data, "validation")]
    assert "validation" not in joined.splits and joined.sha256 != data.sha256
    assert stems(joined, "test") == stems(data, "test") and stems(joined, "calibration") == stems(data, "calibration")
    with pytest.raises(UsageError, match="no 'validation' split"):
        joined.trained_on_validation()
