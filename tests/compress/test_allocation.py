from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgevision.compress.allocation import Choice, least_cost, total


def random_options(seed, layers=5):
    rng = np.random.default_rng(seed)
    return {
        f"layer{at}": (
            Choice(4, float(rng.uniform(1e-3, 1e-1)), float(rng.uniform(1, 10))),
            Choice(8, float(rng.uniform(1e-5, 1e-3)), float(rng.uniform(10, 20))),
            Choice(32, 0.0, float(rng.uniform(30, 80))),
        )
        for at in range(layers)
    }


@pytest.mark.parametrize("seed", range(8))
def test_the_answer_is_that_of_trying_every_assignment(seed):
    options = random_options(seed)
    bound = 10 ** np.random.default_rng(seed + 100).uniform(-4, -1)
    every = [dict(zip(options, bits, strict=True)) for bits in itertools.product((4, 8, 32), repeat=len(options))]
    best = min(total(options, bits, "cost") for bits in every if total(options, bits, "noise") <= bound)
    found = least_cost(options, bound)
    assert total(options, found, "noise") <= bound * (1 + 1e-6)
    assert total(options, found, "cost") == pytest.approx(best, rel=1e-3)


def test_noise_as_small_as_float_rounding_still_counts():
    options = {"a": (Choice(4, 3e-9, 1.0), Choice(8, 1e-10, 2.0)), "b": (Choice(4, 1e-9, 1.0), Choice(8, 1e-10, 2.0))}
    assert least_cost(options, 1.2e-9) == {"a": 8, "b": 4}
