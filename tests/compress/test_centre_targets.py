"""Targets against a formula evaluated at every cell, and read back by the decoder."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgevision.compress.centre_targets import centre_targets, radius
from edgevision.data.detection import Objects
from edgevision.zoo.centres import decode

ROWS, COLUMNS, CLASSES = 12, 17, 3


@st.composite
def boxes(draw):
    """Boxes of any size inside 68x48 pixels, an eighth of a pixel and the whole image among them."""
    sides = []
    for length in (32 * COLUMNS, 32 * ROWS):
        side = draw(st.integers(1, length) | st.sampled_from([8, length]))
        first = draw(st.integers(0, length - side) | st.sampled_from([0, length - side]))
        sides.append((first / 8, (first + side) / 8))
    (left, right), (top, bottom) = sides
    return [left, top, right, bottom]


def overlap(shift, height, width):
    """Intersection over union of a box and the same box with every side moved outwards by `shift`."""
    return height * width / ((height + 2 * shift) * (width + 2 * shift))


@given(st.floats(0.05, 200), st.floats(0.05, 200), st.sampled_from([0.3, 0.5, 0.7, 0.9]))
def test_the_radius_is_the_multiple_of_the_shift_that_keeps_the_overlap(height, width, least):
    low, high = 0.0, 10 * (height + width)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if overlap(middle, height, width) > least else (low, middle)
    assert radius(height, width, overlap=least) == pytest.approx(4 * least * low, rel=1e-6)


@given(st.floats(0.05, 200), st.floats(0.05, 200))
def test_no_other_root_as_released_is_smaller(height, width):
    released = []
    for a, b, c in (
        (1, height + width, width * height * 0.3 / 1.7),
        (4, 2 * (height + width), 0.3 * width * height),
        (2.8, -1.4 * (height + width), -0.3 * width * height),
    ):
        released.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    assert radius(height, width) == pytest.approx(min(released), rel=1e-6)


def formula(these, label, row, column):
    """Heat of one class at one cell, in double precision."""
    heat = 0.0
    for (x1, y1, x2, y2), one in zip(these.boxes.astype(float) / 4, these.classes, strict=True):
        reach = math.floor(radius(y2 - y1, x2 - x1))
        down, across = row - math.floor((y1 + y2) / 2), column - math.floor((x1 + x2) / 2)
        if one == label and max(abs(down), abs(across)) <= reach:
            sigma = (2 * reach + 1) / 6
            heat = max(heat, math.exp(-(down**2 + across**2) / (2 * sigma**2)))
    return heat


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(boxes(), st.integers(0, CLASSES - 1)), max_size=6))
def test_heat_is_the_formula_at_every_cell(objects):
    these = Objects.of([box for box, _ in objects], [label for _, label in objects])
    targets = centre_targets([these], CLASSES, (ROWS, COLUMNS))
    expected = [
        [[formula(these, c, y, x) for x in range(COLUMNS)] for y in range(ROWS)] for c in range(CLASSES)
    ]  # fmt: skip
    np.testing.assert_allclose(targets.heat[0].numpy(), expected, atol=1e-6)
    assert targets.objects == len(objects) and bool(targets.counted.all())


def found_in(targets):
    """What a network that gives exactly the targets has found."""
    maps = torch.cat([targets.heat, targets.sizes, targets.offsets], 1).numpy()
    for detections in decode(maps, logits=False, top=maps.size):
        sure = detections.scores == 1
        yield detections.boxes[sure], detections.classes[sure]


def cells(these):
    return np.floor((these.boxes[:, :2].astype(float) + these.boxes[:, 2:]) / 8).astype(int)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.tuples(boxes(), st.integers(0, CLASSES - 1)), max_size=8), min_size=1, max_size=3))
@example([[([0.0, 0.0, 1.0, 1.0], 0), ([67.0, 47.0, 68.0, 48.0], 0)]])
@example([[([4.0, 4.0, 5.0, 5.0], 0), ([8.0, 4.0, 9.0, 5.0], 0)]])
def test_exact_maps_decode_to_the_objects(batch):
    truths = [Objects.of([box for box, _ in image], [label for _, label in image]) for image in batch]
    targets = centre_targets(truths, CLASSES, (ROWS, COLUMNS))
    for these, (found, labels) in zip(truths, found_in(targets), strict=True):
        places = [tuple(cell) for cell in cells(these)]
        # Of objects in one cell the smallest is left, once for each class that has its centre there; of equal peaks of
        # one class in adjacent cells the first.
        area = (these.boxes[:, 2:] - these.boxes[:, :2]).prod(axis=1)
        shown = {}
        for index in np.argsort(-area, kind="stable"):
            shown[places[index]] = these.boxes[index]
        peaks = {(int(label), *place) for label, place in zip(these.classes, places, strict=True)}
        expected = sorted(
            (label, *shown[x, y])
            for label, x, y in peaks
            if not peaks & {(label, x - 1, y), (label, x - 1, y - 1), (label, x, y - 1), (label, x + 1, y - 1)}
        )
        assert len(found) == len(expected)
        got = sorted((int(label), *box) for box, label in zip(found, labels, strict=True))
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_smallest_of_one_cell_is_left_whatever_the_order():
    large, small = [0, 0, 40, 40], [18, 18, 23, 23]
    for order in ([large, small], [small, large]):
        targets = centre_targets([Objects.of(order, [1, 1])], 2, (10, 10))
        ((found, labels),) = found_in(targets)
        assert found.tolist() == [small] and labels.tolist() == [1] and targets.objects == 2


def test_another_class_in_the_cell_is_found_with_the_smaller_box():
    targets = centre_targets([Objects.of([[0, 0, 40, 40], [18, 18, 23, 23]], [0, 1])], 2, (10, 10))
    ((found, labels),) = found_in(targets)
    assert found.tolist() == [[18, 18, 23, 23]] * 2 and labels.tolist() == [0, 1]


def test_cells_beside_a_centre_ask_for_the_same_box_and_a_centre_comes_first():
    these = Objects.of([[0, 0, 20, 20], [14, 8, 18, 12], [36, 36, 40, 40]], [0, 1, 0])
    targets = centre_targets([these], 2, (10, 10), beside=0.25)
    weights, offsets, sizes = (each[0].numpy() for each in (targets.weights, targets.offsets, targets.sizes))
    assert np.argwhere(weights == 1).tolist() == [[2, 2], [2, 4], [9, 9]]
    assert set(np.unique(weights)) == {0, 0.25, 1} and (weights > 0).sum() == 3 * 5 + 4
    # The column between the first two belongs to the smaller one.
    owners = {(2.5, 2.5): (5, {1, 2}), (4.0, 2.5): (1, {3, 4, 5}), (9.5, 9.5): (1, {8, 9})}
    for row, column in np.argwhere(weights > 0):
        side, columns = owners[tuple(offsets[:, row, column] + (column, row))]
        assert sizes[:, row, column].tolist() == [side, side] and column in columns


def test_difficult_objects_are_neither_objects_nor_background():
    these = Objects.of([[5, 8, 14, 17], [0, 0, 40, 40]], [0, 1], [True, False])
    targets = centre_targets([these], 2, (10, 10))
    assert not targets.heat[0, 0].any() and targets.objects == 1 and int((targets.weights == 1).sum()) == 1
    expected = np.ones((10, 10), bool)
    expected[2:5, 1:4] = False
    np.testing.assert_array_equal(targets.counted[0, 0].numpy(), expected)
    assert bool(targets.counted[0, 1].all())


def test_an_ordinary_object_counts_inside_a_difficult_one():
    these = Objects.of([[0, 0, 40, 40], [18, 18, 23, 23]], [0, 0], [True, False])
    targets = centre_targets([these], 1, (10, 10))
    assert torch.nonzero(targets.counted[0, 0]).tolist() == [[5, 5]] and float(targets.heat[0, 0, 5, 5]) == 1


def test_a_difficult_object_may_lie_outside():
    targets = centre_targets([Objects.of([[-90, -90, -50, -50], [30, 30, 90, 90]], [0, 0], [True, True])], 1, (10, 10))
    assert int((~targets.counted).sum()) == 9 and targets.objects == 0
