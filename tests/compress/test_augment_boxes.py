import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.compress.augment_boxes import (
    augment_with_boxes,
    check_box_augmentation,
    clipped,
    flipped,
    placed,
    turned,
)
from edgevision.compress.train_settings import Augmentation
from edgevision.data.detection import Objects
from edgevision.errors import UsageError

torch.set_num_threads(1)
HEIGHT, WIDTH = 24, 40
SHARES = st.floats(0, 0.9)
AUGMENTATIONS = st.builds(
    Augmentation,
    probability=st.floats(0, 1),
    shift=SHARES,
    scale=SHARES,
    brightness=SHARES,
    contrast=SHARES,
    saturation=SHARES,
    flip=st.booleans(),
    turns=st.booleans(),
)
PLACES = st.tuples(st.floats(-5, WIDTH + 5, width=32), st.floats(-5, WIDTH + 5, width=32))


@st.composite
def some_objects(draw):
    corners = np.float32(draw(st.lists(st.tuples(PLACES, PLACES), max_size=6))).reshape(-1, 2, 2)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    return Objects.of(boxes, np.arange(len(boxes)), [draw(st.booleans()) for _ in boxes])


def noise(bands=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, bands), np.uint8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=80, deadline=None)
@given(some_objects(), AUGMENTATIONS, st.sampled_from([1, 3]), st.integers(0, 1000))
def test_boxes_stay_inside_with_some_area_and_a_seed_repeats_them(objects, how, bands, seed):
    image = noise(bands)
    changed, left = augment_with_boxes(image, objects, how, seeded(seed))
    assert changed.shape == image.shape and changed.dtype == np.uint8
    assert left.boxes.dtype == np.float32 and left.boxes.shape == (len(left), 4)
    assert (left.boxes >= 0).all() and (left.boxes <= np.float32([WIDTH, HEIGHT] * 2)).all()
    assert (left.boxes[:, :2] < left.boxes[:, 2:]).all()
    assert np.array_equal(left.difficult, objects.difficult[left.classes])
    again, same = augment_with_boxes(image, objects, how, seeded(seed))
    assert np.array_equal(changed, again) and np.array_equal(left.boxes, same.boxes)
    assert np.array_equal(image, noise(bands))


@given(some_objects())
def test_flipping_twice_changes_nothing(objects):
    image = noise()
    once = flipped(image, objects)
    twice, boxes = flipped(*once)
    assert np.array_equal(twice, image) and np.array_equal(once[0], np.fliplr(image))
    np.testing.assert_allclose(boxes.boxes, objects.boxes, atol=1e-5)


def test_half_of_the_images_are_flipped():
    image = noise()
    changed = [augment_with_boxes(image, Objects.of([], []), Augmentation(flip=True), seeded(i))[0] for i in range(200)]
    mirrored = [np.array_equal(one, image[:, ::-1]) for one in changed]
    assert 70 < sum(mirrored) < 130
    assert all(np.array_equal(one, image) for one, other in zip(changed, mirrored, strict=True) if not other)


@given(st.integers(0, 3), st.booleans())
def test_a_turned_box_is_around_the_same_pixels(quarters, mirrored):
    image = np.zeros((24, 40, 3), np.uint8)
    image[3:9, 21:35] = 255
    given = (image, Objects.of([[21, 3, 35, 9]], [2]))
    changed, objects = turned(*(flipped(*given) if mirrored else given), quarters)
    assert changed.shape == ((40, 24, 3) if quarters % 2 else image.shape)
    (x1, y1, x2, y2), bright = objects.boxes[0].astype(int), changed[..., 0] > 0
    assert bright[y1:y2, x1:x2].all() and bright.sum() == (y2 - y1) * (x2 - x1) == 6 * 14


@pytest.mark.parametrize(("shape", "ways"), [((8, 8, 3), 8), ((8, 12, 3), 4)])
def test_every_turn_that_keeps_the_shape_is_drawn(shape, ways):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    drawn = [augment_with_boxes(image, Objects.of([], []), Augmentation(turns=True), seeded(i))[0] for i in range(200)]
    counts = np.unique([one.tobytes() for one in drawn], return_counts=True)[1]
    assert all(one.shape == shape for one in drawn)
    assert len(counts) == ways and counts.min() > 200 / ways / 2.5


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 1.8), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.booleans())
def test_a_box_follows_the_pixels_it_is_around(scale, across, down, flip):
    image = np.zeros((96, 120, 3), np.uint8)
    image[40:70, 30:50] = 255
    image, objects = placed(image, Objects.of([[30, 40, 50, 70]], [3]), scale, across, down)
    if flip:
        image, objects = flipped(image, objects)
    objects = clipped(objects, 120, 96)
    bright = image[..., 0] > 128
    if len(objects):
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        around = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(objects.boxes[0], around, atol=1.01)
    else:
        # Less than half along one side is left of it.
        assert bright.sum() <= 20 * 30 * scale**2 / 2 * 1.3


def test_an_object_goes_when_its_centre_leaves_and_is_clipped_before():
    boxes = [[-3, 2, 5, 6], [-5, 2, 3, 6], [35, 20, 44, 23], [36, 20, 46, 23], [5, 5, 5, 9]]
    left = clipped(Objects.of(boxes, range(5), [0, 1, 1, 0, 0]), WIDTH, HEIGHT)
    assert left.boxes.tolist() == [[0, 2, 5, 6], [35, 20, 40, 23]]
    assert left.classes.tolist() == [0, 2] and left.difficult.tolist() == [False, True]


def test_what_stays_empty_gets_the_mean_colour():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :20] = (200, 100, 50)
    changed, _ = placed(image, Objects.of([], []), 0.5, 0.0, 0.0)
    assert changed[0, 0].tolist() == changed[39, 39].tolist() == [100, 50, 25]
    assert changed[20, 15].tolist() == [200, 100, 50] and changed[20, 25].tolist() == [0, 0, 0]


def test_sizes_and_places_are_spread_over_what_is_asked():
    objects = Objects.of([[18, 10, 22, 14]], [0])
    how = Augmentation(scale=0.4, shift=0.1)
    boxes = np.stack([augment_with_boxes(noise(), objects, how, seeded(i))[1].boxes[0] for i in range(300)])
    widths, centres = boxes[:, 2] - boxes[:, 0], boxes[:, [0, 1]] / 2 + boxes[:, [2, 3]] / 2 - [20, 12]
    assert widths.min() > 4 * 0.58 and widths.max() < 4 * 1.42 and widths.min() < 2.8 and widths.max() > 5.2
    assert (np.abs(centres) <= [4.6, 3.0]).all() and (np.abs(centres).max(0) > [3, 1.5]).all()


def test_probability_nought_and_nothing_asked_leave_the_image_alone():
    objects = Objects.of([[1, 2, 3, 4]], [0])
    for how in (Augmentation(), Augmentation(probability=0.0, shift=0.3, scale=0.5, contrast=0.5)):
        image, same = augment_with_boxes(noise(), objects, how, seeded())
        assert np.array_equal(image, noise()) and np.array_equal(same.boxes, objects.boxes)


def test_colours_change_without_moving_anything():
    objects = Objects.of([[1, 2, 3, 4]], [0])
    image = np.repeat(np.uint8([[[60], [180]]]), 3, axis=2).repeat(HEIGHT, 0).repeat(WIDTH // 2, 1)
    changed, same = augment_with_boxes(image, objects, Augmentation(brightness=0.2, contrast=0.3), seeded(3))
    assert np.array_equal(same.boxes, objects.boxes) and not np.array_equal(changed, image)
    assert len(np.unique(changed[:, : WIDTH // 2])) == len(np.unique(changed[:, WIDTH // 2 :])) == 1


def test_what_loosens_boxes_is_refused_with_all_reasons():
    check_box_augmentation(Augmentation(shift=0.2, scale=0.4, flip=True, contrast=0.3))
    with pytest.raises(UsageError) as refused:
        check_box_augmentation(Augmentation(rotate=10.0, shear=0.1, scale=1.0, shift=-0.1))
    assert len(refused.value.reasons) == 4
