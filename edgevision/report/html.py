"""The one-file report: no script, no network, everything a person typed escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

from edgevision.compress.box_scoring import CONFIDENT
from edgevision.profile.profile import StepProfile
from edgevision.report import words
from edgevision.report.modelled import modelled
from edgevision.report.scatter import scatter
from edgevision.report.tradeoff import Group, TradeOff
from edgevision.report.verdict import recommended

#: Sizes of the two drawings of a chart; the style sheet shows the one that fits the screen.
WIDE, NARROW = (880, 380), (350, 330)
LONGEST_STEPS = 12
#: Of the chart of modelled against measured steps, in pixels.
MODEL_SIDE = 350
#: Facts left to the JSON file: a hundred words nobody reads in a table.
LENGTHY = ("features",)


@dataclass(frozen=True)
class Family:
    """All steps of one kernel family together."""

    family: str
    steps: int
    macs: int
    median_us: float
    share: float

    @property
    def gmac_per_s(self) -> float | None:
        """Multiply-accumulates per second, in 1e9."""
        return self.macs / self.median_us / 1e3 if self.macs and self.median_us else None


def render(trade_off: TradeOff) -> str:
    """Return the report as one HTML document."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgevision.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    environment.filters.update(
        ms=words.milliseconds, digits=words.digits, size=words.size, percent=words.percent, count=words.count,
        between=words.between,
    )  # fmt: skip
    source, _, _ = environment.loader.get_source(environment, "style.css") if environment.loader else ("", None, None)
    ours = [p for p in trade_off.groups[0].points if p.runtime == "edgevision"] if trade_off.groups else []
    return environment.get_template("report.html.j2").render(
        t=trade_off,
        confident=CONFIDENT,
        style=Markup(source),
        best=recommended(ours).engine if ours else "",
        groups=[(g, scatter(g.points, *WIDE), scatter(g.points, *NARROW)) for g in trade_off.groups],
        layers=[
            (
                table,
                families(table.steps),
                sorted(table.steps, key=lambda s: -s.median_us)[:LONGEST_STEPS],
                table.steps[LONGEST_STEPS:],
                max(step.share for step in table.steps) or 1.0,
                modelled(table.steps, MODEL_SIDE),
            )
            for table in trade_off.layers
        ],
        environment=facts(trade_off.groups),
        commands=commands(trade_off),
    )


def families(steps: Sequence[StepProfile]) -> list[Family]:
    """Sum steps by kernel family, longest first."""
    names = dict.fromkeys(step.family for step in steps)
    summed = []
    for name in names:
        own = [step for step in steps if step.family == name]
        summed.append(
            Family(name, len(own), sum(s.macs for s in own), sum(s.median_us for s in own), sum(s.share for s in own))
        )
    return sorted(summed, key=lambda f: -f.median_us)


def facts(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """One row per fact, one value per group; a value that changed during the measurement shows both."""
    rows: list[tuple[str, list[str]]] = [
        ("measured at", [group.created for group in groups]),
        ("target", [group.target for group in groups]),
        ("threads", [str(group.threads) for group in groups]),
        ("affinity", [", ".join(map(str, group.affinity)) or "not set" for group in groups]),
    ]
    names = dict.fromkeys(name for group in groups for name in group.facts_before if name not in LENGTHY)
    for name in names:
        rows.append((name.replace("_", " "), [_fact(group, name) for group in groups]))
    for name in dict.fromkeys(name for group in groups for name in group.versions):
        rows.append((name, [group.versions.get(name, "–") for group in groups]))
    return rows


def _fact(group: Group, name: str) -> str:
    before, after = group.facts_before.get(name), group.facts_after.get(name)
    return _plain(before) if before == after else f"{_plain(before)} → {_plain(after)}"


def _plain(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def commands(trade_off: TradeOff) -> list[str]:
    """The commands that made what is shown, in order, each once."""
    made = [n.command for n in trade_off.networks] + [b.command for b in trade_off.built]
    made += [g.command for g in trade_off.groups] + [trade_off.command]
    return list(dict.fromkeys(command for command in made if command))
