from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
from helpers.artefacts import make_built, make_network, make_profile, with_info
from hypothesis import given
from hypothesis import strategies as st

from edgevision.errors import UsageError
from edgevision.profile.statistics import Interval
from edgevision.report import tables, verdict, words
from edgevision.report.scatter import ticks
from edgevision.report.tradeoff import TradeOff, dominated, trade_off


def test_only_points_no_other_beats_stay_undominated(example):
    standing = [p.engine for p in example.groups[0].points if not p.dominated]
    assert standing == ["edgevision w8a8", "onnxruntime fp32"]


def test_ratios_are_against_the_rivals_float(example):
    group = example.groups[0]
    assert group.baseline == "onnxruntime fp32"
    by_name = {p.engine: p.ratio for p in group.points}
    assert by_name["onnxruntime fp32"] is None
    assert by_name["edgevision w8a8"].value == pytest.approx(0.74 / 1.02, rel=0.02)


def test_verdict_names_engine_speed_accuracy_and_size(example):
    assert "edgevision w8a8 is 1.38x faster than onnxruntime fp32 at 95.6 % top-1" in example.verdict
    assert "4.10 MB" in example.detail


def test_verdict_prefers_float_when_integers_cost_too_much_accuracy(example):
    points = [p for p in example.groups[0].points if p.runtime == "edgevision"]
    poor = [msgspec.structs.replace(p, accuracy=Interval(90.0, 87, 93)) if p.recipe == "w8a8" else p for p in points]
    assert verdict.recommended(points).recipe == "w8a8"
    assert verdict.recommended(poor).recipe == "fp32"


def test_disturbed_measurements_and_untimed_bundles_are_remarked(example):
    text = " ".join(example.remarks)
    assert "Noisy: other processes kept 0.9 cores busy" in text
    assert "cas_vit-digits-w8a8 for rpi4" in text
    assert "--keep-fp stages.0.0.mlp.fc10" in text


def test_a_slower_integer_network_is_said_to_be_slower():
    profile = make_profile()
    swapped = {"edgevision fp32": "edgevision w8a8", "edgevision w8a8": "edgevision fp32"}
    engines = tuple(
        msgspec.structs.replace(e, name=swapped.get(e.name, e.name), recipe={"fp32": "w8a8"}.get(e.recipe, "fp32"))
        for e in profile.engines
    )
    made = trade_off([msgspec.structs.replace(profile, engines=engines)], [])
    assert any("slower than fp32" in remark for remark in made.remarks)


def test_without_measurements_nothing_is_claimed():
    made = trade_off([], [make_network()])
    assert made.verdict.startswith("Nothing was measured")
    assert made.groups == ()


def test_nothing_at_all_is_a_usage_error():
    with pytest.raises(UsageError, match="nothing to report"):
        trade_off([], [])


def test_two_models_in_one_report_are_refused():
    other = with_info(make_network(), model="efficientnet_lite0")
    with pytest.raises(UsageError, match="one model") as caught:
        trade_off([make_profile()], [other])
    assert len(caught.value.reasons) == 2


def test_json_reads_back_as_the_same_trade_off(example):
    assert msgspec.json.decode(tables.as_json(example), type=TradeOff) == example
    assert json.loads(tables.as_json(example))["schema"] == "edgevision.tradeoff/1"


def test_csv_has_one_line_per_point_with_full_precision(example):
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(example))))
    assert len(rows) == 8
    assert float(rows[1]["median_ms"]) == example.groups[0].points[1].latency.median.value
    assert rows[0]["timing"] == "measured"


def test_csv_cells_are_never_formulas():
    profile = make_profile()
    evil = tuple(msgspec.structs.replace(e, artefact="=HYPERLINK(1)") for e in profile.engines)
    text = tables.as_csv(trade_off([msgspec.structs.replace(profile, engines=evil)], []))
    assert ",=HYPERLINK" not in text and ",'=HYPERLINK" in text


def test_markdown_tables_keep_their_columns_whatever_the_names():
    profile = make_profile()
    evil = tuple(msgspec.structs.replace(e, name=f"{e.name}|<b>\n") for e in profile.engines)
    text = tables.as_markdown(
        trade_off([msgspec.structs.replace(profile, engines=evil, comparisons=())], [make_network()])
    )
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in table} == {10}


def test_bundles_carry_whether_they_were_measured():
    made = trade_off([], [make_network()], [make_built("rpi4")])
    assert [b.measured for b in made.built] == [False]


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 100)), min_size=1, max_size=8, unique=True))
def test_some_point_is_never_dominated(points):
    alive = [p for i, p in enumerate(points) if not dominated(*p, points[:i] + points[i + 1 :])]
    assert alive
    assert min(points, key=lambda p: (p[0], -p[1])) in alive


@given(st.floats(0, 1000), st.floats(0.01, 1000), st.integers(3, 9))
def test_ticks_are_even_inside_and_not_too_many(low, span, most):
    values = ticks(low, low + span, most)
    assert len(values) <= most + 1
    assert all(low - 1e-6 * span <= v <= low + span + 1e-6 * span for v in values)


@given(st.floats(1e-6, 1e9))
def test_three_digits_stay_within_half_a_percent(value):
    assert float(words.digits(value)) == pytest.approx(value, rel=0.0051)
