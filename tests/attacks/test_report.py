"""Names come from other people's files; in a report they are text and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from helpers.artefacts import make_built, make_network, make_profile, with_info
from helpers.browser import look

from edgevision.report.html import render
from edgevision.report.tradeoff import trade_off

EVIL = [
    "<script>window.touched=1</script>",
    '"><img src=x onerror=window.touched=1>',
    "'><svg onload=window.touched=1>",
    "</style></title><iframe srcdoc=x>",
    "{{ 7*7 }}{% raw %}",
]


@pytest.mark.parametrize("name", EVIL)
def test_hostile_names_are_escaped_everywhere(name):
    page = render(hostile(name))
    assert name not in page or "{{" in name
    assert "<script" not in page and "<img" not in page and "<iframe" not in page


def test_a_browser_runs_nothing_of_them(tmp_path):
    seen = look(render(hostile("".join(EVIL))), 390, tmp_path)
    assert seen["console"] == []
    assert not seen["touched"] and seen["scripts"] == seen["images"] == seen["frames"] == seen["handlers"] == 0
    assert seen["page"] <= seen["view"]


def hostile(name: str):
    profile = make_profile(label=name, flags=(f"noisy: {name}",))
    engines = tuple(msgspec.structs.replace(e, name=f"{e.name} {name}", timing=name) for e in profile.engines)
    profile = msgspec.structs.replace(
        profile, engines=engines, comparisons=(), device=name, command=name, facts_before={name: name}, model=name
    )
    info = with_info(make_network(layer=name, classes=(name,)), model=name, command=name, keep_fp=(name,))
    built = msgspec.structs.replace(make_built(), title=name, artefact=name)
    return trade_off([profile], [info], [built], command=name)
