from __future__ import annotations

import json

import msgspec
import pytest
from helpers.artefacts import make_built, make_network, make_profile

from edgevision.profile.profile import Profile, StepProfile
from edgevision.report import html, tables
from edgevision.report.modelled import modelled
from edgevision.report.tradeoff import trade_off


def step(index: int, measured: float, predicted: float | None) -> StepProfile:
    return StepProfile(index, f"layer {index} <&>", "gemm", 10, False, measured, 0.1, predicted_us=predicted,
                       cause="" if predicted == measured else "cache spill: it touches 9 KiB")  # fmt: skip


def predicted() -> Profile:
    """The example, its first engine with a model of every step and a latency 10 % above the measured one."""
    found = make_profile()
    first, *others = found.engines
    rows = tuple(step(i, us, us * (1.0 if i % 2 else 0.8)) for i, us in enumerate((100.0, 10.0, 1.0, 1000.0)))
    first = msgspec.structs.replace(first, steps=rows, predicted_ms=1.1 * first.latency.median.value)
    return msgspec.structs.replace(found, engines=(first, *others))


def test_points_lie_where_the_logarithms_say():
    chart = modelled([step(0, 1.0, 1.0), step(1, 100.0, 10.0), step(2, 5.0, None)], 350)
    assert chart is not None and chart.steps == 2
    last, first = chart.spots
    assert (first.x, first.y) == (chart.left, chart.bottom)
    assert last.x == chart.right and last.y == pytest.approx((chart.top + chart.bottom) / 2)
    assert [tick.text for tick in chart.x_ticks] == ["1", "10", "100"]
    assert chart.mean_error == pytest.approx(0.45) and chart.within == (0.5, 0.5)


def test_without_predictions_there_is_no_chart():
    assert modelled([step(0, 1.0, None)], 350) is None
    page = html.render(trade_off([make_profile()], [make_network()], [make_built()]))
    assert "modelled, µs" not in page and "svg.model" in page and 'class="chart model"' not in page


def test_the_report_shows_modelled_next_to_measured_and_says_which_is_which():
    made = trade_off([predicted()], [make_network()], [make_built()])
    page = html.render(made)
    assert page.count('class="chart model"') == 1
    assert page.count('class="spot"') == 4
    assert "<th>modelled, µs</th><th>error</th>" in page and "-20 %" in page and "cache spill" in page
    assert "(+10.0 %)" in page and "layer 0 &lt;&amp;&gt;" in page and "layer 0 <&>" not in page
    text = tables.as_markdown(made)
    assert "## Modelled against measured" in text and "(+10.0 %)" in text
    kept = json.loads(tables.as_json(made))["layers"][0]
    assert kept["predicted_ms"] > kept["measured_ms"] and kept["steps"][0]["predicted_us"] == 80.0
