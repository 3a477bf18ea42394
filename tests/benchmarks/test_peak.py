from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from helpers.tools import need

from benchmarks.cpu import peak


@pytest.fixture(scope="module")
def limits(tmp_path_factory) -> peak.Limits:
    need("cc")
    return peak.measured(tmp_path_factory.mktemp("peak"))


def test_no_matrix_product_is_faster_than_the_peak(limits):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    left, right = (torch.from_numpy(np.ones((512, 512), np.float32)) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    torch.set_num_threads(threads)
    # Not far below either: a peak that is ten times what a library reaches was not measured from one core.
    assert 0.1 < 512**3 / best / limits.macs_per_s(integer=False) < 1.1


def test_small_buffers_are_read_faster_than_large_ones(limits):
    assert limits.bandwidth(1 << 14) > limits.bandwidth(1 << 28) > 1e9


def test_what_was_not_measured_is_unknown():
    assert peak.Limits({"fp32": 1.0}, lambda size: 1.0).macs_per_s(integer=True) is None
