"""Predicted beside measured, step by step, and why they are apart where they are."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgevision.profile.calibration import Calibration
from edgevision.profile.predict import Predicted
from edgevision.profile.profile import StepProfile
from edgevision.profile.roofline import Roofline
from edgevision.profile.work import StepWork

#: Errors up to this need no reason.
NEAR = 0.1
#: Steps up to so many of the shortest call are mostly call.
_SHORT = 4.0


def beside(
    model: Calibration, works: Sequence[StepWork], measured: Sequence[StepProfile], flags: Sequence[str] = ()
) -> tuple[float, tuple[StepProfile, ...]]:
    """The modelled latency in milliseconds, and the measured steps with their modelled times and causes.

    Args:
        works: of every step of the plan, in order.
        measured: steps of that plan; those that were not timed may be missing.
        flags: what is known against the measurement (`noise.flags`).
    """
    predicted, roofline = model.predictor().predict(works), model.roofline()
    mixed = any(work.integer and work.macs for work in works)
    rows = tuple(
        msgspec.structs.replace(
            step,
            predicted_us=predicted[step.index].us,
            predicted_low_us=predicted[step.index].low_us,
            predicted_high_us=predicted[step.index].high_us,
            cause=cause(step.median_us, predicted[step.index], works[step.index], roofline, flags, mixed=mixed),
        )
        for step in measured
    )
    return model.whole_ms(predicted), rows


def cause(
    measured_us: float,
    predicted: Predicted,
    work: StepWork,
    roofline: Roofline,
    flags: Sequence[str] = (),
    *,
    mixed: bool = False,
) -> str:
    """Why a step did not take what was predicted, as far as its figures tell; empty where it nearly did.

    Args:
        flags: what is known against the measurement.
        mixed: whether the network computes in integers elsewhere, so that float products are a fallback.
    """
    if not measured_us or abs(predicted.us / measured_us - 1) <= NEAR:
        return ""
    if not predicted.known:
        return "no kernel of its family was calibrated on"
    if max(measured_us, predicted.us) <= _SHORT * roofline.call_us:
        return "call overhead: it takes little longer than a call"
    if measured_us < predicted.us:
        return "faster than the kernels like it that were calibrated on"
    for word, why in (("throttled", "throttling: the clock fell"), ("noisy", "other work on the machine")):
        if any(flag.startswith(word) for flag in flags):
            return why
    level = roofline.level(work)
    if level is not roofline.levels[0] and roofline.memory_us(work) >= 0.5 * roofline.arithmetic_us(work):
        held = roofline.levels[roofline.levels.index(level) - 1]
        return f"cache spill: it touches {work.touched / 1024:.0f} KiB, more than {held.name} holds"
    if mixed and work.macs and not work.integer:
        return "float fallback: its products are float in a network of integers"
    if measured_us <= predicted.high_us:
        return "within the model's interval"
    return "slower than the kernels like it that were calibrated on"
