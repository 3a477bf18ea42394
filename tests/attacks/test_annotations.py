"""Annotations that are damaged, huge, contradictory, or try to read other files."""

import json
import os

import pytest
from helpers.detections import coco_json, voc, voc_object, voc_xml
from helpers.images import files, jpeg, write_folder, write_tar
from hypothesis import given
from hypothesis import strategies as st

from edgevision.data import annotated_files, coco, open_detections
from edgevision.data import voc_xml as reader
from edgevision.errors import UsageError

CAT = voc_xml(voc_object())
DOG = voc_xml(voc_object("dog"))


def refused(path, *reasons):
    with pytest.raises(UsageError) as caught:
        open_detections(path)
    for reason in reasons:
        assert reason in str(caught.value)
    return caught.value


def refused_voc(root, annotations, *reasons, lists=None, extra=None):
    contents = voc(annotations, lists or {"train": list(annotations)}) | (extra or {})
    return refused(f"voc:{write_folder(root, contents)}", *reasons)


def refused_coco(root, content, *reasons, images=("a.png",)):
    return refused(f"coco:{write_folder(root, files(*images) | {'instances_train.json': content})}", *reasons)


def test_every_problem_of_a_voc_set_is_listed_at_once(tmp_path):
    annotations = {
        "whole": CAT,
        "outside": voc_xml(voc_object("cat", (13, 1, 20, 5))),
        "inverted": voc_xml(voc_object(), voc_object("cat", (6, 1, 2, 5))),
        "flat": voc_xml(voc_object("cat", (3, 5, 8, 4))),
        "broken": b"<annotation><object>",
        "unseen": voc_xml(voc_object("bird")),
        "turned": voc_xml(voc_object(), size=(10, 12)),
    }
    lists = {"train": [*annotations, "nowhere", "whole"], "test": ["unseen"]}
    lists["train"].remove("unseen")
    contents = voc(annotations, lists) | {"JPEGImages/bare.png": jpeg()}
    contents["ImageSets/Main/train.txt"] += b"bare\n"
    error = refused(f"voc:{write_folder(tmp_path, contents)}", "the annotations cannot be used")
    assert error.reasons == (
        "image listed twice: ImageSets/Main/train.txt: 'whole'",
        "annotation that cannot be used: Annotations/broken.xml: not XML: no element found: line 1, column 20",
        "image missing from JPEGImages: 'nowhere' of the train images",
        "annotation missing from Annotations: nowhere.xml (train)",
        "annotation missing from Annotations: bare.xml (train)",
        "size that is not the image's: Annotations/turned.xml: 10 x 12, JPEGImages/turned.png has 12 x 10",
        "box outside its image: Annotations/outside.xml (12 x 10): object 1 ('cat'): x1, y1, x2, y2 = 12, 0, 20, 5",
        "box without area: Annotations/inverted.xml: object 2 ('cat'): x1, y1, x2, y2 = 5, 0, 2, 5",
        "box without area: Annotations/flat.xml: object 1 ('cat'): x1, y1, x2, y2 = 2, 4, 8, 4",
        "class unseen in training: 'bird' in test images: Annotations/unseen.xml",
    )


def test_ten_files_of_a_kind_are_named_and_the_others_counted(tmp_path):
    wrong = {f"{index:02}": voc_xml(voc_object("cat", (6, 1, 2, 5))) for index in range(31)}
    error = refused_voc(tmp_path, wrong | {"x": b"text"})
    assert len(error.reasons) == 12 and "and 21 more" in error.reasons[-1] and "x.xml" in error.reasons[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not XML"),
        (b"\x89PNG\r\n", "not UTF-8 at byte 0"),
        (CAT[:-5], "not XML"),
        (CAT.replace(b"</name>", b""), "not XML"),
        (b"<annotation/><annotation/>", "not XML"),
        (b"<html></html>", "expected <annotation> outermost, got <html>"),
        (CAT.replace(b"annotation>", b"annotations>"), "expected <annotation> outermost"),
        (CAT.replace(b"<name>cat</name>", b""), "object 1 has no name"),
        (CAT.replace(b"<name>cat</name>", b"<name> </name>"), "object 1 has no name"),
        (CAT.replace(b"bndbox", b"box"), "object 1 ('cat'): no bndbox"),
        (CAT.replace(b"<xmax>6</xmax>", b""), "xmax is '', expected a number"),
        (CAT.replace(b">6<", b">six<"), "xmax is 'six', expected a number"),
        (CAT.replace(b">6<", b">nan<"), "not four finite numbers"),
        (CAT.replace(b">6<", b">1e999<"), "not four finite numbers"),
        (CAT.replace(b">1<", b">-1e300<").replace(b">6<", b">1e300<"), "box that is not of numbers"),
        (CAT.replace(b">0<", b">maybe<"), "difficult is 'maybe', expected 0 or 1"),
        (b'<?xml version="1.0" encoding="utf-16"?>'.decode().encode("utf-16") + CAT, "not UTF-8"),
    ],
)
def test_a_damaged_annotation_is_named_with_its_reason(tmp_path, content, reason):
    error = refused_voc(tmp_path, {"a": CAT, "b": content}, reason)
    assert all("Annotations/b.xml" in line for line in error.reasons) and len(error.reasons) == 1


ENTITIES = b'<!DOCTYPE a [<!ENTITY b "cat"><!ENTITY c "' + b"&b;" * 1000 + b'">]>'
OUTSIDE = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("declared", [ENTITIES, OUTSIDE, b'<!DOCTYPE a SYSTEM "http://localhost/a.dtd">'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-7", "utf-16"])
def test_document_types_and_entities_are_refused_before_they_are_read(tmp_path, declared, encoding):
    head = f'<?xml version="1.0" encoding="{encoding}"?>'.encode()
    content = head + declared + CAT.replace(b"cat", b"&b;")
    if encoding == "utf-16":
        content = content.decode().encode("utf-16-le")
    elif encoding == "utf-7":
        content = content.replace(b"<!", b"+ADwAIQ-")
    refused_voc(tmp_path, {"a": content}, "not XML" if encoding != "utf-8" else "document type or entities")


def test_names_in_annotations_are_looked_up_and_never_opened(tmp_path):
    (tmp_path / "secret.png").write_bytes(jpeg())
    (tmp_path / "secret.xml").write_bytes(CAT)
    refused_voc(tmp_path / "voc", {"a": CAT}, "image missing", "secret", lists={"train": ["a", "../../secret"]})
    for number, name in enumerate(["../secret.png", str(tmp_path / "secret.png"), "images/../../secret.png"]):
        content = coco_json({1: name}, [(1, 1, (1, 1, 2, 2))])
        refused_coco(tmp_path / f"coco{number}", content, "image missing: instances_train.json: '")


def test_files_that_are_too_large_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("edgevision.data.voc.MAX_XML_BYTES", len(CAT))
    refused_voc(
        tmp_path / "voc", {"a": CAT, "b": CAT + b" "}, f"expected at most {len(CAT)} bytes", "Annotations/b.xml"
    )
    content = coco_json({1: "a.png"}, [(1, 1, (1, 1, 2, 2))])
    monkeypatch.setattr(coco, "MAX_JSON_BYTES", len(content) - 1)
    refused_coco(tmp_path / "coco", content, "in 'instances_train.json'")
    monkeypatch.setattr("edgevision.data.voc.MAX_LIST_BYTES", 3)
    refused_voc(tmp_path / "list", {"aaa": CAT}, "expected at most 3 bytes", "ImageSets/Main/train.txt")


def test_a_pipe_in_the_place_of_an_annotation_is_not_waited_for(tmp_path):
    root = write_folder(tmp_path, voc({"a": CAT, "b": CAT}, {"train": ["a", "b"]}))
    (root / "Annotations" / "b.xml").unlink()
    os.mkfifo(root / "Annotations" / "b.xml")
    refused(f"voc:{root}", "b.xml", "not a regular file")


def test_folders_that_are_no_voc_sets_or_several(tmp_path):
    refused(
        f"voc:{write_folder(tmp_path / 'a', files('cat/1.png'))}", "expected one folder with JPEGImages", "got none"
    )
    several = voc({"a": CAT}, around="VOC2007/") | voc({"a": CAT}, around="VOC2012/")
    assert refused(f"voc:{write_tar(tmp_path / 'b.tar', several)}", "got 2").reasons == ("VOC2007", "VOC2012")
    refused(f"voc:{write_folder(tmp_path / 'c', {'Annotations/a.xml': CAT})}", "expected images", "JPEGImages/*.jpg")
    refused(f"voc:{write_folder(tmp_path / 'd', files('JPEGImages/a.png'))}", "annotation missing", "a.xml")
    refused_voc(tmp_path / "e", {"a": CAT}, "several images of one name", extra={"JPEGImages/a.jpg": jpeg()})
    refused_voc(tmp_path / "f", {"a": CAT}, "no images", extra={"ImageSets/Main/train.txt": b"\n"})
    refused_voc(tmp_path / "g", {"a": voc_xml()}, "no objects: expected some in the train images")
    refused_voc(tmp_path / "h", {"a": CAT}, "not UTF-8 at byte 0", extra={"ImageSets/Main/train.txt": b"\xff"})


def test_images_that_are_no_images_are_named_before_any_work(tmp_path):
    extra = {"JPEGImages/b.png": b"text"}
    refused_voc(tmp_path, {"a": CAT, "b": CAT}, "image that cannot be read: JPEGImages/b.png", extra=extra)


def test_a_size_that_was_not_looked_at_first_is_compared_when_the_image_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(annotated_files, "CHECKED_SIZES", 0)
    annotations = {"a": voc_xml(voc_object(), size=(12, 11))}
    data = open_detections(f"voc:{write_folder(tmp_path, voc(annotations, {'train': ['a']}))}")
    with pytest.raises(UsageError, match=r"expected 12 x 11 pixels as annotated, got 12 x 10(.|\n)*JPEGImages/a\.png"):
        list(data.split("train").batches(1))


GOOD = coco_json({1: "a.png"}, [(1, 1, (1, 1, 2, 2))])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (GOOD[:-3], "not JSON"),
        (GOOD.replace(b"[1, 1, 2, 2]", b"[NaN, 1, 2, 2]"), "at 'NaN, 1, 2, 2'"),
        (GOOD.replace(b"[1, 1, 2, 2]", b"[1, 1, Infinity, 2]"), "at 'Infinity, 2]"),
        (GOOD.replace(b"[1, 1, 2, 2]", b"[1, 1, 1e999, 2]"), "out of range"),
        (GOOD.replace(b"[1, 1, 2, 2]", b"[1, 1, 2]"), "$.annotations[0].bbox"),
        (GOOD.replace(b"[1, 1, 2, 2]", b'"1 1 2 2"'), "$.annotations[0].bbox"),
        (GOOD.replace(b'"category_id": 1', b'"category_id": null'), "$.annotations[0].category_id"),
        (GOOD.replace(b'"images"', b'"pictures"'), "images"),
        (b"[" * 100_000, "Expected `object`, got `array`"),
        (b'{"info": ' + b"[" * 200_000, "nested too deeply"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "required field `images`"),
    ],
)
def test_json_that_is_damaged_or_no_coco_file(tmp_path, content, reason):
    error = refused_coco(tmp_path, content, reason)
    assert any("instances_train.json" in line and reason in line for line in error.reasons)


def test_every_contradiction_of_a_coco_file_is_listed_at_once(tmp_path):
    content = json.loads(
        coco_json(
            {1: "a.png", 2: "nowhere.png", 3: "b.png"},
            [
                (1, 1, (1, 1, 2, 2)),
                (9, 1, (1, 1, 2, 2)),
                (1, 5, (1, 1, 2, 2)),
                (1, 1, (1, 1, -2, 2)),
                (3, 1, (1, 10, 2, 2)),
            ],
            ((1, "cat"), (1, "dog"), (2, "cat")),
        )
    )
    content["images"] += [content["images"][0] | {"id": 3}, content["images"][0] | {"id": 4}]
    error = refused_coco(tmp_path, json.dumps(content).encode(), images=("a.png", "b.png"))
    assert error.reasons == (
        "category listed twice: instances_train.json: 1 ('dog')",
        "category listed twice: instances_train.json: 2 ('cat')",
        "object of an unknown image: instances_train.json: annotation 2: image 9",
        "unknown category: instances_train.json: annotation 3: category 5",
        "image missing: instances_train.json: 'nowhere.png'",
        "image id given twice: instances_train.json: 'a.png': id 3",
        "image listed twice: instances_train.json: 'a.png'",
        "box without area: instances_train.json: 'a.png': object 2 ('dog'): x1, y1, x2, y2 = 1, 1, -1, 3",
        "box outside its image: instances_train.json: 'b.png' (12 x 10): object 1 ('dog'): "
        "x1, y1, x2, y2 = 1, 10, 3, 12",
    )


def test_categories_that_training_does_not_see_are_named(tmp_path):
    contents = files("a.png", "b.png", "c.png") | {
        "instances_train.json": GOOD,
        "instances_val.json": coco_json({1: "b.png", 2: "c.png"}, [(1, 7, (1, 1, 2, 2)), (2, 7, (1, 1, 2, 2))]),
    }
    error = refused(f"coco:{write_folder(tmp_path, contents)}")
    assert error.reasons == ("class unseen in training: 'dog' in test images: instances_val.json: 'b.png' and 1 more",)


def test_sets_without_or_with_several_json_files(tmp_path):
    refused(f"coco:{write_folder(tmp_path / 'a', files('a.png') | {'labels.json': GOOD})}", "got none")
    twice = {"instances_train2014.json": GOOD, "instances_train2017.json": GOOD}
    refused(f"coco:{write_folder(tmp_path / 'b', files('a.png') | twice)}", "several for one split", "train2014.json")
    refused(f"coco:{write_folder(tmp_path / 'c', {'annotations.json': GOOD})}", "expected images", "annotations.json")
    both = {"annotations.json": GOOD, "x/annotations.json": GOOD}
    refused(f"coco:{write_folder(tmp_path / 'd', files('a.png') | both)}", "several for one split")


@given(st.integers(0, len(CAT) - 1), st.binary(max_size=3))
def test_any_change_of_an_annotation_is_read_or_refused_with_a_reason(position, change):
    content = CAT[:position] + change + CAT[position + 1 :]
    try:
        read = reader.read_voc_xml(content)
    except reader.BadAnnotation as error:
        assert error.reasons and all(error.reasons)
    else:
        assert len(read.boxes) == len(read.classes) == len(read.difficult)
