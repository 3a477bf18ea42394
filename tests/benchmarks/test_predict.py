from __future__ import annotations

import pytest

from benchmarks.predict.__main__ import UNSEEN
from benchmarks.predict.cases import errors, summary
from edgevision import zoo
from edgevision.profile.profile import StepProfile


def rows(*pairs: tuple[float, float]) -> tuple[StepProfile, ...]:
    return tuple(StepProfile(i, "a", "gemm", 1, False, measured, 0.5, predicted_us=predicted)
                 for i, (predicted, measured) in enumerate(pairs))  # fmt: skip


def test_errors_count_every_step_and_weigh_by_time():
    found = errors(rows((100, 100), (104, 100), (109, 100), (2, 1)))
    assert found["count"] == 4 and found["mape"] == pytest.approx((0 + 0.04 + 0.09 + 1) / 4)
    assert found["weighted"] == pytest.approx((4 + 9 + 1) / 301)
    assert (found["within_5"], found["within_10"]) == (0.5, 0.75)


def test_the_summary_keeps_the_sign_and_names_the_worst():
    steps = {"mape": 0.1, "within_5": 0.4, "within_10": 0.8}
    found = summary({"a": {"error": 0.04, "steps": steps}, "b": {"error": -0.2, "steps": steps}})
    assert found["latency_mean_error"] == pytest.approx(-0.08) and found["latency_mape"] == pytest.approx(0.12)
    assert (found["latency_within_5"], found["latency_within_10"], found["worst_case"]) == (0.5, 0.5, "b")


def test_the_unseen_networks_are_of_the_zoo():
    assert set(UNSEEN) <= set(zoo.names()) and len(UNSEEN) >= 6
