import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgevision.data import Letterbox

SIDES = st.integers(1, 700)
TARGETS = st.integers(8, 600)


@given(width=SIDES, height=SIDES, to_height=TARGETS, to_width=TARGETS, data=st.data())
def test_boxes_come_back_to_within_a_pixel_of_the_scaled_grid(width, height, to_height, to_width, data):
    box = Letterbox.fitting(width, height, to_height, to_width)
    edges = data.draw(st.lists(st.tuples(*[st.floats(0, side, width=32) for side in (width, height)] * 2), max_size=4))
    boxes = np.asarray(edges, np.float32).reshape(-1, 4)
    # A detector answers on the grid of the scaled image.
    there = np.round(box.boxes(boxes))
    back = box.back(there)
    assert back.shape == boxes.shape and back.dtype == np.float32
    assert ((back >= 0) & (back <= [width, height, width, height])).all()
    pixel = np.asarray([width / box.scaled_width, height / box.scaled_height] * 2)
    assert (np.abs(back - boxes) <= pixel).all()
    np.testing.assert_allclose(box.back(box.boxes(boxes)), boxes, atol=1e-3)


@given(width=SIDES, height=SIDES, to_height=TARGETS, to_width=TARGETS)
def test_the_whole_image_is_kept_undistorted_in_the_middle(width, height, to_height, to_width):
    box = Letterbox.fitting(width, height, to_height, to_width)
    assert box.scaled_width == to_width or box.scaled_height == to_height
    scale = min(to_width / width, to_height / height)
    assert 1 <= box.scaled_width <= to_width and abs(box.scaled_width - width * scale) <= 1
    assert 1 <= box.scaled_height <= to_height and abs(box.scaled_height - height * scale) <= 1
    right, bottom = to_width - box.scaled_width - box.left, to_height - box.scaled_height - box.top
    assert box.left <= right <= box.left + 1 and box.top <= bottom <= box.top + 1
    np.testing.assert_allclose(
        box.boxes(np.asarray([[0, 0, width, height]])),
        [[box.left, box.top, box.left + box.scaled_width, box.top + box.scaled_height]],
        rtol=1e-6,
    )


@given(width=st.integers(5, 90), height=st.integers(5, 90), to_height=TARGETS, to_width=TARGETS, data=st.data())
def test_a_painted_object_lies_where_its_box_is_mapped(width, height, to_height, to_width, data):
    x1, y1 = data.draw(st.integers(0, width - 3)), data.draw(st.integers(0, height - 3))
    x2, y2 = data.draw(st.integers(x1 + 2, width)), data.draw(st.integers(y1 + 2, height))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y1:y2, x1:x2] = 255
    box = Letterbox.fitting(width, height, to_height, to_width)
    padded = box.image(Image.fromarray(pixels), fill=(7, 8, 9))
    assert padded.shape == (to_height, to_width, 3) and padded.dtype == np.uint8
    mapped = box.boxes(np.asarray([[x1, y1, x2, y2]]))[0]
    if (mapped[2:] - mapped[:2]).min() < 2:
        return  # An object smaller than two pixels of the grid may not reach half its brightness anywhere.
    rows, columns = np.nonzero(padded[..., 0] > 127)
    seen = np.asarray([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert (np.abs(seen - mapped) <= 1).all()


def test_padding_has_the_colour_asked_for_and_grey_images_stay_grey():
    box = Letterbox.fitting(4, 2, 7, 8)
    padded = box.image(Image.new("RGB", (4, 2), (200, 100, 50)), fill=(7, 8, 9))
    inside = np.zeros((7, 8), bool)
    inside[1:5] = True
    assert (padded[inside] == (200, 100, 50)).all() and (padded[~inside] == (7, 8, 9)).all()
    assert box.image(Image.new("L", (4, 2)), fill=(3,))[..., 0].tolist()[0] == [3] * 8


def test_an_image_of_the_right_size_is_left_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    box = Letterbox.fitting(24, 16, 16, 24)
    assert np.array_equal(box.image(Image.fromarray(pixels), interpolation="bicubic"), pixels)
    assert box.boxes(np.asarray([[1.5, 2, 3, 4]])).tolist() == [[1.5, 2, 3, 4]]
