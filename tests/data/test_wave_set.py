from __future__ import annotations

import msgspec
import numpy as np
import pytest
from helpers.waves import SMALL

from edgevision.data import wave_generate
from edgevision.data.field_error import relative_l2
from edgevision.data.open import open_data, open_detections, open_set
from edgevision.data.wave import WaveSet, field_scale, open_wave, wave_set
from edgevision.data.wave_generate import trajectories, trajectory
from edgevision.data.wave_scene import draw_scene
from edgevision.data.wave_solver import Waves
from edgevision.data.wave_spec import PAST, WaveSpec
from edgevision.errors import UsageError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEVISION_CACHE", str(tmp_path / "cache"))


def test_the_number_of_processes_changes_no_bit():
    alone = trajectories(SMALL, processes=1)
    for path in wave_generate.Cache("waves").folder.glob("*/*"):
        path.unlink()
    together = trajectories(SMALL, processes=2)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.fields, other.fields)
        np.testing.assert_array_equal(one.speed, other.speed)


def test_what_is_in_the_cache_is_not_computed_again(monkeypatch):
    before = trajectories(SMALL, processes=1)
    monkeypatch.setattr(wave_generate, "trajectory", lambda *_: pytest.fail("computed again"))
    told: list[int] = []
    after = trajectories(SMALL, processes=1, progress=lambda stage, done, total, detail="": told.append(done))
    assert not told and all((a.fields == b.fields).all() for a, b in zip(after, before, strict=True))


def test_an_interrupted_computation_goes_on_where_it_stopped(monkeypatch):
    def stops_at_the_third(spec, number):
        if number == 2:
            raise KeyboardInterrupt
        return trajectory(spec, number)

    monkeypatch.setattr(wave_generate, "trajectory", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        trajectories(SMALL, processes=1)
    monkeypatch.setattr(wave_generate, "trajectory", trajectory)
    told: list[tuple[int, int]] = []
    trajectories(SMALL, processes=1, progress=lambda stage, done, total, detail="": told.append((done, total)))
    assert told == [(3, 5), (4, 5), (5, 5)]


def test_damaged_entries_of_the_cache_are_computed_again():
    before = trajectories(SMALL, processes=1)
    for path in wave_generate.Cache("waves").folder.glob("*/*"):
        path.write_bytes(path.read_bytes()[:-4])
    after = trajectories(SMALL, processes=1)
    assert all((a.fields == b.fields).all() for a, b in zip(after, before, strict=True))


def test_more_training_trajectories_leave_the_others_as_they_are():
    few = wave_set(SMALL, processes=1)
    more = wave_set(msgspec.structs.replace(SMALL, train=5), processes=1)
    assert few.sha256 != more.sha256
    for split in ("train", "test"):
        theirs = more.split(split).trajectories
        assert all((a.fields == b.fields).all() for a, b in zip(few.split(split).trajectories, theirs, strict=False))
    assert not (few.split("train").trajectories[0].fields == few.split("test").trajectories[0].fields).all()


def test_another_seed_or_step_gives_other_fields():
    one = trajectory(SMALL, 0)
    for changed in ({"seed": 1}, {"step": 0.01}):
        assert not (trajectory(msgspec.structs.replace(SMALL, **changed), 0).fields == one.fields).all()


def test_a_window_is_two_past_fields_the_speed_and_the_later_fields_scaled_alike():
    data = wave_set(SMALL, processes=1)
    train, test = data.split("train"), data.split("test")
    assert len(train) == 3 * (SMALL.frames - PAST - SMALL.later + 1) and len(test) == 2 * SMALL.windows
    inputs, later = train.windows([6])
    number, first = train.starts[6]
    one = train.trajectories[number]
    scale = field_scale(one.fields[first : first + 2])
    np.testing.assert_allclose(inputs[0, :2] * scale, one.fields[first : first + 2], rtol=1e-6)
    np.testing.assert_allclose(later[0] * scale, one.fields[first + 2 : first + 4], rtol=1e-6)
    assert float(np.square(inputs[0, :2]).mean()) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(inputs[0, 2] * 0.4 + 1.0, one.speed, rtol=1e-5)
    assert np.abs(inputs[:, 2]).max() <= 1 + 1e-6
    assert data.classes == ("0.06 s later", "0.12 s later")


def test_batches_hold_every_window_once_in_order():
    split = wave_set(SMALL, processes=1).split("test")
    whole = split.windows(range(len(split)))
    parts = list(split.batches(4))
    assert [len(inputs) for inputs, _ in parts] == [4, 2]
    for index in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[index] for part in parts]), whole[index])
    assert sum(len(inputs) for inputs, _ in split.batches(4, limit=5)) == 5


def test_recording_begins_when_all_sources_are_silent():
    mesh = SMALL.mesh()
    waves, every, _ = wave_generate.start(SMALL, 0, mesh)
    scene = draw_scene(0, 0, slowest=SMALL.slowest, fastest=SMALL.fastest, frequency=SMALL.frequency)
    assert waves.time >= max(source.silent_after for source in scene.sources)
    assert every * waves.step == pytest.approx(SMALL.interval)
    free = Waves(mesh, waves.speed, waves.step, SMALL.borders, start=waves.u.copy(), velocity=waves.v.copy())
    waves.advance(every)
    free.advance(every)
    np.testing.assert_allclose(free.u, waves.u, atol=1e-12)


def test_finer_meshes_record_the_same_waves_at_the_same_places_and_times_more_exactly():
    slow = msgspec.structs.replace(SMALL, frequency=1.5)
    found = {refine: trajectory(msgspec.structs.replace(slow, refine=refine), 1) for refine in (1, 2, 4, 8)}
    np.testing.assert_array_equal(found[1].speed, found[8].speed)
    errors = [relative_l2(found[refine].fields, found[8].fields, (0, 1, 2)) for refine in (1, 2, 4)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and errors[2] < 0.05


def test_the_bound_of_a_specification_holds_for_its_scenes():
    mesh, bound = SMALL.mesh(), SMALL.bound()
    assert all(wave_generate.start(SMALL, number, mesh)[0].matrices.largest_step >= bound for number in range(3))


def test_a_specification_is_a_file_and_the_image_size_its_side(tmp_path):
    path = tmp_path / "waves.toml"
    path.write_text(
        "side = 16\nrefine = 1\ntrain = 1\ntest = 1\nwindows = 1\nborders = ['fixed', 'free', 'free', 'free']\n"
    )
    data = open_set(f"wave:{path}")
    assert isinstance(data, WaveSet) and data.preprocessing.height == 16 and data.spec == f"wave:{path}"
    smaller = msgspec.structs.replace(data.preprocessing, height=8, width=8)
    assert open_wave(path, smaller).split("test").windows([0])[0].shape == (1, 3, 8, 8)
    with pytest.raises(UsageError, match="square fields, got a size of 8x16"):
        open_wave(path, msgspec.structs.replace(smaller, width=16))


def test_everything_wrong_with_a_specification_is_said_at_once_and_before_any_work():
    wrong = WaveSpec(side=2, refine=1, train=-1, interval=0.0, slowest=2.0, fastest=1.0, source=(1.5, 0.5))
    with pytest.raises(UsageError) as refused:
        wave_set(wrong)
    text = str(refused.value)
    for words in ("train to be at least 0", "interval to be a number above 0", "slowest to be at most fastest",
                  "nodes inside the square", "source inside the unit square, got it at (1.5, 0.5)"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(
    ("step", "words"), [(0.05, "CFL bound of 0.0317"), (-0.01, "CFL bound"), (0.025, "whole number of steps")]
)
def test_steps_that_cannot_be_taken_are_refused(step, words):
    with pytest.raises(UsageError, match=words):
        msgspec.structs.replace(SMALL, step=step).check()


def test_unknown_fields_and_too_large_sets_are_refused(tmp_path):
    path = tmp_path / "waves.toml"
    path.write_text("sides = 16\n")
    with pytest.raises(UsageError, match="side"):
        open_set(f"wave:{path}")
    with pytest.raises(UsageError, match="recorded values"):
        WaveSpec(train=10**6).check()


def test_fields_are_not_images():
    with pytest.raises(UsageError, match="'wave': fields in time"):
        open_data("wave")
    with pytest.raises(UsageError, match="'wave': fields in time"):
        open_detections("wave")
