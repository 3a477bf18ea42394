import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgevision.data import Preprocessing, Split, open_data
from edgevision.data.dataset import CALIBRATION_IMAGES, hashed_order, held_out
from edgevision.errors import UsageError


class Numbered:
    """Image i is grey level i, modulo 251."""

    def image(self, index):
        return Image.new("L", (8, 8), index % 251)


def numbered(count, side=8):
    how = Preprocessing(height=side, width=side, mean=(0.0,) * 3, std=(1.0,) * 3)
    return Split("test", how, Numbered(), np.arange(count), np.arange(count, dtype=np.int64) % 5)


@given(st.integers(1, 40), st.integers(1, 17), st.none() | st.integers(0, 50))
def test_batches_give_every_image_once_in_order_and_normalised(count, batch, limit):
    batches = list(numbered(count).batches(batch, limit=limit))
    expected = count if limit is None else min(count, limit)
    assert all(len(images) == batch for images, _ in batches[:-1])
    values = [value for images, _ in batches for value in images[:, 0, 0, 0]]
    np.testing.assert_allclose(values, np.arange(expected) / 255, rtol=1e-6)
    assert [label for _, labels in batches for label in labels] == [i % 5 for i in range(expected)]
    for images, labels in batches:
        assert images.dtype == np.float32 and images.shape[1:] == (3, 8, 8) and labels.dtype == np.int64


def test_memory_does_not_grow_with_the_number_of_images():
    def peak(count):
        tracemalloc.start()
        for images, _ in numbered(count, side=64).batches(4):
            assert images.shape[1:] == (3, 64, 64)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(8)
    assert peak(240) < 1.5 * peak(24)


@given(st.lists(st.text(max_size=6), min_size=2, max_size=30, unique=True))
def test_a_hashed_order_stays_as_names_are_added(names):
    before = [names[:-1][i] for i in hashed_order(names[:-1], salt="s")]
    after = [names[i] for i in hashed_order(names, salt="s")]
    assert sorted(after) == sorted(names)
    assert [name for name in after if name != names[-1]] == before


@given(st.lists(st.integers(2, 20), min_size=2, max_size=6), st.floats(0.01, 0.99))
def test_held_out_takes_the_share_of_every_class_and_leaves_some_of_each(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    kept, out = held_out(np.random.default_rng(0).permutation(len(labels)), labels, share)
    assert sorted([*kept, *out]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        taken = int((labels[out] == label).sum())
        assert 1 <= taken <= count - 1 and abs(taken - share * count) <= 1


def test_digits_are_split_the_same_way_every_time_and_without_overlap():
    first, second = open_data("digits"), open_data("digits")
    parts = {name: first.split(name).indices for name in ("train", "calibration", "test")}
    assert not set(parts["train"]) & set(parts["test"])
    assert set(parts["calibration"]) <= set(parts["train"]) and len(parts["calibration"]) == CALIBRATION_IMAGES
    assert all(np.array_equal(parts[name], second.split(name).indices) for name in parts)
    assert first.sha256 == second.sha256 and len(first.sha256) == 64
    counts = np.bincount(first.split("test").labels)
    assert counts.min() >= 43 and counts.sum() == 450


def test_digits_are_the_digits_of_scikit_learn():
    from sklearn.datasets import load_digits

    split = open_data("digits", Preprocessing(height=8, width=8)).split("test")
    pixels, label = split.images(7)
    index = split.indices[7]
    np.testing.assert_allclose(pixels[..., 0] / 255 * 16, load_digits().images[index], atol=0.04)
    assert label == load_digits().target[index] and np.array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("spec", ["digit", "folders:x", "folder", "folder:", "digits:x", "shapes:x", ""])
def test_unknown_data_lists_what_there_is(spec):
    with pytest.raises(
        UsageError, match="digits, folder:PATH or imagenet:PATH; with boxes shapes, voc:PATH or coco:PATH"
    ):
        open_data(spec)


def test_unknown_split_says_which_there_are():
    with pytest.raises(UsageError, match="only train, calibration, test"):
        open_data("digits").split("validation")
