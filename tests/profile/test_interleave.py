from __future__ import annotations

import numpy as np
import pytest

from edgevision.device.device import RawTiming
from edgevision.profile import interleave, noise
from edgevision.profile.profile import Protocol
from edgevision.profile.statistics import latency


class FakeEngine:
    """An engine on a machine whose speed changes from window to window for everyone."""

    def __init__(self, name: str, ns: int, log: list[str], weather=lambda turn: 1.0) -> None:
        self.name, self.ns, self.log, self.weather = name, ns, log, weather

    def window(self, runs: int, warmup: int) -> RawTiming:
        self.log.append(self.name)
        ns = int(self.ns * self.weather(len(self.log)))
        return RawTiming(init_ns=0, first_ns=ns, run_ns=(ns,) * runs)

    def predict(self, images: np.ndarray) -> np.ndarray:
        return images


def no_rest(seconds: float) -> None:
    pass


PROTOCOL = Protocol(seconds=2.0, window_seconds=0.1, least_windows=5)


def test_every_engine_gets_the_same_number_of_windows_and_the_time_asked_for():
    log: list[str] = []
    engines = [FakeEngine("slow", 50_000_000, log), FakeEngine("fast", 1_000_000, log)]
    windows = interleave.measure(engines, PROTOCOL, rest=no_rest)
    assert len(windows["slow"]) == len(windows["fast"]) >= PROTOCOL.least_windows
    for timed in windows.values():
        assert sum(map(sum, timed)) / 1e9 >= PROTOCOL.seconds


def test_engines_take_turns_and_the_order_rotates():
    log: list[str] = []
    engines = [FakeEngine(name, 10_000_000, log) for name in "abc"]
    interleave.measure(engines, Protocol(seconds=0.1, window_seconds=0.1, least_windows=3), rest=no_rest)
    assert log[-9:] == list("abcbcacab")


def test_windows_hold_about_the_time_asked_for():
    engine = FakeEngine("a", 2_000_000, [])
    assert interleave.runs_per_window(engine, PROTOCOL, no_rest) == 50


def test_warm_up_ends_when_windows_agree():
    log: list[str] = []
    engine = FakeEngine("a", 1_000_000, log, weather=lambda turn: max(1.0, 4.0 - turn))
    interleave.runs_per_window(engine, PROTOCOL, no_rest)
    assert len(log) == 5


def test_warm_up_of_a_restless_engine_ends_too():
    log: list[str] = []
    engine = FakeEngine("a", 10_000_000, log, weather=lambda turn: 1.0 + turn % 2)
    interleave.runs_per_window(engine, PROTOCOL, no_rest)
    assert len(log) < 60


def test_compare_leaves_the_baseline_out():
    got = interleave.compare({"a": [1.0, 2.0], "b": [2.0, 4.0], "c": [4.0, 8.0]}, "b")
    assert [(c.engine, c.baseline, c.ratio.value) for c in got] == [("a", "b", 0.5), ("c", "b", 2.0)]


def test_progress_never_runs_past_its_total():
    seen = []
    interleave.measure(
        [FakeEngine("a", 10_000_000, [])],
        PROTOCOL,
        progress=lambda stage, done, total, detail="": seen.append((done, total)),
        rest=no_rest,
    )
    assert [done == total for done, total in seen] == [False] * (len(seen) - 1) + [True]


def steady(ms: float) -> list[float]:
    return [ms] * 9


SUMMARY = {"a": latency([[1_000_000, 1_010_000, 1_020_000, 1_030_000]])}


def test_a_clean_measurement_has_no_flags():
    assert noise.flags({"a": steady(1)}, SUMMARY, {"frequency_khz": 2_000_000}, {"frequency_khz": 1_990_000}, 0.0) == ()


@pytest.mark.parametrize(
    ("windows", "before", "after", "load", "word"),
    [
        ({"a": steady(1)}, {"frequency_khz": [None, 2_000_000]}, {"frequency_khz": [1_500_000, None]}, None, "clock"),
        ({"a": [1, 1, 1, 1.05, 1.1, 1.1], "b": [2, 2, 2, 2, 2.2, 2.2]}, {}, {}, None, "every engine"),
        ({"a": steady(1)}, {}, {}, 0.9, "other processes"),
    ],
)
def test_each_disturbance_is_named(windows, before, after, load, word):
    (flag,) = noise.flags(windows, SUMMARY, before, after, load)
    assert word in flag


def test_one_engine_slowing_down_alone_is_not_the_machine():
    windows = {"a": [1, 1, 1, 1.1, 1.2, 1.2], "b": steady(2)}
    assert noise.flags(windows, SUMMARY, {}, {}) == ()


def test_spread_of_single_runs_names_the_worst_engine():
    wild = latency([[1_000_000, 2_000_000, 3_000_000, 4_000_000]])
    wilder = latency([[1_000_000, 2_000_000, 3_000_000, 9_000_000, 20_000_000]])
    (flag,) = noise.flags({"a": steady(1)}, {**SUMMARY, "b": wild, "c": wilder}, {}, {})
    assert flag.startswith("noisy: single runs of 2 of 3 engines") and flag.endswith("c)")
