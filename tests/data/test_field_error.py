from __future__ import annotations

import numpy as np
import pytest
from helpers.waves import SMALL, exact, small_waves

from edgevision.data.field_error import FieldMeter, energies, relative_l2
from edgevision.data.field_rollout import roll_out
from edgevision.data.wave_spec import PAST
from edgevision.errors import UsageError


def test_the_relative_error_is_the_quotient_of_the_norms():
    random = np.random.default_rng(0)
    predicted, true = random.standard_normal((2, 5, 3, 4, 4))
    wanted = [np.linalg.norm(p - t) / np.linalg.norm(t) for p, t in zip(predicted, true, strict=True)]
    np.testing.assert_allclose(relative_l2(predicted, true, (1, 2, 3)), wanted)


def test_nothing_where_nothing_is_is_right_and_something_is_infinitely_wrong():
    found = relative_l2(np.array([[0.0], [1.0]]), np.zeros((2, 1)), (1,))
    assert found.tolist() == [0.0, np.inf]


def test_the_fit_is_one_less_the_mean_error_and_its_interval_is_over_trajectories():
    meter = FieldMeter(together=2)
    true = np.ones((4, 1, 2, 2))
    meter.add(true * np.array([1.1, 1.1, 1.3, 1.3])[:, None, None, None], true)
    score = meter.score()
    assert score.percent == pytest.approx(80) and score.total == 4
    # Two trajectories of errors 0.1 and 0.3: standard error 0.1, t of one degree of freedom.
    low, high = score.interval
    assert low == pytest.approx(0) and high == pytest.approx(100)
    assert score.over_time == pytest.approx([0.2])


def test_worse_than_nothing_is_a_fit_of_zero():
    meter = FieldMeter()
    meter.add(np.full((2, 1, 2, 2), 5.0), np.ones((2, 1, 2, 2)))
    assert meter.score().percent == 0 and meter.score().error == pytest.approx(4)


def test_outputs_that_are_no_fields_are_refused():
    with pytest.raises(UsageError, match="expected fields of shape"):
        FieldMeter().add(np.zeros((1, 2, 4, 4)), np.zeros((1, 3, 4, 4)))
    with pytest.raises(UsageError, match="NaN"):
        FieldMeter().add(np.full((1, 2, 4, 4), np.nan), np.zeros((1, 2, 4, 4)))
    with pytest.raises(UsageError, match="at least one window"):
        FieldMeter().score()


def test_the_energy_of_a_plane_wave_is_that_of_the_formula():
    x = np.linspace(0, 1, 257)
    times = np.arange(3) * 0.001
    speed = np.full((257, 257), 1.5)
    wave = np.stack([np.tile(np.sin(4 * np.pi * (x - 1.5 * t)), (257, 1)) for t in times])
    # Half of the mean of the squares of du/dt and c du/dx, each (4 pi c)^2 / 2.
    np.testing.assert_allclose(energies(wave, speed, 0.001), (4 * np.pi * 1.5) ** 2 / 2, rtol=0.01)


def test_a_perfect_network_rolls_out_without_error_and_keeps_the_energy():
    split = small_waves().split("test")
    done = roll_out(exact(split), split, batch=1)
    assert done.fields.shape == (2, SMALL.frames, 16, 16)
    np.testing.assert_allclose(done.errors, 0, atol=1e-5)
    np.testing.assert_allclose(done.energy_drift, 0, atol=1e-4)


def test_errors_grow_as_a_network_goes_on_from_its_own():
    split = small_waves().split("test")
    perfect = exact(split)
    done = roll_out(lambda inputs: perfect(inputs) * np.float32(0.9), split, batch=2)
    steps = done.errors.reshape(-1, SMALL.later)
    # The scale of the past goes into the next prediction: 10 %, then 19 %, then 27.1 % are lost.
    np.testing.assert_allclose(steps[:, -1], [0.1, 0.19, 0.271], atol=0.02)
    assert done.energy_drift[-1] == pytest.approx(0.729**2 - 1, abs=0.05)
    assert len(done.energy_drift) == len(done.errors) == SMALL.frames - PAST


def test_a_network_with_another_number_of_fields_cannot_be_rolled_out():
    split = small_waves().split("test")
    with pytest.raises(UsageError, match="expected later fields of shape"):
        roll_out(lambda inputs: inputs, split)
