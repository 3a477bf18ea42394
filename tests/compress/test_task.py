from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from helpers.finders import PREPROCESSING, SIDE, SmallDetector, few_shapes
from helpers.networks import Small, digits
from torch.nn import functional as F

from edgevision.compress.centre_loss import centre_loss
from edgevision.compress.centre_targets import centre_targets
from edgevision.compress.detection_task import Detection
from edgevision.compress.task import Classification, task_of
from edgevision.compress.train import train
from edgevision.compress.train_settings import Augmentation, TrainSettings, default_settings
from edgevision.data.metric import mismatch
from edgevision.errors import UsageError
from edgevision.zoo import load_model

PLAIN = TrainSettings(epochs=1, batch=8, label_smoothing=0.1, threads=1)
CHOSEN = np.array([3, 0, 5])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_data_decides_the_task():
    assert isinstance(task_of(digits(), PLAIN), Classification) and task_of(digits(), PLAIN).metric == "top-1"
    assert isinstance(task_of(few_shapes(8), PLAIN), Detection) and task_of(few_shapes(8), PLAIN).metric == "AP50"


def test_unchanged_training_images_are_those_of_the_split():
    data = few_shapes(8)
    images, objects = task_of(data, PLAIN).batch(CHOSEN, None, generator())
    expected, truths = next(iter(data.split("train").batches(8)))
    np.testing.assert_allclose(images.numpy(), expected[CHOSEN], atol=1e-5)
    for got, index in zip(objects, CHOSEN, strict=True):
        np.testing.assert_allclose(got.boxes, truths[index].boxes, atol=1e-4)
        assert got.classes.tolist() == truths[index].classes.tolist()


def test_boxes_follow_the_size_of_a_step():
    task = task_of(few_shapes(8), PLAIN)
    images, objects = task.batch(CHOSEN, SIDE // 2, generator())
    whole = task.batch(CHOSEN, None, generator())[1]
    assert images.shape == (3, 3, SIDE // 2, SIDE // 2)
    np.testing.assert_allclose(objects[0].boxes * 2, whole[0].boxes, rtol=1e-5)


def test_the_seed_alone_decides_what_is_changed():
    settings = msgspec.structs.replace(PLAIN, augmentation=Augmentation(shift=0.1, scale=0.2, flip=True))
    task = task_of(few_shapes(8), settings)
    same, other = (task.batch(CHOSEN, None, generator(seed))[0] for seed in (1, 2))
    assert torch.equal(task.batch(CHOSEN, None, generator(1))[0], same) and not torch.equal(same, other)


def test_losses_are_those_of_the_formulas():
    logits, labels = torch.randn(2, 5, 10, generator=generator()), torch.arange(5)
    expected = sum(F.cross_entropy(head, labels, label_smoothing=0.1) for head in logits) / 2
    torch.testing.assert_close(task_of(digits(), PLAIN).loss(tuple(logits), labels), expected)
    task = task_of(few_shapes(8), PLAIN)
    _, objects = task.batch(CHOSEN, None, generator())
    maps = torch.randn(3, 6 + 4, 16, 16, generator=generator())
    terms = centre_loss(maps, centre_targets(objects, 6, (16, 16)))
    torch.testing.assert_close(task.loss(maps, objects), terms.focal + terms.size + terms.offset + terms.overlap)


def test_an_augmentation_that_boxes_do_not_bear_is_refused_before_any_step():
    with pytest.raises(UsageError, match="cannot be used with boxes"):
        task_of(few_shapes(8), msgspec.structs.replace(PLAIN, augmentation=Augmentation(rotate=10)))


def test_the_loop_trains_what_another_task_asks_for(tmp_path):
    class Still(Classification):
        def loss(self, outputs, targets):
            return 0 * super().loss(outputs, targets)

    settings = msgspec.structs.replace(PLAIN, weight_decay=0.0)
    module = Small()
    before = module.head.weight.detach().clone()
    done = train(module, digits(), settings, checkpoint=tmp_path / "still", task=Still(digits(), settings))
    assert torch.equal(done.module.head.weight, before)


def test_a_detector_stopped_and_resumed_gives_the_same_bits(tmp_path):
    settings = msgspec.structs.replace(PLAIN, epochs=2, lr=1e-3, augmentation=Augmentation(shift=0.1, flip=True))
    data = few_shapes(16)

    def stop(stage, done, total, detail=""):
        if done == 3:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    module = SmallDetector()
    whole = train(module, data, settings, checkpoint=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="1 of 2 epochs"):
        train(module, data, settings, checkpoint=tmp_path / "part", progress=stop)
    resumed = train(module, data, settings, checkpoint=tmp_path / "part", resume=True)
    states = whole.module.state_dict(), resumed.module.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert resumed.metric == "AP50" and resumed.accuracy.percent == whole.accuracy.percent


def test_defaults_for_boxes_leave_boxes_tight():
    for data in ("shapes", "voc:VOC2007", "coco:instances"):
        how = default_settings("codenet_a", data).augmentation
        assert how.flip and how.scale and not (how.rotate or how.shear)


def test_networks_and_data_of_different_kinds_are_told_apart():
    assert mismatch("net", None, "digits", "top-1") is None and mismatch("net", "AP50", "shapes", "AP50") is None
    assert mismatch("cas_vit", "top-1", "shapes", "AP50") == "cas_vit names images, shapes has images with boxes"


def test_a_detector_learns_the_shapes_it_is_shown(tmp_path):
    """Configuration a at 64x64, from scratch: after 120 steps of 8 it finds what it was shown, AP50 above 80.

    It needs the losses, the targets, the deformable layers' gradients, the decoding and the metric to fit each other;
    how detectors do on images they have not seen takes hours and is a benchmark's matter.
    """
    data = few_shapes(16)
    settings = TrainSettings(
        epochs=60, batch=8, lr=2e-3, final_lr=4e-5, weight_decay=0.01, warmup_epochs=8, ema_decay=0.9, gradient_clip=10,
        threads=1,
    )  # fmt: skip
    network = load_model("codenet_a", classes=data.classes, preprocessing=PREPROCESSING, weights="random").module
    done = train(network, data, settings, checkpoint=tmp_path / "state")
    assert done.history[-1].loss < done.history[0].loss / 8
    assert done.accuracy.percent > 80
