from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevision.profile import statistics

TIMES = st.floats(1e-3, 1e6, allow_nan=False)


@given(st.lists(TIMES, min_size=6, max_size=60))
def test_median_interval_has_the_binomial_coverage_asked_for(values):
    interval = statistics.median_interval(values)
    ordered = sorted(values)
    assert interval.low <= interval.value <= interval.high
    assert interval.value == pytest.approx(float(np.median(values)))
    # The tightest pair of order statistics that still covers 95 %, worked out by scipy's binomial.
    n = len(values)
    k = max(j for j in range(1, n // 2 + 1) if 1 - 2 * scipy.stats.binom.cdf(j - 1, n, 0.5) >= 0.95)
    assert (interval.low, interval.high) == (ordered[k - 1], ordered[n - k])


def test_fewer_than_six_values_give_their_whole_range():
    assert statistics.median_interval([3.0, 1.0, 2.0]) == statistics.Interval(2.0, 1.0, 3.0)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        statistics.median_interval([])


def test_intervals_cover_the_true_median_about_as_often_as_they_say():
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(400):
        interval = statistics.median_interval(list(draw.exponential(1.0, 21)))
        hits += interval.low <= np.log(2) <= interval.high
    assert 0.93 <= hits / 400 <= 0.995


@given(st.lists(st.tuples(TIMES, TIMES), min_size=3, max_size=40))
@settings(max_examples=30, deadline=None)
def test_ratio_lies_in_its_interval_and_between_the_extreme_quotients(pairs):
    ours, theirs = zip(*pairs, strict=True)
    ratio = statistics.paired_ratio(ours, theirs)
    quotients = np.divide(ours, theirs)
    assert ratio.low <= ratio.value * (1 + 1e-12) and ratio.value <= ratio.high * (1 + 1e-12)
    assert quotients.min() * (1 - 1e-12) <= ratio.low and ratio.high <= quotients.max() * (1 + 1e-12)


def test_pairing_removes_noise_that_hits_both():
    draw = np.random.default_rng(3)
    weather = draw.lognormal(0, 0.5, 40)
    ours = 2.0 * weather * draw.lognormal(0, 0.005, 40)
    theirs = 1.0 * weather * draw.lognormal(0, 0.005, 40)
    ratio = statistics.paired_ratio(ours, theirs)
    assert ratio.low > 1.98 and ratio.high < 2.02
    assert statistics.median_interval(ours).high / statistics.median_interval(ours).low > 1.1


def test_ratio_is_the_same_for_the_same_seed():
    ours, theirs = [1.0, 1.2, 0.9, 1.1], [2.0, 2.1, 1.9, 2.2]
    assert statistics.paired_ratio(ours, theirs, seed=5) == statistics.paired_ratio(ours, theirs, seed=5)


def test_latency_takes_the_median_of_windows_and_percentiles_of_runs():
    windows = [[1_000_000, 1_000_000, 9_000_000], [2_000_000], [3_000_000]]
    summary = statistics.latency(windows)
    assert summary.median.value == 2.0
    assert summary.p90 == pytest.approx(float(np.percentile([1, 1, 9, 2, 3], 90)))
    assert (summary.runs, summary.windows, summary.minimum) == (5, 3, 1.0)
