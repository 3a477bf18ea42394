"""Average precision against a few lines that count hits in order, and at the edges of what can be given."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.data.average_precision import average_precision
from edgevision.data.detection import Objects
from edgevision.errors import ToolMissing

ONE = Objects.of([[10, 10, 30, 30]], [0])


@dataclass
class Found:
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def found(*rows):
    """Rows of x1, y1, x2, y2, score, class."""
    table = np.asarray(rows, np.float32).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def overlap(a, b):
    inside = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = inside.clip(min=0).prod()
    return both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both)


def counted(detections, truths, label, least):
    """Average precision of one class, in percent: hits in order of score, precision at 101 recalls."""
    ranked = [(-s, i, k) for i, d in enumerate(detections) for k, s in enumerate(d.scores) if d.classes[k] == label]
    free = [[list(b) for b, c in zip(t.boxes.astype(float), t.classes, strict=True) if c == label] for t in truths]
    objects, hits = sum(map(len, free)), []
    for _, image, k in sorted(ranked):
        best = max(
            free[image], key=lambda b: overlap(detections[image].boxes[k].astype(float), np.array(b)), default=None
        )
        hit = best is not None and overlap(detections[image].boxes[k].astype(float), np.array(best)) >= least
        if hit:
            free[image].remove(best)
        hits.append(hit)
    right = np.cumsum(hits)
    precision, recall = right / np.arange(1, len(hits) + 1), right / objects
    return 100 * np.mean([max(precision[recall >= r], default=0) for r in np.linspace(0, 1, 101)])


@st.composite
def scenes(draw):
    """Objects, and detections near them, elsewhere or of another class, with scores that repeat."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truths, detections = [], []
    for _ in range(draw(st.integers(1, 4))):
        corners = random.integers(0, 80, (random.integers(0, 5), 2))
        boxes = np.concatenate([corners, corners + random.integers(4, 40, corners.shape)], axis=1)
        labels = random.integers(0, 3, len(boxes))
        truths.append(Objects.of(boxes, labels))
        near = np.repeat(boxes, 2, axis=0) + random.normal(0, 2, (2 * len(boxes), 4))
        far = np.stack([[10, 10, 50, 40], [0, 0, 5, 5]]) + random.normal(0, 1, (2, 4))
        ordered = np.sort(np.concatenate([near, far]).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        guesses = np.concatenate([np.repeat(labels, 2), random.integers(0, 3, 2)])
        scores = np.round(random.random(len(ordered)), draw(st.sampled_from([1, 6])))
        detections.append(found(*np.column_stack([ordered, scores, guesses])))
    return detections, truths


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_counting_hits_in_order_gives_the_same(scene):
    detections, truths = scene
    there = sorted({int(label) for these in truths for label in these.classes})
    if not there:
        return
    result = average_precision(detections, truths, ("a", "b", "c"))
    assert list(result.per_class) == ["abc"[label] for label in there]
    levels = np.linspace(0.5, 0.95, 10)
    table = np.array([[counted(detections, truths, label, least) for least in levels] for label in there])
    for row, one in zip(table, result.per_class.values(), strict=True):
        assert one.ap50 == pytest.approx(row[0], abs=1e-6) and one.ap == pytest.approx(row.mean(), abs=1e-6)
    assert result.ap50 == pytest.approx(table[:, 0].mean(), abs=1e-6)
    assert result.ap == pytest.approx(table.mean(), abs=1e-6)


def test_the_objects_themselves_are_hundred_percent_at_every_overlap():
    truths = [Objects.of([[0, 0, 9, 9], [5, 5, 7, 8]], [0, 2]), ONE, Objects.of([], [])]
    detections = [
        found(*[(*box, 0.5, label) for box, label in zip(these.boxes, these.classes, strict=True)]) for these in truths
    ]
    result = average_precision(detections, truths, ("a", "b", "c"))
    assert (result.ap50, result.ap) == pytest.approx((100, 100))
    assert [(name, one.objects) for name, one in result.per_class.items()] == [("a", 2), ("c", 1)]


def test_nothing_found_is_zero():
    result = average_precision([found()], [ONE], ("a",))
    assert (result.ap50, result.ap, result.per_class["a"].objects) == (0, 0, 1)


def test_detections_in_images_without_objects_are_wrong():
    right, wrong = found((10, 10, 30, 30, 0.5, 0)), found((10, 10, 30, 30, 0.9, 0))
    empty = Objects.of([], [])
    assert average_precision([right, found()], [ONE, empty], ("a",)).ap50 == pytest.approx(100)
    assert average_precision([right, wrong], [ONE, empty], ("a",)).ap50 == pytest.approx(50)


def test_detections_of_a_class_without_objects_change_nothing():
    detections = [found((10, 10, 30, 30, 0.5, 0), (10, 10, 30, 30, 0.9, 1))]
    result = average_precision(detections, [ONE], ("a", "b"))
    assert result.ap50 == pytest.approx(100) and list(result.per_class) == ["a"]


@pytest.mark.parametrize(("first", "ap50"), [(True, 100), (False, 50)])
def test_equal_scores_rank_in_the_order_given(first, ap50):
    rows = [(10, 10, 30, 30, 0.5, 0), (60, 60, 80, 80, 0.5, 0)]
    result = average_precision([found(*(rows if first else rows[::-1]))], [ONE], ("a",))
    assert result.ap50 == pytest.approx(ap50)


def test_a_second_box_on_an_object_is_wrong():
    twice = found((10, 10, 30, 30, 0.5, 0), (10, 10, 30, 31, 0.9, 0), (60, 60, 80, 80, 0.4, 0))
    result = average_precision([twice], [Objects.of([[10, 10, 30, 30], [60, 60, 80, 80]], [0, 0])], ("a",))
    # Hits, miss, hit: precision 1 up to half of the objects, then 2/3: 51 and 50 of the 101 recalls.
    assert result.ap50 == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)


def test_difficult_objects_count_neither_for_nor_against():
    truths = [Objects.of([[10, 10, 30, 30], [50, 50, 90, 90]], [0, 0], [False, True])]
    plain = found((10, 10, 30, 30, 0.5, 0))
    on_it = found((10, 10, 30, 30, 0.5, 0), (50, 50, 90, 90, 0.9, 0), (55, 55, 85, 85, 0.8, 0))
    for detections in (plain, on_it):
        result = average_precision([detections], truths, ("a",))
        assert result.ap50 == pytest.approx(100) and result.per_class["a"].objects == 1


def test_a_class_of_difficult_objects_is_left_out():
    truths = [Objects.of([[10, 10, 30, 30], [50, 50, 90, 90]], [0, 1], [False, True])]
    result = average_precision([found((10, 10, 30, 30, 0.5, 0))], truths, ("a", "b"))
    assert list(result.per_class) == ["a"] and result.ap50 == pytest.approx(100)


@pytest.mark.parametrize("empty", [(20, 20, 20, 25, 0.9, 0), (60, 60, 60, 60, 0.9, 0)])
def test_a_detection_without_area_is_wrong_even_inside_a_difficult_object(empty):
    truths = [Objects.of([[10, 10, 30, 30], [50, 50, 90, 90]], [0, 0], [False, True])]
    result = average_precision([found((10, 10, 30, 30, 0.5, 0), empty)], truths, ("a",))
    assert result.ap50 == pytest.approx(50)


def test_boxes_of_any_size_count():
    huge = [0, 0, 4e5, 4e5]
    result = average_precision([found((*huge, 0.5, 0))], [Objects.of([huge], [0])], ("a",))
    assert result.ap == pytest.approx(100)


def test_the_best_hundred_of_a_class_are_looked_at():
    wrong = [(60, 60, 80, 80, 0.9, 0)] * 99
    right = (10, 10, 30, 30, 0.5, 0)
    assert average_precision([found(*wrong, right)], [ONE], ("a",)).ap50 == pytest.approx(1)
    assert average_precision([found(*wrong, wrong[0], right)], [ONE], ("a",)).ap50 == 0


def test_nothing_is_printed(capfd):
    average_precision([found()], [ONE], ("a",))
    assert capfd.readouterr() == ("", "")


def test_without_pycocotools_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ToolMissing, match=r"pycocotools") as refused:
        average_precision([found()], [ONE], ("a",))
    assert refused.value.fix == "pip install 'edgevision[detect]'"
