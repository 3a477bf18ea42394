from __future__ import annotations

import numpy as np
import pytest
from helpers.finders import SIDE, STRIDE, few_shapes, perfect_maps
from helpers.networks import digits

from edgevision.compress.box_scoring import BoxScoring, alike
from edgevision.compress.scoring import score, scoring_of
from edgevision.data import Preprocessing, top1
from edgevision.errors import UsageError
from edgevision.zoo.centres import Detections

GRID = (SIDE // STRIDE, SIDE // STRIDE)


def answering(scoring: BoxScoring, change=lambda maps: maps, batch=32):
    """A network that knows the objects of every batch it is asked about, in order."""
    truths = (objects for _, (objects, _) in scoring.batches(batch))

    def network(images):
        rows, columns = (side // STRIDE for side in images.shape[2:])
        return change(perfect_maps(next(truths), len(scoring.classes), (rows, columns)))

    return network


def test_labels_are_scored_as_top1_does():
    draw = np.random.default_rng(0)
    matrix = draw.standard_normal((3 * 16 * 16, 10))

    def network(images):
        return images.reshape(len(images), -1) @ matrix

    assert score(scoring_of(digits()), network, limit=100) == top1(network, digits().split("test"), limit=100)


def test_a_network_that_knows_everything_has_100_percent_of_any_images():
    # At the side they are drawn with, no two centres are in neighbouring cells, of which one would hide the other.
    scoring = scoring_of(few_shapes(test=40, preprocessing=Preprocessing(height=128, width=128)))
    found = score(scoring, answering(scoring, batch=7), batch=7)
    assert scoring.metric == "AP50" and found.percent == 100.0 and found.total == 40
    assert found.interval == (100.0, 100.0)


def test_boxes_are_judged_in_the_pixels_of_the_image_and_not_of_the_padding():
    scoring = scoring_of(few_shapes(4))
    meter = scoring.meter()
    for images, (objects, boxes) in scoring.batches(4):
        meter.add(scoring.answers(perfect_maps(objects, len(scoring.classes), GRID)), (objects, boxes))
        assert images.shape == (4, 3, SIDE, SIDE)
    stored = [scoring.split.read(index)[1].boxes for index in range(4)]
    np.testing.assert_allclose(np.concatenate([t.boxes for t in meter.truths]), np.concatenate(stored), atol=1e-3)


def test_wrong_classes_cost_what_they_should():
    scoring = scoring_of(few_shapes(8))

    def renamed(maps):
        return np.concatenate([np.roll(maps[:, :6], 1, axis=1), maps[:, 6:]], axis=1)

    assert score(scoring, answering(scoring, renamed)).percent < 5


def test_the_interval_widens_with_doubt_and_says_nothing_of_few_images():
    scoring = scoring_of(few_shapes(test=40))
    draw = np.random.default_rng(0)

    def half(maps):
        keep = draw.random((len(maps), 1, *GRID)) < 0.5
        return np.where(keep, maps, np.float32(-9))

    found = score(scoring, answering(scoring, half))
    low, high = found.interval
    assert 5 < found.percent < 95 and low < found.percent < high and 2 < high - low < 60
    few = scoring_of(few_shapes(8))
    assert score(few, answering(few)).interval == (0.0, 100.0)


def test_maps_of_other_classes_or_of_nan_are_refused():
    scoring = scoring_of(few_shapes(4))
    scoring.refuse((1, 6 + 4, 16, 16), "net")
    for shape in ((1, 10), (1, 9, 16, 16)):
        with pytest.raises(UsageError, match="expected maps of shape"):
            scoring.refuse(shape, "net on shapes")
    with pytest.raises(UsageError, match="finite"):
        score(scoring, answering(scoring, lambda maps: maps * np.nan))


def test_only_confident_detections_that_go_together_are_alike():
    def found(*rows):
        boxes, scores, classes = zip(*rows, strict=True)
        return Detections(np.asarray(boxes, np.float32), np.asarray(scores, np.float32), np.asarray(classes))

    here, there = (0, 0, 8, 8), (20, 20, 28, 28)
    one = found((here, 0.9, 0), (there, 0.8, 1))
    assert alike(one, found((there, 0.5, 1), (here, 0.4, 0), (here, 0.1, 2)))
    assert not alike(one, found((here, 0.9, 0)))
    assert not alike(one, found((here, 0.9, 1), (there, 0.8, 0)))
    assert not alike(one, found((here, 0.9, 0), (here, 0.8, 1)))
    assert not alike(found((here, 0.9, 0), (here, 0.8, 0)), found((here, 0.9, 0), (there, 0.8, 0)))
    scoring = scoring_of(few_shapes(1))
    assert scoring.differing([one, one], [one, found((here, 0.9, 0))]) == 1
