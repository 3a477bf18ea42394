import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edgevision.compress.train import Interrupted, train
from edgevision.compress.train_settings import Augmentation, TrainSettings, default_settings, fitted
from edgevision.data import Preprocessing, open_data
from edgevision.errors import UsageError
from edgevision.zoo.cas_vit import DropPath

SETTINGS = TrainSettings(
    epochs=3,
    batch=32,
    lr=1e-2,
    warmup_epochs=0.5,
    ema_decay=0.9,
    drop_path=0.2,
    sizes=(8, 16),
    size_epochs=1,
    augmentation=Augmentation(shift=0.1, rotate=10, contrast=0.1),
    threads=1,
)


class Tiny(nn.Module):
    """Two convolutions, a norm, drop path, and two heads in training."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.mixer = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.first_drop, self.drop = DropPath(0.0), DropPath(0.0)
        self.head, self.second = nn.Linear(16 * 16, 10), nn.Linear(16 * 16, 10)

    def forward(self, x):
        x = self.stem(x)
        x = nn.functional.adaptive_avg_pool2d(x + self.drop(self.mixer(x)), 4).flatten(1)
        return (self.head(x), self.second(x)) if self.training else (self.head(x) + self.second(x)) / 2


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", Preprocessing(height=16, width=16, mean=(0.3,) * 3, std=(0.35,) * 3))


def tiny(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Tiny()


def stop_after(epochs, steps=42):
    def progress(stage, done, total, detail=""):
        if done == epochs * steps + 5:
            raise KeyboardInterrupt

    return progress


def same(first, second):
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    module = tiny()
    result = train(module, digits, SETTINGS, checkpoint=tmp_path_factory.mktemp("whole") / "state.pt", seed=5)
    return module, result


def test_training_learns_and_leaves_the_module_it_was_given_alone(whole):
    module, result = whole
    assert same(module, tiny()) and module.training
    assert result.accuracy.total == 450 and result.accuracy.percent > 60
    assert [record.epoch for record in result.history] == [1, 2, 3]
    assert result.history[-1].loss < result.history[0].loss
    assert not result.module.training


def test_a_run_stopped_and_resumed_gives_the_same_bits(whole, digits, tmp_path):
    path = tmp_path / "state.pt"
    for epochs in (1, 2):
        with pytest.raises(Interrupted, match=f"{epochs} of 3 epochs are in "):
            train(tiny(), digits, SETTINGS, checkpoint=path, seed=5, resume=epochs == 2, progress=stop_after(epochs))
        torch.rand(7)
    resumed = train(tiny(seed=9), digits, SETTINGS, checkpoint=path, seed=5, resume=True)
    assert same(resumed.module, whole[1].module)
    assert [record.loss for record in resumed.history] == [record.loss for record in whole[1].history]


def test_interrupted_in_the_first_epoch_writes_nothing(digits, tmp_path):
    with pytest.raises(Interrupted, match="nothing is kept"):
        train(tiny(), digits, SETTINGS, checkpoint=tmp_path / "state.pt", progress=stop_after(0))
    assert list(tmp_path.iterdir()) == []


def test_the_seed_decides_the_result_and_the_callers_random_state_is_kept(digits, tmp_path):
    settings = msgspec.structs.replace(SETTINGS, epochs=1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    runs = [train(tiny(), digits, settings, checkpoint=tmp_path / str(i), seed=s) for i, s in enumerate((1, 1, 2))]
    assert torch.equal(torch.get_rng_state(), before)
    assert same(runs[0].module, runs[1].module) and not same(runs[0].module, runs[2].module)


def test_a_checkpoint_is_not_overwritten_unasked(digits, tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"hours of work")
    with pytest.raises(UsageError, match="--overwrite"):
        train(tiny(), digits, SETTINGS, checkpoint=path)
    assert path.read_bytes() == b"hours of work"
    with pytest.raises(UsageError, match="damaged"):
        train(tiny(), digits, SETTINGS, checkpoint=path, resume=True)


def test_an_interrupted_training_beside_it_is_named_with_both_ways_on(digits, tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"hours of work")
    with pytest.raises(UsageError, match=r"--resume to go on with it, or --overwrite"):
        train(tiny(), digits, SETTINGS, checkpoint=path)


def test_nothing_to_resume_starts_from_the_beginning_and_says_so(whole, digits, tmp_path):
    told = []

    def progress(stage, done, total, detail=""):
        told.append((stage, detail))

    result = train(tiny(), digits, SETTINGS, checkpoint=tmp_path / "none.pt", seed=5, resume=True, progress=progress)
    assert told[0] == ("resume", "no epoch of this training is kept, it starts from the beginning")
    assert same(result.module, whole[1].module)


def test_what_was_replaced_is_not_resumed_after_an_interruption_in_the_first_epoch(digits, tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"of another run")
    with pytest.raises(Interrupted):
        train(tiny(), digits, SETTINGS, checkpoint=path, overwrite=True, progress=stop_after(0))
    with pytest.raises(Interrupted, match="1 of 3"):
        train(tiny(), digits, SETTINGS, checkpoint=path, overwrite=True, resume=True, progress=stop_after(1))


def test_resuming_another_run_lists_what_differs(digits, tmp_path):
    path = tmp_path / "state.pt"
    with pytest.raises(Interrupted):
        train(tiny(), digits, SETTINGS, checkpoint=path, seed=1, progress=stop_after(1))
    with pytest.raises(UsageError) as caught:
        train(tiny(), digits, msgspec.structs.replace(SETTINGS, lr=1.0), checkpoint=path, seed=2, resume=True)
    assert [reason.split(":")[0] for reason in caught.value.reasons] == ["settings", "seed"]


def test_divergence_is_an_error_that_keeps_the_last_epoch(digits, tmp_path):
    module = tiny()
    with torch.no_grad():
        module.head.weight.fill_(float("inf"))
    with pytest.raises(UsageError, match=r"diverged(.|\n)*epoch 1, step 1"):
        train(module, digits, SETTINGS, checkpoint=tmp_path / "state.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_batch_larger_than_the_data_is_refused(digits, tmp_path):
    with pytest.raises(UsageError, match="at most the 1347 training images"):
        train(tiny(), digits, msgspec.structs.replace(SETTINGS, batch=2000), checkpoint=tmp_path / "s.pt")


@pytest.mark.parametrize(
    ("images", "processes", "batch", "lr", "expected"),
    [
        (1000, 1, None, None, (64, 1e-3)),
        (16, 1, None, None, (16, 5e-4)),
        (7, 2, None, None, (6, 1e-3 * (6 / 64) ** 0.5)),
        (1000, 1, 256, None, (256, 2e-3)),
        (1000, 3, None, 0.1, (63, 0.1)),
    ],
)
def test_the_batch_fits_the_data_and_the_rate_the_batch(images, processes, batch, lr, expected):
    fit = fitted(TrainSettings(epochs=1, batch=64, lr=1e-3), images, processes=processes, batch=batch, lr=lr)
    assert (fit.batch, fit.lr) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("images", "processes", "given"),
    [(1, 1, {}), (3, 2, {}), (10, 1, {"batch": 11}), (10, 2, {"batch": 5}), (10, 1, {"lr": float("nan")})],
)
def test_what_cannot_be_fitted_is_refused(images, processes, given):
    with pytest.raises(UsageError, match="expected"):
        fitted(TrainSettings(epochs=1), images, processes=processes, **given)


def test_digits_are_never_mirrored_and_photographs_are():
    assert not default_settings("cas_vit_xs", "digits").augmentation.flip
    assert default_settings("cas_vit_xs", "folder:photos").augmentation.flip


_WORKER = """
import sys, torch
from pathlib import Path
sys.path[:0] = {paths!r}
import test_train as t
from edgevision.compress.train import train
from edgevision.data import Preprocessing, open_data
import msgspec
data = open_data("digits", Preprocessing(height=16, width=16))
result = train(t.tiny(), data, msgspec.structs.replace(t.SETTINGS, epochs=1), checkpoint=Path({folder!r}) / "state.pt")
torch.save(result.module.state_dict(), Path({folder!r}) / ("rank" + sys.argv[1] + ".pt"))
"""


def test_two_processes_train_one_network(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Path(__file__).resolve()
    code = _WORKER.format(paths=[str(here.parent), str(here.parents[2])], folder=str(tmp_path))
    common = os.environ | {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank)],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=90)[1].decode() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    trained = [key for key in first if "running" not in key]
    assert all(torch.equal(first[key], second[key]) for key in trained)
    assert not np.array_equal(first["head.weight"].numpy(), tiny().head.weight.detach().numpy())
    assert (tmp_path / "state.pt").is_file()
