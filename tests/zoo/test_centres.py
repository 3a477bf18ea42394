"""Decoding against a plain loop over places, and of maps that say exactly what the objects are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.zoo.centres import decode


def plainly(maps, top, stride, logits):
    """The same, place by place, in Python's numbers."""
    classes, rows, columns = maps.shape[0] - 4, *maps.shape[1:]
    found = []
    for c in range(classes):
        for y in range(rows):
            for x in range(columns):
                value = float(maps[c, y, x])
                near = [
                    float(maps[c, j, i]) > value or (float(maps[c, j, i]) == value and (j, i) < (y, x))
                    for j in range(max(0, y - 1), min(rows, y + 2))
                    for i in range(max(0, x - 1), min(columns, x + 2))
                ]
                if not any(near):
                    w, h, dx, dy = (float(v) for v in maps[classes:, y, x])
                    w, h = max(w, 0), max(h, 0)
                    box = [x + dx - w / 2, y + dy - h / 2, x + dx + w / 2, y + dy + h / 2]
                    score = 1 / (1 + math.exp(-value)) if logits else value
                    found.append((-value, c, y, x, [stride * b for b in box], score))
    return sorted(found)[:top]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9),
    st.sampled_from([1, 5, 100]), st.sampled_from([1, 4, 8]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_the_plain_loop_finds_the_same(seed, count, classes, rows, columns, top, stride, logits, plateaus):
    random = np.random.default_rng(seed)
    maps = random.normal(size=(count, classes + 4, rows, columns)).astype(np.float32) * 3
    if plateaus:
        maps = np.round(maps)
    if not logits:
        maps[:, :classes] = np.clip(np.abs(maps[:, :classes]) / 8, 0, 1)
    found = decode(maps, top=top, stride=stride, logits=logits)
    assert len(found) == count
    for image, detections in zip(maps, found, strict=True):
        expected = plainly(image, top, stride, logits)
        assert detections.classes.tolist() == [one[1] for one in expected]
        np.testing.assert_allclose(detections.boxes, [one[4] for one in expected], rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(detections.scores, [one[5] for one in expected], rtol=1e-6)
        assert (detections.boxes.dtype, detections.scores.dtype, detections.classes.dtype) == ("f4", "f4", "i8")


def test_large_logits_rank_by_logit_where_their_scores_are_equal():
    maps = np.full((1, 5, 1, 7), -5000, np.float32)
    maps[0, 0, 0, [0, 2, 4, 6]] = 40, 4000, 50, 60
    maps[0, 1:, 0] = 0
    found = decode(maps, top=4)[0]
    assert found.boxes[:, 0].tolist() == [8, 24, 16, 0] and found.scores.tolist() == [1, 1, 1, 1]
    lowest = decode(np.full((1, 5, 1, 1), -5000, np.float32))[0]
    assert lowest.scores.tolist() == [0]


@pytest.mark.parametrize("second", [(1, 2), (2, 0), (2, 1), (2, 2)])
def test_a_peak_two_cells_wide_is_one_object(second):
    maps = np.zeros((1, 5, 4, 4), np.float32)
    maps[0, 0, 1, 1] = maps[0, 0][second] = 1
    found = decode(maps, logits=False)[0]
    assert found.boxes[found.scores == 1].tolist() == [[4, 4, 4, 4]]


def test_a_flat_map_is_one_object():
    assert len(decode(np.zeros((1, 5, 6, 7), np.float32))[0]) == 1


def test_a_negative_size_is_none():
    maps = np.zeros((1, 5, 1, 1), np.float32)
    maps[0, 1:3, 0, 0] = -3, 2
    assert decode(maps)[0].boxes.tolist() == [[0, -4, 0, 4]]


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda x: x[:, :, ::-1][:, :, ::-1], lambda x: x.astype(np.float64)]
)
def test_the_layout_of_the_maps_does_not_matter(layout):
    maps = np.random.default_rng(0).normal(size=(2, 7, 6, 5)).astype(np.float32)
    for one, other in zip(decode(maps), decode(layout(maps)), strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
