"""Maps, objects and detections that cannot be right are refused, and everything wrong with them is said at once."""

import numpy as np
import pytest
import torch

from edgevision.compress.centre_loss import centre_loss
from edgevision.compress.centre_targets import centre_targets
from edgevision.data.average_precision import average_precision
from edgevision.data.detection import Objects
from edgevision.errors import UsageError
from edgevision.zoo.centres import Detections, decode

INF, NAN = float("inf"), float("nan")
GOOD = Objects.of([[1, 1, 9, 9]], [0])


def detected(boxes, scores, classes):
    return Detections(np.asarray(boxes, np.float32), np.asarray(scores, np.float32), np.asarray(classes, np.int64))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("channel", [0, 3, 6])
@pytest.mark.parametrize("logits", [True, False])
def test_maps_that_are_not_finite_are_refused(value, channel, logits):
    maps = np.zeros((2, 7, 4, 5), np.float32)
    maps[1, channel, 2, 3] = value
    with pytest.raises(UsageError, match=rf"expected finite maps, got 1 of 280.* \(1, {channel}, 2, 3\)"):
        decode(maps, logits=logits)


@pytest.mark.parametrize("maps", [
    np.zeros((1, 4, 3, 3)), np.zeros((5, 3, 3)), np.zeros((1, 5, 0, 3)), np.zeros((1, 5, 3, 3), complex),
    np.zeros((1, 5, 3, 3), object), np.zeros((1, 5, 3, 3), bool), np.array("maps"), np.float32(1),
], ids=lambda x: f"{x.dtype}{x.shape}")  # fmt: skip
def test_other_shapes_and_types_are_no_maps(maps):
    with pytest.raises(UsageError, match=r"expected numbers of shape \(N, classes \+ 4, h, w\).*got"):
        decode(maps)


def test_logits_are_no_scores():
    maps = np.zeros((1, 5, 2, 2), np.float32)
    maps[0, 0, 0, 0] = -2.5
    with pytest.raises(UsageError, match=r"expected scores in \[0, 1\].*got -2.5 to 0"):
        decode(maps, logits=False)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(UsageError) as refused:
        decode(np.zeros((1, 2, 3, 3)), top=0, stride=-1)
    assert len(refused.value.reasons) == 3


def test_no_images_are_no_detections():
    assert decode(np.zeros((0, 5, 3, 3), np.float32)) == []


@pytest.mark.parametrize("channels", [5, 7, 84])
def test_maps_of_other_channels_have_no_loss(channels):
    targets = centre_targets([GOOD], 2, (4, 4))
    with pytest.raises(UsageError, match=rf"expected maps of shape \(1, 6, 4, 4\).*got \(1, {channels}, 4, 4\)"):
        centre_loss(torch.zeros(1, channels, 4, 4), targets)


def test_maps_of_another_grid_or_batch_have_no_loss():
    targets = centre_targets([GOOD], 2, (4, 4))
    for shape in ((1, 6, 4, 8), (2, 6, 4, 4), (6, 4, 4)):
        with pytest.raises(UsageError, match="got"):
            centre_loss(torch.zeros(*shape), targets)


def test_a_map_that_is_not_finite_has_no_finite_loss():
    targets = centre_targets([GOOD], 2, (4, 4))
    for channel, value in ((0, NAN), (2, NAN), (5, INF)):
        maps = torch.zeros(1, 6, 4, 4)
        maps[0, channel, 1, 1] = value
        assert not centre_loss(maps, targets).total.isfinite()


@pytest.mark.parametrize("box", [(3, 3, 3, 9), (3, 3, 9, 3), (9, 3, 3, 9), (4, 4, 4, 4)])
@pytest.mark.parametrize("difficult", [False, True])
def test_boxes_without_area_are_refused(box, difficult):
    bad = Objects.of([[1, 1, 9, 9], box], [0, 0], [False, difficult])
    said = rf"image 1: expected x1 < x2 and y1 < y2, got box 1: {', '.join(map(str, box))}"
    with pytest.raises(UsageError, match=said):
        centre_targets([GOOD, bad], 1, (4, 4))
    with pytest.raises(UsageError, match=said):
        average_precision([detected(np.empty((0, 4)), [], [])] * 2, [GOOD, bad], ("a",))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_boxes_that_are_not_finite_are_refused(value):
    with pytest.raises(UsageError, match="expected finite coordinates, got box 0: 1, 1, "):
        centre_targets([Objects.of([[1, 1, value, 9]], [0])], 1, (4, 4))


@pytest.mark.parametrize("box", [(14, 2, 18, 6), (-20, 2, 4, 6), (2, 2, 4, 40), (90, 90, 95, 95)])
def test_centres_outside_the_image_are_refused(box):
    with pytest.raises(UsageError, match="expected centres inside 16x16 pixels, got 1 outside, the first of box 1 at"):
        centre_targets([Objects.of([[1, 1, 9, 9], box], [0, 0])], 1, (4, 4))


@pytest.mark.parametrize("label", [-1, 2, 99])
def test_unknown_classes_are_refused(label):
    said = f"expected classes from 0 to 1, got {label} for box 0"
    with pytest.raises(UsageError, match=said):
        centre_targets([Objects.of([[1, 1, 9, 9]], [label])], 2, (4, 4))
    with pytest.raises(UsageError, match=said):
        average_precision([detected([[1, 1, 9, 9]], [0.5], [label])], [GOOD], ("a", "b"))


def test_every_image_with_a_fault_is_named():
    bad = Objects.of([[3, 3, 3, 9], [NAN, 1, 2, 2]], [0, 7])
    with pytest.raises(UsageError) as refused:
        centre_targets([bad, GOOD, bad], 2, (4, 4))
    assert [reason[:8] for reason in refused.value.reasons] == ["image 0:"] * 3 + ["image 2:"] * 3


def test_a_thousand_bad_boxes_are_not_all_listed():
    with pytest.raises(UsageError, match="and 995 more") as refused:
        centre_targets([Objects.of(np.zeros((1000, 4)), np.zeros(1000))], 1, (4, 4))
    assert len(str(refused.value)) < 1000


def test_a_thousand_bad_images_are_not_all_listed():
    with pytest.raises(UsageError, match="and 980 more like these") as refused:
        average_precision([detected([[1, 1, NAN, 9]], [0.5], [0])] * 1000, [GOOD] * 1000, ("a",))
    assert len(str(refused.value)) < 3000


@pytest.mark.parametrize(("found", "said"), [
    (detected([[9, 1, 1, 9]], [0.5], [0]), "expected x1 <= x2 and y1 <= y2, got box 0: 9, 1, 1, 9"),
    (detected([[1, 1, NAN, 9]], [0.5], [0]), "expected finite coordinates"),
    (detected([[1, 1, 9, 9]], [NAN], [0]), "expected a finite score for each of 1 boxes, got 0 of 1"),
    (detected([[1, 1, 9, 9]], [0.5, 0.5], [0]), "expected a finite score for each of 1 boxes, got 2 of 2"),
    (detected([[1, 1, 9, 9]], [0.5], [0, 0]), r"expected boxes of shape \(N, 4\) and N integer classes"),
    (detected([1, 1, 9, 9], [0.5], [0]), r"expected boxes of shape \(N, 4\) and N integer classes"),
    (Detections(np.ones((1, 4)), np.ones(1), np.zeros(1)), "got shape .* and float64 of shape"),
])  # fmt: skip
def test_detections_that_cannot_be_right_are_refused(found, said):
    with pytest.raises(UsageError, match=said):
        average_precision([found], [GOOD], ("a",))


@pytest.mark.parametrize("truths", [[], [Objects.of([], [])], [Objects.of([[1, 1, 9, 9]], [0], [True])]])
def test_without_objects_there_is_no_precision(truths):
    with pytest.raises(UsageError, match="expected at least one object that is not difficult, got none"):
        average_precision([detected(np.empty((0, 4)), [], [])] * len(truths), truths, ("a",))


def test_detections_and_objects_are_of_the_same_images_and_names_differ():
    with pytest.raises(UsageError) as refused:
        average_precision([], [GOOD], ("a", "a"))
    assert len(refused.value.reasons) == 2
