"""What was measured, how, where and on what: the artefact of `edgevision profile`, one JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgevision.data.metric import Metric
from edgevision.errors import UsageError
from edgevision.files import write_atomic
from edgevision.profile.statistics import Interval, Latency

SCHEMA = "edgevision.profile/1"


class Protocol(msgspec.Struct, frozen=True):
    """How the time was taken.

    Attributes:
        seconds: measured time asked for per engine.
        window_seconds: aimed length of a window; engines take turns window by window.
        least_windows: rounds taken even when the time is up.
        rest_seconds: pause before each window, so that a rival's spinning threads go to sleep.
        warmup: untimed runs at the start of every window.
        steady_seconds: longest warm-up of an engine before the first round.
        seed: of the bootstrap.
    """

    seconds: float = 10.0
    window_seconds: float = 0.2
    least_windows: int = 11
    rest_seconds: float = 0.02
    warmup: int = 2
    steady_seconds: float = 2.0
    seed: int = 0


class StepProfile(msgspec.Struct, frozen=True):
    """One step of the plan: median time in microseconds over the timed runs and share of their sum.

    Attributes:
        predicted_us, predicted_low_us, predicted_high_us: modelled time and its 95 % interval; None where the device
            was not calibrated.
        cause: likely reason why the measured time is not the predicted one; empty where it nearly is.
    """

    index: int
    label: str
    family: str
    macs: int
    integer: bool
    median_us: float
    share: float
    predicted_us: float | None = None
    predicted_low_us: float | None = None
    predicted_high_us: float | None = None
    cause: str = ""

    @property
    def error(self) -> float | None:
        """Predicted over measured less 1: above 0 the step was faster than predicted; None without a prediction."""
        return None if self.predicted_us is None or not self.median_us else self.predicted_us / self.median_us - 1

    @property
    def gmac_per_s(self) -> float | None:
        """Multiply-accumulates per second, in 1e9; None for a step that has none."""
        return self.macs / self.median_us / 1e3 if self.macs and self.median_us else None


class EngineProfile(msgspec.Struct, frozen=True):
    """One engine on one graph.

    Attributes:
        bundle, bundle_sha256: name of the bundle's folder and sha256 of its manifest; None for another runtime.
        onnx_sha256: of the compressed network it ran, so that a network compressed again is not taken for it.
        name: what tables call it, e.g. "edgevision w8a8", "onnxruntime fp32".
        runtime: "edgevision" or the rival's name.
        artefact: the compressed network it ran, e.g. "cas_vit-digits-w8a8".
        recipe: recipe of that network.
        size_bytes: what has to be on the board: the whole bundle, or the ONNX file (a rival's runtime comes on top).
        timing: "measured" on the device itself; nothing else is ever a latency.
        init_ms, first_ms: loading until ready, and the first inference; apart from the steady state.
        window_ms: window medians in the order taken; window i of every engine belongs to the same round.
        accuracy: in percent, by the profile's metric, with 95 % interval, on `images` images of the test split; None
            without labels.
        max_abs_error: largest absolute difference of any output to `reference` on those images.
        differing_predictions: images whose top-1 class, or confident detections, differ from the reference's.
        predicted_ms: modelled latency; None where the device was not calibrated.
    """

    name: str
    runtime: str
    artefact: str
    recipe: str
    size_bytes: int
    timing: str
    latency: Latency
    init_ms: float
    first_ms: float
    window_ms: tuple[float, ...]
    bundle: str | None = None
    bundle_sha256: str | None = None
    onnx_sha256: str | None = None
    peak_rss_bytes: int | None = None
    arena_bytes: int | None = None
    accuracy: Interval | None = None
    images: int = 0
    reference: str | None = None
    max_abs_error: float | None = None
    differing_predictions: int | None = None
    steps: tuple[StepProfile, ...] = ()
    predicted_ms: float | None = None


class Comparison(msgspec.Struct, frozen=True):
    """How many times longer `engine` takes than `baseline`: below 1 it is faster. Paired over rounds."""

    engine: str
    baseline: str
    ratio: Interval


class Profile(msgspec.Struct, frozen=True):
    """Several engines on one device, taken in turns.

    Attributes:
        created: ISO 8601, UTC.
        images_from: where the test images were read from; None when accuracy was not measured.
        metric: what the accuracies are measured by; a file from before there were detectors does not say it.
        flags: reasons to distrust the figures; empty for a clean measurement.
        affinity: cores the measurement was allowed to use; empty where the device decides.
        facts_before, facts_after: what the device said of itself around the measurement.
    """

    schema: str
    created: str
    command: str
    device: str
    target: str
    model: str
    data: str
    threads: int
    affinity: tuple[int, ...]
    protocol: Protocol
    facts_before: dict[str, Any]
    facts_after: dict[str, Any]
    versions: dict[str, str]
    flags: tuple[str, ...]
    engines: tuple[EngineProfile, ...]
    comparisons: tuple[Comparison, ...]
    images_from: str | None = None
    metric: Metric = "top-1"

    def save(self, path: Path) -> None:
        """Write as indented JSON, whole or not at all."""
        write_atomic(path, msgspec.json.format(msgspec.json.encode(self), indent=1))

    def engine(self, name: str) -> EngineProfile:
        """The engine called `name`."""
        return next(engine for engine in self.engines if engine.name == name)


def load(path: Path) -> Profile:
    """Read a profile.

    Raises:
        UsageError: the file is missing or is not a profile of this schema.
    """
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except OSError as error:
        raise UsageError(f"cannot read the profile: {error.strerror}", where=str(path)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the file is not a profile: {error}", where=str(path), fix="edgevision profile") from error
    if profile.schema != SCHEMA:
        raise UsageError(f"expected schema {SCHEMA}, got {profile.schema}", where=str(path), fix="edgevision profile")
    return profile
