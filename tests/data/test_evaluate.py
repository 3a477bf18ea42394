import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgevision.data import Accuracy, open_data, top1
from edgevision.errors import UsageError


def test_counts_what_is_right_and_stops_at_the_limit():
    split = open_data("digits").split("test")
    position = 0

    def right_for_the_first_thirty(images):
        nonlocal position
        logits = np.zeros((len(images), 10), np.float32)
        for row in range(len(images)):
            truth = split.labels[position]
            logits[row, truth if position < 30 else (truth + 1) % 10] = 1
            position += 1
        return logits

    told = []
    accuracy = top1(right_for_the_first_thirty, split, batch=16, limit=40, progress=lambda *a: told.append(a[1:3]))
    assert accuracy == Accuracy(30, 40) and accuracy.percent == 75
    assert told == [(16, 40), (32, 40), (40, 40)]


@given(st.integers(1, 500), st.data())
def test_the_interval_solves_the_score_equation(total, data):
    accuracy = Accuracy(data.draw(st.integers(0, total)), total)
    share = accuracy.correct / total
    low, high = (bound / 100 for bound in accuracy.interval)
    assert 0 <= low <= share <= high <= 1
    for bound in (low, high):
        # Wilson: the bounds are the shares from which the observed one is 1.96 of their own deviations away.
        if 0 < bound < 1:
            assert (share - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / total, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda images: np.zeros((len(images) + 1, 10)), "expected logits"),
        (lambda images: np.zeros(10), "expected logits"),
        (lambda images: np.full((len(images), 10), np.nan), "NaN"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(output, message):
    with pytest.raises(UsageError, match=message):
        top1(output, open_data("digits").split("test"), limit=4)


def test_no_images_is_an_error():
    with pytest.raises(UsageError, match="at least one image"):
        top1(lambda images: images, open_data("digits").split("test"), limit=0)
