"""The models of an unrestricted deformable convolution and of the authors' accelerator, against what they published."""

import json

import pytest
from helpers.engines import Z2

from benchmarks.fpga import authors, deform, goals
from benchmarks.fpga.__main__ import main


@pytest.mark.parametrize("kind", ["full", "depthwise"])
def test_the_published_ratio_of_unrestricted_to_square_offsets(kind):
    published = deform.PUBLISHED[kind]
    depthwise = kind == "depthwise"
    ratio = deform.authors(depthwise, "deform") / deform.authors(depthwise, "square")
    assert ratio == pytest.approx(published["deform"] / published["square"], rel=0.05)
    for variant in deform.VARIANTS:
        assert deform.authors(depthwise, variant) == pytest.approx(published[variant], rel=0.07), variant


def test_unrestricted_offsets_cost_this_engine_what_the_samples_weigh():
    rows = {one.variant: one for one in deform.ours(Z2, 1.0, depthwise=True)}
    # Nine times the input; one after another each request waits for the memory.
    assert rows["deform, 8 asked ahead"].cycles == 64 * 64 * 9 * 32
    assert rows["deform, 1 asked ahead"].cycles == 64 * 64 * 9 * 2 * (16 + 40)
    assert rows["square"].ratio == 1 and rows["deform, 8 asked ahead"].ratio > 5


def test_configurations_that_were_not_fitted_are_predicted():
    for name, ms in authors.times().items():
        assert ms == pytest.approx(authors.CONVOLUTIONS_MS[name], rel=0.06), name


def test_goals_of_layers_are_met():
    ratio, hidden, peak, *networks = (row["modelled"] for row in goals.rows(Z2, 1.0))
    assert ratio <= 1.1 and hidden <= 1.1 and peak >= 0.85 and min(networks) >= 0.85


def test_the_command_s_json_is_modelled_and_complete(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fpga", "--deform", "--json"])
    assert main() == 0
    said = json.loads(capsys.readouterr().out)
    assert said["modelled"] and all(said[part] for part in ("authors", "ours", "goals", "times", "area"))
