from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from edgevision.compress.histogram import BINS, Histogram
from edgevision.compress.ranges import OUTSIDE, chosen, divergence, squared_error


def histogram(values: np.ndarray, pieces: int = 1) -> Histogram:
    found = Histogram()
    for piece in np.array_split(values.astype(np.float32), pieces):
        found.add(piece)
    return found


#: Mostly small, a few far out: what a range by extremes wastes its steps on.
OUTLIERS = np.concatenate([np.random.default_rng(0).standard_normal(20_000), [60.0, -45.0]]).astype(np.float32)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=40), st.integers(1, 4))
def test_a_histogram_is_that_of_numpy_whatever_the_pieces(values, pieces):
    found = histogram(np.array(values), pieces)
    wanted, _ = np.histogram(np.float32(values), BINS, (-found.reach, found.reach))
    # A value on the edge between two bins may fall into either.
    assert np.abs(np.cumsum(found.counts) - np.cumsum(wanted)).max() <= len(values)
    assert found.counts.sum() == len(values) and (found.low, found.high) == (min(values), max(values))
    whole = histogram(np.array(values))
    assert found.reach == whole.reach and np.array_equal(found.counts, whole.counts)


def test_merged_histograms_are_that_of_all_values():
    found, small = histogram(OUTLIERS[:9000]), histogram(OUTLIERS[9000:])
    found.merge(small)
    assert np.array_equal(found.counts, histogram(OUTLIERS).counts) and found.high == 60.0


def rounding_error(values: np.ndarray, low: float, high: float, levels: int) -> float:
    step = (high - low) / (levels - 1)
    return float(np.square(np.clip(np.round((values - low) / step), 0, levels - 1) * step + low - values).sum())


@pytest.mark.parametrize("levels", [16, 256])
def test_the_range_of_least_error_is_better_than_any_of_a_coarse_search(levels):
    low, high = chosen(histogram(OUTLIERS), "mse", levels)
    tried = [rounding_error(OUTLIERS, -45 * a, 60 * b, levels) for a in np.linspace(0.1, 1, 10)
             for b in np.linspace(0.1, 1, 10)]  # fmt: skip
    assert rounding_error(OUTLIERS, low, high, levels) <= 1.02 * min(tried)
    assert high - low < 105


def test_an_error_by_histogram_is_that_of_the_values():
    found = histogram(OUTLIERS)
    error = squared_error(found.centres, found.counts.astype(float), -4.0, 4.0)
    assert error == pytest.approx(rounding_error(OUTLIERS, -4.0, 4.0, 256), rel=0.02)


def test_a_percentile_leaves_out_its_share():
    low, high = chosen(histogram(OUTLIERS), "percentile")
    width = 2 * 64 / BINS
    assert high == pytest.approx(np.quantile(OUTLIERS, 1 - OUTSIDE), abs=2 * width + 0.1)
    assert (high < OUTLIERS).mean() <= OUTSIDE and (low > OUTLIERS).mean() <= OUTSIDE


def test_divergence_is_that_of_scipy():
    centres, counts = np.arange(8) + 0.5, np.array([4.0, 1, 1, 2, 9, 1, 3, 3])
    # Four steps, at 0.5, 2.83, 5.17 and 7.5: bins 0-1, 2-3, 4-5, 6-7, each pair sharing its count.
    q = np.repeat(counts.reshape(4, 2).mean(1), 2)
    assert divergence(centres, counts, 0.5, 7.5, 4) == pytest.approx(entropy(counts, q))


def test_least_divergence_clips_outliers():
    low, high = chosen(histogram(OUTLIERS), "kl")
    assert 2 < high < 30 and -30 < low < -2


@pytest.mark.parametrize("how", ["min_max", "percentile", "mse", "kl"])
def test_every_range_holds_zero(how):
    low, high = chosen(histogram(np.random.default_rng(1).uniform(3, 5, 1000)), how)
    assert low == 0.0 and high > 4.5
