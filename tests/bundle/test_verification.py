from pathlib import Path

import numpy as np
import pytest
from helpers import programs

from edgevision import bundle
from edgevision.bundle.manifest import GoldenVector
from edgevision.bundle.verification import compare
from edgevision.device.host import HostDevice
from edgevision.errors import Mismatch, UsageError

VECTOR = GoldenVector("in", "out", tolerance=0.5)


@pytest.mark.parametrize("integer", [False, True])
def test_golden_vectors_pass_where_they_were_made(tmp_path: Path, integer: bool) -> None:
    made = bundle.load(programs.bundled(tmp_path / "b", integer=integer))
    seen = bundle.verify(made, HostDevice())
    assert (seen.vectors, seen.max_abs_error) == (2, 0.0)


def test_another_output_is_a_mismatch_with_error_and_count(tmp_path: Path) -> None:
    pairs = programs.golden()
    pairs[1][1][0, :3] += 0.25
    made = bundle.write(programs.program(), programs.origin(), tmp_path / "b", golden=pairs, tolerance=0.1)
    with pytest.raises(Mismatch) as caught:
        bundle.verify(made, HostDevice())
    assert caught.value.exit_code == 8
    assert caught.value.reasons == ("golden/output_1.bin: max abs error 0.25 (allowed 0.1), 3 of 64 elements differ",)


def test_a_bundle_without_vectors_cannot_be_verified(tmp_path: Path) -> None:
    made = bundle.write(programs.program(), programs.origin(), tmp_path / "b")
    with pytest.raises(UsageError, match="no golden vectors"):
        bundle.verify(made, HostDevice())


@pytest.mark.parametrize(
    ("got", "expected", "passes"),
    [
        ([1.0, 2.5], [1.0, 2.0], True),
        ([1.0, 2.6], [1.0, 2.0], False),
        ([np.nan, 1], [np.nan, 1], True),
        ([np.nan, 1], [0, 1], False),
        ([np.inf, 1], [np.inf, 1], True),
        ([np.inf, 1], [-np.inf, 1], False),
        ([1.0], [1.0, 1.0], False),
    ],
)
def test_special_values_are_compared_as_a_person_would(got: list[float], expected: list[float], passes: bool) -> None:
    _, reason = compare(np.array(got, np.float32), np.array(expected, np.float32), VECTOR)
    assert (reason == "") is passes
