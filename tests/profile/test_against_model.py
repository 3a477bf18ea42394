from __future__ import annotations

import msgspec
import pytest

from edgevision.profile.against_model import beside, cause
from edgevision.profile.calibration import SCHEMA, Calibration, TimedNetwork, TimedStep
from edgevision.profile.predict import Predicted
from edgevision.profile.profile import StepProfile
from edgevision.profile.roofline import Level, Roofline
from edgevision.profile.work import StepWork
from edgevision.target import load

LINE = Roofline(
    1e11, 4e11, (Level("L1", 24e3, 1e11), Level("L2", 768e3, 5e10), Level("memory", float("inf"), 1e10)), 0.3
)
GEMM = StepWork("fc", "gemm", "f32,f32", False, 10_000_000, 8_000, 8_000, 4_000)
STREAM = StepWork("add", "elementwise", "f32,f32", False, 0, 0, 400_000, 400_000)


def predicted(us: float, **changes: object) -> Predicted:
    return msgspec.structs.replace(Predicted(us, 0.8 * us, 1.25 * us, 0.9 * us, "arithmetic", True), **changes)


@pytest.mark.parametrize(
    ("measured", "model", "work", "flags", "mixed", "expected"),
    [
        (105.0, predicted(100), GEMM, (), False, ""),
        (200.0, predicted(100, known=False), GEMM, (), False, "no kernel of its family"),
        (0.9, predicted(0.6), GEMM, (), False, "call overhead"),
        (60.0, predicted(100), GEMM, (), False, "faster than"),
        (200.0, predicted(100), GEMM, ("throttled: the clock fell by 20%",), False, "throttling"),
        (200.0, predicted(100), GEMM, ("noisy: other processes",), False, "other work"),
        (200.0, predicted(100), STREAM, (), False, "cache spill: it touches 781 KiB, more than L2 holds"),
        (200.0, predicted(100), GEMM, (), True, "float fallback"),
        (120.0, predicted(100), GEMM, (), False, "within the model's interval"),
        (200.0, predicted(100), GEMM, (), False, "slower than"),
    ],
)
def test_the_likely_cause(measured, model, work, flags, mixed, expected):
    found = cause(measured, model, work, LINE, flags, mixed=mixed)
    assert found.startswith(expected) and (expected or not found)


def test_steps_get_their_predictions_and_the_whole_is_less_than_their_sum():
    timed = TimedNetwork("a", "k", 90.0, (TimedStep(GEMM, 60.0), TimedStep(STREAM, 40.0)))
    model = Calibration(SCHEMA, "", "host", load("rpi4"), 1, {}, {}, (timed,))
    measured = [StepProfile(i, w.label, w.family, w.macs, False, us, 0.5)
                for i, (w, us) in enumerate([(GEMM, 61.0), (STREAM, 80.0)])]  # fmt: skip
    whole, rows = beside(model, [GEMM, STREAM], measured)
    assert [row.predicted_us for row in rows] == [pytest.approx(60, rel=0.02), pytest.approx(40, rel=0.02)]
    assert rows[0].error == pytest.approx(60 / 61 - 1, abs=0.02) and rows[0].cause == ""
    assert rows[1].error == pytest.approx(-0.5, abs=0.02) and rows[1].cause
    # Whole inferences took nine tenths of their timed steps.
    assert whole == pytest.approx(0.9 * 100 / 1e3, rel=0.02)
