"""The same trade-off as Markdown, CSV and JSON, for readers and programs without a browser."""

from __future__ import annotations

import csv
import io

import msgspec

from edgevision.data.metric import Metric, field_of
from edgevision.report import words
from edgevision.report.html import commands
from edgevision.report.tradeoff import Group, LayerTable, Point, TradeOff

#: Of the CSV file; the accuracy's columns are called after its metric.
COLUMNS = (
    "device", "threads", "engine", "artefact", "recipe", "{}_percent", "{}_low", "{}_high", "images", "size_bytes",
    "median_ms", "median_low_ms", "median_high_ms", "p90_ms", "iqr_ms", "baseline", "ratio", "ratio_low",
    "ratio_high", "init_ms", "first_ms", "peak_rss_bytes", "arena_bytes", "max_abs_error", "differing_predictions",
    "timing", "dominated", "flags",
)  # fmt: skip


def as_json(trade_off: TradeOff) -> str:
    """Everything, indented, with its schema."""
    return msgspec.json.format(msgspec.json.encode(trade_off), indent=1).decode()


def as_csv(trade_off: TradeOff) -> str:
    """One line per point, full precision, the columns of `COLUMNS`."""
    out, key = io.StringIO(), field_of(trade_off.metric)
    writer = csv.DictWriter(out, [name.format(key) for name in COLUMNS], lineterminator="\n")
    writer.writeheader()
    for group in trade_off.groups:
        for point in group.points:
            writer.writerow(_flat(group, point, key))
    return out.getvalue()


def _flat(group: Group, point: Point, key: str) -> dict[str, object]:
    accuracy, ratio, median = point.accuracy, point.ratio, point.latency.median
    row = {name: getattr(point, name) for name in COLUMNS if hasattr(point, name)}
    row |= {"device": group.device, "threads": group.threads, "baseline": group.baseline}
    if accuracy:
        row |= {f"{key}_percent": accuracy.value, f"{key}_low": accuracy.low, f"{key}_high": accuracy.high}
    row |= {"median_ms": median.value, "median_low_ms": median.low, "median_high_ms": median.high}
    row |= {"p90_ms": point.latency.p90, "iqr_ms": point.latency.iqr}
    row |= {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high} if ratio else {"ratio": None}
    # A spreadsheet takes a cell that starts with = + - @ for a formula; names come from files of strangers.
    text = {k: f"'{v}" if isinstance(v, str) and v[:1] in "=+-@" else v for k, v in row.items()}
    return text | {"flags": "; ".join(group.flags)}


def as_markdown(trade_off: TradeOff) -> str:
    """Verdict, remarks, one table per group, and the commands."""
    lines = [f"# {_cell(trade_off.model)} on {_cell(trade_off.data)}", "", trade_off.verdict, "", trade_off.detail, ""]
    lines += [f"- {remark}" for remark in trade_off.remarks]
    for group in trade_off.groups:
        lines += ["", f"## {_cell(group.device)}, {group.threads} thread{'s' if group.threads > 1 else ''}", ""]
        lines += markdown_table(group, trade_off.metric)
    predicted = [_predicted(table) for table in trade_off.layers if table.predicted_ms is not None]
    lines += ["", "## Modelled against measured", "", *predicted] if predicted else []
    lines += ["", "## How to reproduce", "", "```sh", *commands(trade_off), "```", ""]
    return "\n".join(lines)


def _predicted(table: LayerTable) -> str:
    threads = f"{table.threads} thread{'s' if table.threads > 1 else ''}"
    modelled, measured = table.predicted_ms or 0.0, table.measured_ms
    return (
        f"- {_cell(table.engine)} on {_cell(table.device)}, {threads}: modelled {words.milliseconds(modelled)} ms, "
        f"measured {words.milliseconds(measured)} ms ({100 * (modelled / measured - 1):+.1f} %)"
    )


HEADINGS = ("engine", "{}, %", "size", "median, ms", "95 %", "p90, ms", "time / baseline", "95 %", "timing")


def rows(group: Group) -> list[tuple[str, ...]]:
    """The cells of a group's table, as `HEADINGS` names them."""
    return [
        (
            point.engine,
            words.percent(point.accuracy.value if point.accuracy else None),
            words.size(point.size_bytes),
            words.milliseconds(point.latency.median.value),
            words.between(point.latency.median),
            words.milliseconds(point.latency.p90),
            words.digits(point.ratio.value) if point.ratio else "1",
            words.between(point.ratio) if point.ratio else "–",
            point.timing,
        )
        for point in group.points
    ]


def markdown_table(group: Group, metric: Metric = "top-1") -> list[str]:
    """A group as a Markdown table, one line per row."""
    lines = ["| " + " | ".join(HEADINGS).format(metric) + " |", "|---" + "|---:" * (len(HEADINGS) - 2) + "|---|"]
    return lines + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows(group)]


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
