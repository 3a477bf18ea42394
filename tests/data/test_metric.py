from __future__ import annotations

import json

import msgspec
import pytest
from helpers.artefacts import make_network, make_profile
from helpers.programs import origin

from edgevision.data import open_set
from edgevision.data.metric import BUILT_IN, field_of, metric_of
from edgevision.report.tradeoff import trade_off


@pytest.mark.parametrize(
    "written",
    [make_network().info, make_profile(), origin(), trade_off([make_profile()], [make_network()])],
    ids=["compressed.json", "profile", "manifest", "report"],
)
def test_files_from_before_there_were_detectors_are_of_top_1(written):
    fields = json.loads(msgspec.json.encode(written))
    assert fields.pop("metric") == "top-1"
    assert msgspec.json.decode(json.dumps(fields), type=type(written)) == written
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(json.dumps({**fields, "metric": "top-5"}), type=type(written))


@pytest.mark.parametrize("metric", BUILT_IN)
def test_every_metric_has_data_of_its_own(metric):
    assert metric_of(open_set(BUILT_IN[metric])) == metric and field_of(metric).isalnum()
