"""Several engines timed in turns, in short windows, so that whatever disturbs the machine hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgevision.profile.engines import Engine
from edgevision.profile.profile import Comparison, Protocol
from edgevision.profile.statistics import paired_ratio
from edgevision.progress import Progress, silent

#: A warm-up is over when the last windows agree this well, or when it has taken `Protocol.steady_seconds`.
STEADY_SPREAD = 0.02
STEADY_WINDOWS = 3

Windows = dict[str, list[tuple[int, ...]]]


def measure(
    engines: Sequence[Engine],
    protocol: Protocol,
    *,
    progress: Progress = silent,
    rest: Callable[[float], None] = time.sleep,
) -> Windows:
    """Time every engine for `protocol.seconds`, window by window in rounds; times in nanoseconds.

    The order rotates from round to round, so that no engine always runs after the same one. Window i of every
    engine belongs to round i.
    """
    runs = {engine.name: runs_per_window(engine, protocol, rest) for engine in engines}
    windows: Windows = {engine.name: [] for engine in engines}
    spent = {engine.name: 0.0 for engine in engines}
    rounds = 0
    while rounds < protocol.least_windows or min(spent.values()) < protocol.seconds:
        turn = rounds % len(engines)
        for engine in [*engines[turn:], *engines[:turn]]:
            rest(protocol.rest_seconds)
            timed = engine.window(runs[engine.name], protocol.warmup).run_ns
            windows[engine.name].append(timed)
            spent[engine.name] += sum(timed) / 1e9
        rounds += 1
        over = rounds >= protocol.least_windows and min(spent.values()) >= protocol.seconds
        expected = max(protocol.least_windows, round(rounds * protocol.seconds / max(min(spent.values()), 1e-9)))
        progress("measure", rounds, rounds if over else max(expected, rounds + 1), f"{len(engines)} engines in turns")
    return windows


def runs_per_window(engine: Engine, protocol: Protocol, rest: Callable[[float], None] = time.sleep) -> int:
    """Warm `engine` up until it is steady and return how many runs fill a window; at least five."""
    spent, runs, medians = 0.0, 5, []
    while spent < protocol.steady_seconds:
        rest(protocol.rest_seconds)
        timed = engine.window(runs, protocol.warmup).run_ns
        spent += sum(timed) / 1e9 + protocol.rest_seconds
        medians.append(float(np.median(timed)))
        runs = max(5, int(protocol.window_seconds * 1e9 / max(medians[-1], 1.0)))
        last = medians[-STEADY_WINDOWS:]
        if len(last) == STEADY_WINDOWS and max(last) <= (1 + STEADY_SPREAD) * min(last):
            break
    return runs


def compare(windows_ms: Mapping[str, Sequence[float]], baseline: str, *, seed: int = 0) -> tuple[Comparison, ...]:
    """Ratio of every other engine's latency to the baseline's, paired over rounds.

    >>> compare({"ours": [1.0, 1.1], "theirs": [2.0, 2.2]}, "theirs")[0].ratio.value
    0.5
    """
    return tuple(
        Comparison(name, baseline, paired_ratio(medians, windows_ms[baseline], seed=seed))
        for name, medians in windows_ms.items()
        if name != baseline
    )
