from __future__ import annotations

import re

import pytest
from helpers.browser import look

from edgevision.report.html import families, render


@pytest.mark.parametrize("width", [1280, 390])
def test_page_fits_its_window_and_asks_for_nothing(example, width, tmp_path):
    seen = look(render(example), width, tmp_path)
    assert seen["console"] == []
    assert seen["requests"] == []
    assert seen["page"] <= seen["view"] and seen["escaping"] == []
    assert seen["loose"] == 0 and seen["scripts"] == 0
    # One drawing of each chart is shown, and its letters are not shrunk below reading size.
    assert seen["charts"] == len(example.groups)
    assert seen["smallest"] >= 11
    assert seen["h1"]


def test_every_chart_has_its_table(example):
    page = render(example)
    assert page.count('role="img"') == 2 * len(example.groups)
    for group in example.groups:
        assert f'aria-label="trade-off on {group.device}, {group.threads} threads"' in page
        for point in group.points:
            assert page.count(f'<th scope="row">{point.engine}</th>') >= len(example.groups)


def test_every_latency_row_says_how_it_was_obtained(example):
    page = render(example)
    points = sum(len(group.points) for group in example.groups)
    assert page.count('<span class="tag">measured</span>') == points + sum(b.measured for b in example.built)
    assert '<span class="tag">not measured</span>' in page


def test_no_address_is_ever_fetched(example):
    assert not re.search(r"(?:src|href)\s*=\s*(?![\"']?data:)|url\(|@import|https?://", render(example))


def test_blocks_stand_beside_layers_with_both_ways_of_asking(example):
    page = render(example)
    block = page.split("Blocks that hurt most")[1].split("</section>")[0]
    assert "stages.0.0 (9 operators)" in block and "alone quantised, dB" in block
    assert "--keep-fp stages.0.0.mlp.fc10 --keep-fp stages.0.0.mlp.fc11" in block
    assert "alone quantised" not in page.split("Layers that hurt most")[1].split("Blocks that hurt most")[0]


def test_assignments_of_bits_are_shown_the_cheapest_first(example):
    table = render(example).split("Bits layer by layer")[1].split("</table>")[0]
    names = ["cheapest", "noise -25.0 dB (taken)", "8 bit"]
    places = [table.index(f'<th scope="row">{name}</th>') for name in names]
    assert places == sorted(places)
    assert "95.9" in table and "bytes of weights as stored" in table


def test_commands_to_reproduce_are_given_once_in_order(example):
    page = render(example)
    order = [
        "--recipe fp32",
        "--recipe w8a8",
        "deploy --target host",
        "deploy --target rpi4",
        "profile",
        "edgevision report",
    ]
    block = page.split("How to reproduce")[1]
    places = [block.index(command) for command in order]
    assert places == sorted(places)


def test_families_sum_to_all_steps(example):
    table = example.layers[0]
    summed = families(table.steps)
    assert sum(f.median_us for f in summed) == pytest.approx(sum(s.median_us for s in table.steps))
    assert sum(f.steps for f in summed) == len(table.steps)
