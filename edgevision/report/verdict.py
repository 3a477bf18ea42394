"""The first sentence of a report, and the remarks a reader should not have to find alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgevision.data.metric import Metric
from edgevision.report import words

if TYPE_CHECKING:
    from edgevision.report.tradeoff import Built, Group, LayerTable, Network, Point

#: Points of accuracy a compressed network may lose and still be recommended.
TOLERATED_DROP = 1.0


def spoken(
    groups: Sequence[Group],
    networks: Sequence[Network],
    layers: Sequence[LayerTable],
    built: Sequence[Built],
    metric: Metric = "top-1",
) -> tuple[str, str, tuple[str, ...]]:
    """Return the verdict, the figures behind it, and the remarks."""
    if not groups:
        sentence = "Nothing was measured yet: the networks are compressed, their latency is unknown."
        return sentence, "", (*_sensitive(networks), *_unmeasured(built))
    group = groups[0]
    ours = [point for point in group.points if point.runtime == "edgevision"] or list(group.points)
    best = recommended(ours)
    remarks = [f"{flag[0].upper()}{flag[1:]} ({_place(g)})." for g in groups for flag in g.flags]
    remarks += _slower_int8(groups)
    remarks += _float_time([table for table in layers if table.threads == group.threads], networks)
    remarks += _sensitive(networks)
    remarks += _unmeasured(built)
    return _sentence(group, best, ours, metric), _detail(group, best), tuple(remarks)


def recommended(points: Sequence[Point]) -> Point:
    """The fastest point whose accuracy is within the tolerated drop of the best; of equals the smaller."""
    known = [point.accuracy.value for point in points if point.accuracy]
    floor = max(known) - TOLERATED_DROP if known else None
    good = [p for p in points if floor is None or (p.accuracy and p.accuracy.value >= floor)]
    return min(good, key=lambda p: (p.latency.median.value, p.size_bytes))


def _sentence(group: Group, best: Point, ours: Sequence[Point], metric: Metric) -> str:
    text = f"On {_place(group)}, {best.engine} "
    if best.ratio:
        text += f"is {words.speed(best.ratio)} {group.baseline}"
    else:
        text += f"takes {words.milliseconds(best.latency.median.value)} ms per image"
    if best.accuracy:
        text += f" at {words.percent(best.accuracy.value)} % {metric}"
        floats = [p for p in ours if p.recipe == "fp32" and p.accuracy and p is not best]
        if floats and floats[0].accuracy:
            points = f"{best.accuracy.value - floats[0].accuracy.value:+.1f}".replace("-", "−")
            text += f" ({points} points against fp32)"
    return text + "."


def _detail(group: Group, best: Point) -> str:
    median = best.latency.median
    text = (
        f"{words.milliseconds(median.value)} ms per image (median; 95 % interval {words.between(median)}), "
        f"{words.size(best.size_bytes)} on the board"
    )
    return f"{text}, accuracy on {best.images} test images." if best.images else f"{text}."


def _place(group: Group) -> str:
    return f"{group.device} with {group.threads} thread{'s' if group.threads > 1 else ''}"


def _slower_int8(groups: Sequence[Group]) -> list[str]:
    found = []
    for group in groups:
        ours = [p for p in group.points if p.runtime == "edgevision"]
        floats = [p for p in ours if p.recipe == "fp32"]
        for point in ours:
            if floats and point.recipe != "fp32" and point.latency.median.low > floats[0].latency.median.high:
                times = point.latency.median.value / floats[0].latency.median.value
                found.append(
                    f"{point.recipe} is {words.digits(times)}x slower than fp32 on {_place(group)}: "
                    "there it saves bytes, not time."
                )
    return found


def _float_time(layers: Sequence[LayerTable], networks: Sequence[Network]) -> list[str]:
    """For networks quantised to integer arithmetic: the share of time spent in layers that still multiply in float."""
    floats = {f"edgevision {n.recipe}" for n in networks if n.recipe == "fp32"}
    found = []
    for table in layers:
        share = sum(step.share for step in table.steps if not step.integer and step.macs)
        if table.engine not in floats and any(s.integer for s in table.steps) and share > 0.05:
            found.append(f"{table.engine}: {share:.0%} of the time goes to layers that multiply in float.")
    return found


def _sensitive(networks: Sequence[Network]) -> list[str]:
    found = []
    for network in networks:
        worst = [layer.layer for layer in network.sensitivity if layer.keep_fp]
        if worst:
            found.append(
                f"{network.recipe}: quantising costs most in {', '.join(worst)}; to leave them in float add "
                + " ".join(f"--keep-fp {name}" for name in worst)
                + "."
            )
    return found


def _unmeasured(built: Sequence[Built]) -> list[str]:
    names = [f"{b.artefact} for {b.target}" for b in built if not b.measured]
    if not names:
        return []
    return [f"Compiled but not timed, because no such board was given: {', '.join(names)}."]
