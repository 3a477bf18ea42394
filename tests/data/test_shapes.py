import numpy as np
import pytest

from edgevision.data import Preprocessing, shapes, shapes_scene
from edgevision.data.shapes import CLASSES, draw_image, open_shapes
from edgevision.data.shapes_drawing import SIDE, rendered
from edgevision.data.shapes_scene import draw_scene
from edgevision.errors import UsageError

IMAGES = 150
#: The first train image.
GOLDEN_CLASSES = ["ring", "triangle", "ring"]
GOLDEN_BOXES = [[27, 7, 112, 96], [40, 97, 56, 113], [107, 101, 124, 119]]
GOLDEN_COLOUR = [91.7, 139.0, 80.5]


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene(np.random.default_rng([5, seed])) for seed in range(IMAGES)]


def pixels(part, number):
    return np.asarray(draw_image(part, number)[0])


def inside(polygon, x, y):
    """Whether points are inside a polygon: how often a ray to the right crosses its edges."""
    crossings = np.zeros(np.broadcast_shapes(x.shape, y.shape), int)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if ay != by:
            crossings += ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return crossings % 2 == 1


def mask_of(outline, fine=4):
    """Pixels of the image that an outline covers by half or more."""
    at = (np.arange(SIDE * fine) + 0.5) / fine
    x, y = at[None], at[:, None]
    covered = np.any([inside(polygon, x, y) for polygon in outline.solid], axis=0)
    for hole in outline.holes:
        covered &= ~inside(hole, x, y)
    return covered.reshape(SIDE, fine, SIDE, fine).mean((1, 3)) >= 0.5


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def test_boxes_are_tight_around_what_the_outlines_cover(scenes):
    objects = [drawn for scene in scenes[:20] for drawn in scene.objects]
    masks = [mask_of(drawn.outline) for drawn in objects]
    off = np.abs([np.subtract(drawn.box, box_of(mask)) for drawn, mask in zip(objects, masks, strict=True)])
    assert off.max() <= 1 and off.mean() < 0.2
    for drawn, mask in zip(objects, masks, strict=True):
        own = np.zeros((SIDE, SIDE), bool)
        own[drawn.window[0]] = drawn.coverage[drawn.window[1]] >= 128
        assert (own & mask).sum() > 0.85 * (own | mask).sum()
    assert {drawn.name for drawn in objects} == set(CLASSES)


def test_an_object_changes_the_picture_up_to_its_box_and_no_further(scenes):
    for scene in scenes[:10]:
        for drawn in scene.objects:
            others = tuple(other for other in scene.objects if other is not drawn)
            images = [
                np.asarray(rendered(scene.background, shown, np.random.default_rng(1)), int)
                for shown in (others, (*others, drawn))
            ]
            changed = np.abs(images[0] - images[1]).max(2)
            np.testing.assert_allclose(drawn.box, box_of(changed > 0), atol=1)
            x1, y1, x2, y2 = drawn.box
            changed[y1 - 1 : y2 + 1, x1 - 1 : x2 + 1] = 0
            assert not changed.any()


def test_objects_lie_apart_inside_the_image(scenes):
    for scene in scenes:
        taken = np.zeros((SIDE, SIDE), int)
        for drawn in scene.objects:
            x1, y1, x2, y2 = drawn.box
            assert 0 < x1 < x2 < SIDE and 0 < y1 < y2 < SIDE
            taken[drawn.window[0]] += drawn.coverage[drawn.window[1]] > 0
        assert taken.max(initial=0) <= 1


def test_every_class_comes_about_as_often_at_every_size(scenes):
    objects = [drawn for scene in scenes for drawn in scene.objects]
    sides = np.array([max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in (drawn.box for drawn in objects)])
    labels = np.array([CLASSES.index(drawn.name) for drawn in objects])
    for chosen in (sides < np.median(sides), sides >= np.median(sides)):
        counts = np.bincount(labels[chosen], minlength=len(CLASSES))
        assert counts.min() > 0.6 * chosen.sum() / len(CLASSES), counts
    assert sides.max() / sides.min() > 6
    numbers = np.bincount([len(scene.objects) for scene in scenes])
    assert len(numbers) == 7 and numbers.min() > 0


def test_an_image_is_the_same_in_every_order_and_number(monkeypatch):
    train, test = (open_shapes().split(name) for name in ("train", "test"))
    expected = [train.read(i) for i in (0, 3)]
    names = {tuple(pixels("test", i)[0, 0]) for i in range(3)}
    assert {tuple(np.asarray(test.source.read(shapes.TRAIN_IMAGES + i)[0])[0, 0]) for i in range(3)} == names
    monkeypatch.setattr(shapes, "TRAIN_IMAGES", 4)
    monkeypatch.setattr(shapes, "TEST_IMAGES", 2)
    fewer = open_shapes().split("train")
    for (image, objects), number in zip(reversed(expected), (3, 0), strict=True):
        again, same = fewer.read(number)
        assert np.array_equal(image, again) and np.array_equal(objects.boxes, same.boxes)
        assert np.array_equal(objects.classes, same.classes) and not same.difficult.any()


def test_no_test_image_is_a_train_image():
    shown = {draw_image(part, number)[0].tobytes() for part in ("train", "test") for number in range(20)}
    assert len(shown) == 40


def test_the_hash_follows_the_specification_and_nothing_else(monkeypatch):
    before = open_shapes()
    assert before.sha256 == open_shapes(Preprocessing(height=64, width=64)).sha256 and len(before.sha256) == 64
    monkeypatch.setattr(shapes_scene, "GAP", 3)
    assert open_shapes().sha256 != before.sha256


def test_pictures_are_those_of_this_version():
    """When this fails because the drawing was changed on purpose: raise VERSION, and write down what comes now."""
    image, objects = draw_image("train", 0)
    assert shapes.VERSION == 1 and [CLASSES[i] for i in objects.classes] == GOLDEN_CLASSES
    np.testing.assert_allclose(objects.boxes, GOLDEN_BOXES, atol=1)
    np.testing.assert_allclose(np.asarray(image).mean((0, 1)), GOLDEN_COLOUR, atol=0.5)


def test_the_default_preprocessing_normalises():
    images, objects = next(open_shapes().split("test").batches(60))
    assert images.shape == (60, 3, SIDE, SIDE) and len(objects) == 60
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=0.15)
    np.testing.assert_allclose(images.std((0, 2, 3)), 1, atol=0.15)


def test_other_sizes_are_letterboxed():
    original = open_shapes().split("test")
    wide = open_shapes(Preprocessing(height=64, width=256)).split("test")
    assert len(wide) == shapes.TEST_IMAGES
    for index in range(5):
        pixels, objects, _ = wide.letterboxed(index)
        assert pixels.shape == (64, 256, 3)
        np.testing.assert_allclose(objects.boxes, original.read(index)[1].boxes / 2 + [96, 0, 96, 0])


def test_a_crop_is_refused():
    with pytest.raises(UsageError, match="keeps the whole image"):
        open_shapes(Preprocessing(height=64, width=64, resize_short=80))
