from __future__ import annotations

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from helpers.waves import SMALL, exact, small_waves

from edgevision.api.subject import built_in_data, refuse_other_data
from edgevision.compress.field_task import FieldPrediction
from edgevision.compress.scoring import score, scoring_of
from edgevision.compress.task import task_of
from edgevision.compress.train import train
from edgevision.compress.train_settings import Augmentation, TrainSettings, default_settings
from edgevision.data.metric import metric_of
from edgevision.errors import UsageError
from edgevision.graph.export import export
from edgevision.zoo import load_model

PLAIN = TrainSettings(epochs=1, batch=4, lr=1e-3, weight_decay=0.0, warmup_epochs=0, threads=1)
FLIP = msgspec.structs.replace(PLAIN, augmentation=Augmentation(flip=True))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_fields_make_the_task_and_the_score():
    data = small_waves()
    assert isinstance(task_of(data, PLAIN), FieldPrediction)
    assert task_of(data, PLAIN).metric == scoring_of(data).metric == metric_of(data) == "fit"
    assert default_settings("wave_net", "wave:any.toml").augmentation.flip


def test_the_loss_is_the_mean_relative_error():
    task = task_of(small_waves(), PLAIN)
    _, later = task.batch(np.arange(3), None, generator())
    assert task.loss(later * 1.25, later).item() == pytest.approx(0.25, rel=1e-5)
    assert task.loss(torch.zeros_like(later), torch.zeros_like(later)).item() == 0


def test_mirrored_windows_are_waves_of_mirrored_squares():
    spec = msgspec.structs.replace(SMALL, borders=("fixed", "free", "absorbing", "absorbing"))
    data = small_waves(spec)
    task, split = task_of(data, FLIP), data.split("train")
    inputs, later = split.windows([1])
    seen = set()
    for seed in range(20):
        own, fields = (part.numpy() for part in task.batch(np.array([1]), None, generator(seed)))
        # Left and right differ: x is never mirrored and nothing is turned; y and the sign are.
        cases = {(up, sign): (inputs[:, :, ::-1] if up else inputs) for up in (0, 1) for sign in (1, -1)}
        for (up, sign), case in cases.items():
            wanted = np.concatenate([case[:, :2] * sign, case[:, 2:]], axis=1)
            if np.array_equal(own, wanted):
                np.testing.assert_array_equal(fields, (later[:, :, ::-1] if up else later) * sign)
                seen.add((up, sign))
    assert len(seen) == 4


def test_where_all_borders_are_alike_windows_are_turned_too():
    data = small_waves(msgspec.structs.replace(SMALL, borders=("free",) * 4))
    task = task_of(data, FLIP)
    kinds = {task.batch(np.array([0]), None, generator(seed))[0].numpy()[:, 2].tobytes() for seed in range(60)}
    assert len(kinds) == 8


def test_changes_that_are_not_those_of_waves_are_refused_together():
    changed = msgspec.structs.replace(PLAIN, sizes=(8,), augmentation=Augmentation(rotate=10.0, brightness=0.1))
    with pytest.raises(UsageError) as refused:
        task_of(small_waves(), changed)
    assert len(refused.value.reasons) == 3


def test_a_perfect_network_has_a_fit_of_a_hundred_and_nothing_one_of_zero():
    scoring = scoring_of(small_waves())
    assert score(scoring, exact(small_waves().split("test"))).percent == pytest.approx(100, abs=1e-3)
    nothing = score(scoring, lambda inputs: np.zeros((len(inputs), SMALL.later, 16, 16), np.float32))
    assert nothing.percent == 0 and nothing.total == 6


def test_windows_that_differ_by_more_than_a_twentieth_are_counted():
    fields = np.random.default_rng(0).standard_normal((3, 2, 4, 4))
    others = fields * np.array([1.0, 1.04, 1.06])[:, None, None, None]
    assert scoring_of(small_waves()).differing(others, fields) == 1


def test_networks_with_other_outputs_are_refused():
    scoring = scoring_of(small_waves())
    scoring.refuse((1, 2, 16, 16), "here")
    for shape in ((1, 10), (1, 3, 16, 16), (1, 2, 32, 32)):
        with pytest.raises(UsageError, match="expected later fields"):
            scoring.refuse(shape, "here")


def test_data_and_networks_of_other_kinds_are_refused():
    assert built_in_data("wave_net") == "wave"
    with pytest.raises(UsageError, match="wave_net predicts fields, digits has images with one label each"):
        refuse_other_data("wave_net", "digits")
    with pytest.raises(UsageError, match="cas_vit names images, wave has fields in time"):
        refuse_other_data("cas_vit", "wave")


def test_training_lowers_the_error_and_a_resumed_run_gives_the_same_bits(tmp_path):
    data = small_waves()
    model = load_model("wave_net", classes=data.classes, preprocessing=data.preprocessing)
    settings = msgspec.structs.replace(FLIP, epochs=6)
    done = train(model.module, data, settings, checkpoint=tmp_path / "a", seed=3)
    assert done.metric == "fit" and done.history[-1].loss < 0.9 * done.history[0].loss
    calls = 0

    def stop(stage, step, total, detail=""):
        nonlocal calls
        calls += 1
        if calls == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model.module, data, settings, checkpoint=tmp_path / "b", seed=3, progress=stop)
    again = train(model.module, data, settings, checkpoint=tmp_path / "b", seed=3, resume=True)
    for one, other in zip(done.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_exported_network_predicts_what_torch_does():
    data = small_waves()
    model = load_model("wave_net", classes=data.classes, preprocessing=data.preprocessing)
    assert model.input.shape == (1, 3, 16, 16) and model.classes == data.classes
    inputs, _ = data.split("test").windows([0])
    session = onnxruntime.InferenceSession(export(model).graph.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs})
    with torch.no_grad():
        np.testing.assert_allclose(found, model.module(torch.from_numpy(inputs)).numpy(), atol=1e-5)
