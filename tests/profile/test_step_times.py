from __future__ import annotations

import os

import msgspec
import pytest
from helpers.artefacts import make_profile

from edgevision.api.step_times import step_times
from edgevision.workspace import Workspace


def kept(tmp_path, name, profile, age):
    path = tmp_path / "profiles" / name
    path.parent.mkdir(exist_ok=True)
    profile.save(path)
    os.utime(path, (1e9 - age, 1e9 - age))


def relabelled(profile, labels):
    """The profile with other names of its first steps."""
    engines = tuple(
        msgspec.structs.replace(
            engine,
            steps=tuple(
                msgspec.structs.replace(step, label=labels[step.index] if step.index < len(labels) else step.label)
                for step in engine.steps
            ),
        )
        for engine in profile.engines
    )
    return msgspec.structs.replace(profile, engines=engines)


def test_times_are_of_the_newest_profile_with_both_widths(tmp_path):
    whole = relabelled(make_profile(), ["conv1 + relu", "conv1 + pad", "head"])
    lacking = msgspec.structs.replace(whole, engines=tuple(e for e in whole.engines if e.recipe == "fp32"))
    other = msgspec.structs.replace(whole, model="resnet18")
    kept(tmp_path, "a.json", whole, 30)
    kept(tmp_path, "b.json", lacking, 20)
    kept(tmp_path, "c.json", other, 10)
    found = step_times(Workspace(tmp_path), "cas_vit", "digits")
    assert "a.json" in found.source and set(found.times) == {8, 32}
    # The two steps that begin with conv1 are its time together: 60 and 58 microseconds.
    assert found.times[8]["conv1"] == pytest.approx(118.0) and found.times[8]["head"] == pytest.approx(56.0)


def test_without_such_a_profile_there_are_no_times(tmp_path):
    assert step_times(Workspace(tmp_path), "cas_vit", "digits") is None
    kept(tmp_path, "a.json", make_profile(), 1)
    assert step_times(Workspace(tmp_path), "cas_vit", "folder:other") is None
    (tmp_path / "profiles" / "broken.json").write_text("{")
    assert step_times(Workspace(tmp_path), "cas_vit", "digits") is not None
