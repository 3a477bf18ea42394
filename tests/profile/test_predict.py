"""The predictor against a made-up device whose law of time is known."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgevision.bundle.plan_reader import PlannedTensor
from edgevision.profile.predict import Predictor
from edgevision.profile.roofline import roofline
from edgevision.profile.work import StepWork, work_of
from edgevision.target import Cpu

CPU = Cpu(llvm="x", cores=1, l1d_kib=32, l2_kib=512)
CALL, MACS_PER_US, BYTES_PER_US = 0.3, 5e4, {"L1": 1e5, "L2": 4e4, "memory": 1e4}


def gemm(rows: int, depth: int, columns: int, form: str = "f32,f32") -> StepWork:
    return StepWork("", "gemm", form, False, rows * depth * columns, 4 * depth * columns, 4 * rows * depth,
                    4 * rows * columns)  # fmt: skip


def stream(elements: int) -> StepWork:
    return StepWork("", "elementwise", "f32,f32", False, 0, 0, 4 * elements, 4 * elements)


def law(work: StepWork) -> float:
    """Half the peak for products, fewer as the depth falls, and 1.3 as long with a fused operation."""
    level = "L1" if work.touched <= 24 << 10 else "L2" if work.touched <= 384 << 10 else "memory"
    depth = np.sqrt(work.constants * work.read / work.written) / 2
    lost = (2 + 16 / np.sqrt(max(depth, 1))) * (1.3 if "gelu" in work.form else 1.0)
    return CALL + (lost * work.macs / MACS_PER_US if work.macs else work.touched / BYTES_PER_US[level])


def calibrated(draw: np.random.Generator) -> list[tuple[StepWork, float]]:
    sides = [2 ** draw.uniform(4, 9, 3) for _ in range(60)]
    works = [
        gemm(*(int(s) for s in side), form="f32,f32 gelu" if i % 3 == 0 else "f32,f32") for i, side in enumerate(sides)
    ]
    works += [stream(int(2 ** draw.uniform(4, 22))) for _ in range(40)]
    works.append(gemm(256, 512, 512))
    return [(work, law(work) * draw.lognormal(0, 0.01)) for work in [stream(1), *works]]


@pytest.fixture(scope="module")
def steps() -> list[tuple[StepWork, float]]:
    return calibrated(np.random.default_rng(0))


def test_the_roofline_finds_what_the_device_can_do(steps):
    line = roofline(steps, CPU)
    assert line.call_us == pytest.approx(CALL, rel=0.05)
    # The best kernel reaches somewhat less than half of the peak.
    assert line.float_macs_per_s == pytest.approx(1e6 * MACS_PER_US / (2 + 16 / 512**0.5), rel=0.1)
    for level in line.levels:
        wanted = BYTES_PER_US[level.name] if level.name != "L1" else None
        assert wanted is None or level.bytes_per_s == pytest.approx(1e6 * wanted, rel=0.1)
    rates = [level.bytes_per_s for level in line.levels]
    assert rates == sorted(rates, reverse=True)


def test_what_bounds_a_step(steps):
    line = roofline(steps, CPU)
    assert line.bound(gemm(256, 512, 512)) == "arithmetic"
    assert line.bound(stream(1 << 20)) == "memory"
    assert line.bound(stream(1)) == "call"
    assert [line.level(stream(n)).name for n in (1 << 10, 1 << 15, 1 << 20)] == ["L1", "L2", "memory"]


def test_unseen_steps_are_predicted_within_their_intervals(steps):
    draw = np.random.default_rng(1)
    works = [gemm(*(int(2 ** draw.uniform(5, 8.5)) for _ in range(3)), form=form)
             for form in ("f32,f32", "f32,f32 gelu") for _ in range(40)]  # fmt: skip
    predicted = Predictor(steps, roofline(steps, CPU)).predict(works)
    true = np.array([law(work) for work in works])
    error = np.abs(np.array([one.us for one in predicted]) / true - 1)
    assert error.mean() < 0.05 and error.max() < 0.2
    inside = [one.low_us <= us <= one.high_us for one, us in zip(predicted, true, strict=True)]
    assert np.mean(inside) > 0.9


def test_a_family_that_was_never_seen_says_so_and_is_wide(steps):
    model = Predictor(steps, roofline(steps, CPU))
    known, unknown = model.predict([gemm(64, 64, 64), msgspec.structs.replace(gemm(64, 64, 64), family="attention")])
    assert known.known and not unknown.known
    assert unknown.high_us / unknown.low_us > 5 * known.high_us / known.low_us


def test_a_step_far_from_all_others_is_less_certain(steps):
    near, far = Predictor(steps, roofline(steps, CPU)).predict([gemm(64, 64, 64), gemm(1 << 14, 1 << 14, 1 << 14)])
    assert far.high_us / far.low_us > 1.2 * near.high_us / near.low_us


def test_work_counts_each_storage_once():
    tensors = [
        PlannedTensor("arena", 0, "uint8", (10,)),
        PlannedTensor("constant", 64, "int8", (20,)),
        PlannedTensor("arena", 0, "uint8", (10,)),
        PlannedTensor("arena", 128, "float32", (5,)),
        PlannedTensor("arena", 256, "uint8", (7,)),
    ]
    work = work_of("a", "gemm", "add", integer=True, macs=3, tensors=tensors)
    assert (work.constants, work.read, work.written, work.touched) == (20, 30, 7, 57)
    assert work.form == "u8,f32,u8 add"
